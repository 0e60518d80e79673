//! Whether a namespace needs its account.

use trireme_api::{Object, value};

pub(super) const ACCOUNT: &str = "default";

/// The account to create, if it is missing from a namespace that stays.
pub(super) fn plan(namespace: &Object, known: Option<&Object>) -> Option<Object> {
    let ending = namespace.deletion_timestamp().is_some() || namespace.status()["phase"] == "Terminating";
    if ending || known.is_some() {
        return None;
    }
    Some(Object(value!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT, "namespace": namespace.name()},
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_that_stay_and_lack_it_get_one() {
        let active = Object(value!({"metadata": {"name": "ns"}, "status": {"phase": "Active"}}));
        let ending =
            Object(value!({"metadata": {"name": "ns", "deletionTimestamp": "2024-01-01T00:00:00Z"}}));
        let account = plan(&active, None).unwrap();
        assert_eq!((account.namespace(), account.name()), ("ns", "default"));
        assert_eq!(plan(&active, Some(&account)), None);
        assert_eq!(plan(&ending, None), None);
    }
}
