//! What the ConfigMap must hold.

use trireme_api::{Object, value};

pub(super) const CONFIG_MAP: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION_ANNOTATION: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
     endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
     distributions of Kubernetes clusters.";

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    Create(Object),
    Update(Object),
}

pub(super) fn plan(namespace: &Object, known: Option<&Object>, pem: &str) -> Action {
    if namespace.deletion_timestamp().is_some() || namespace.status()["phase"] == "Terminating" {
        return Action::Nothing;
    }
    let data = value!({KEY: pem});
    match known {
        None => Action::Create(Object(value!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": CONFIG_MAP,
                "namespace": namespace.name(),
                "annotations": {DESCRIPTION_ANNOTATION: DESCRIPTION},
            },
            "data": {KEY: pem},
        }))),
        Some(known)
            if known["data"] == data && known.annotation(DESCRIPTION_ANNOTATION) == Some(DESCRIPTION) =>
        {
            Action::Nothing
        }
        Some(known) => {
            let mut map = known.clone();
            map.make(&[]).set("data", data);
            map.set_annotation(DESCRIPTION_ANNOTATION, DESCRIPTION);
            Action::Update(map)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_put_right_again() {
        let namespace = Object(value!({"metadata": {"name": "ns"}}));
        let Action::Create(map) = plan(&namespace, None, "PEM") else { panic!() };
        assert_eq!((map.namespace(), map["data"][KEY].str_or_empty()), ("ns", "PEM"));
        assert_eq!(plan(&namespace, Some(&map), "PEM"), Action::Nothing);
        let Action::Update(renewed) = plan(&namespace, Some(&map), "NEW") else { panic!() };
        assert_eq!(renewed["data"], value!({KEY: "NEW"}));
        let ending =
            Object(value!({"metadata": {"name": "ns", "deletionTimestamp": "2024-01-01T00:00:00Z"}}));
        assert_eq!(plan(&ending, None, "PEM"), Action::Nothing);
    }
}
