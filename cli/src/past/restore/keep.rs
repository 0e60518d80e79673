//! Objects that a restore leaves to those who make them, and the order of those it makes.

use trireme_api::Value;

use super::super::kinds::{Kinds, ObjectId, Row};

/// Kinds whose controllers make what they own again.
const MAKERS: &[&str] = &[
    "pods",
    "services",
    "endpoints",
    "nodes",
    "replicationcontrollers",
    "replicasets.apps",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
];
const SLICE_MAKER: &str = "endpointslice.kubernetes.io/managed-by";
const ENDPOINTS_MAKER: &str = "endpoints.kubernetes.io/managed-by";
const SLICE_MAKERS: &[&str] =
    &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Kinds that come and go by themselves; they are not even read.
pub(super) const PASSING: &[&str] = &["events", "leases.coordination.k8s.io"];

/// Why an object is left to its controller. `is_there`: there is one of its name now;
/// `service`: the Service of its name at that moment.
pub(super) fn left(
    kinds: &Kinds,
    id: &ObjectId,
    object: &Value,
    is_there: bool,
    service: Option<&Value>,
) -> Option<String> {
    let metadata = &object["metadata"];
    let label = |name: &str| metadata["labels"][name].str_or_empty();
    let none = |field: &str| object.get(field).is_none_or(|value| value.items().is_empty());
    let made = metadata["ownerReferences"].items().iter().find(|r| r["controller"] == Value::Bool(true));
    if let Some(owner) = made {
        let row = kinds.of_reference(owner["apiVersion"].str_or_empty(), owner["kind"].str_or_empty());
        if row.is_some_and(|row| row.built_in.is_some() && MAKERS.contains(&row.resource().as_str())) {
            let (kind, name) = (owner["kind"].str_or_empty(), owner["name"].str_or_empty());
            return Some(format!("{kind} {name} makes it"));
        }
    }
    let why = match id.resource.as_str() {
        resource if PASSING.contains(&resource) => "it comes and goes by itself",
        "configmaps" if id.name == "kube-root-ca.crt" => "every namespace gets it",
        "serviceaccounts"
            if id.name == "default"
                && !is_there
                && none("secrets")
                && none("imagePullSecrets")
                && metadata["labels"].members().is_empty()
                && metadata["annotations"].members().is_empty() =>
        {
            "every namespace gets it"
        }
        "secrets" if object["type"] == *"kubernetes.io/service-account-token" => {
            "tokens are given out anew, for the ServiceAccount that there is"
        }
        "endpointslices.discovery.k8s.io" if SLICE_MAKERS.contains(&label(SLICE_MAKER)) => {
            "its Service makes it"
        }
        "endpoints"
            if !label(ENDPOINTS_MAKER).is_empty()
                || service.is_some_and(|service| !service["spec"]["selector"].members().is_empty()) =>
        {
            "its Service makes it"
        }
        "pods" if metadata["annotations"].get(MIRROR).is_some() => "its node makes it",
        "pods" if !is_there && matches!(object["status"]["phase"].str_or_empty(), "Succeeded" | "Failed") => {
            "it had ended: it would run again"
        }
        "jobs.batch" if !is_there && has_finished(object) => "it had finished: it would run again",
        _ => return None,
    };
    Some(why.to_owned())
}

fn has_finished(job: &Value) -> bool {
    job["status"]["conditions"].items().iter().any(|condition| {
        condition["status"] == *"True" && matches!(condition["type"].str_or_empty(), "Complete" | "Failed")
    })
}

/// Why an object is never deleted to be made anew.
pub(super) fn never_recreated(row: &Row) -> Option<&'static str> {
    match row.resource().as_str() {
        "namespaces" => Some("everything in it would go with it"),
        "persistentvolumes" | "persistentvolumeclaims" => Some("its data could go with it"),
        "customresourcedefinitions.apiextensions.k8s.io" => Some("its objects would go with it"),
        _ => None,
    }
}

/// Whether what an object owns lives on while it is made anew: it finds it again by its selector.
pub(super) fn children_live(row: &Row, then: &Value, now: &Value) -> bool {
    match row.resource().as_str() {
        "deployments.apps"
        | "statefulsets.apps"
        | "daemonsets.apps"
        | "replicasets.apps"
        | "replicationcontrollers" => then["spec"]["selector"] == now["spec"]["selector"],
        "cronjobs.batch" => true,
        _ => false,
    }
}

/// The lower comes first: what others need before those that need it.
pub(super) fn rank(resource: &str) -> u8 {
    match resource {
        "namespaces" => 0,
        "customresourcedefinitions.apiextensions.k8s.io" => 1,
        "priorityclasses.scheduling.k8s.io"
        | "storageclasses.storage.k8s.io"
        | "runtimeclasses.node.k8s.io"
        | "ingressclasses.networking.k8s.io" => 2,
        "serviceaccounts" | "secrets" | "configmaps" | "limitranges" => 3,
        "roles.rbac.authorization.k8s.io" | "clusterroles.rbac.authorization.k8s.io" => 4,
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => 5,
        "persistentvolumes" => 6,
        "persistentvolumeclaims" => 7,
        "services" | "endpoints" | "endpointslices.discovery.k8s.io" => 8,
        "pods"
        | "replicationcontrollers"
        | "replicasets.apps"
        | "deployments.apps"
        | "statefulsets.apps"
        | "daemonsets.apps"
        | "jobs.batch"
        | "cronjobs.batch" => 10,
        // They count what is there, and would refuse while it is on its way.
        "resourcequotas" => 11,
        // They judge every write.
        "validatingwebhookconfigurations.admissionregistration.k8s.io"
        | "mutatingwebhookconfigurations.admissionregistration.k8s.io" => 12,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    #[test]
    fn what_controllers_make_is_left_to_them() {
        let kinds = Kinds::built_in();
        let check = |resource: &str, name: &str, object: Value, want: bool| {
            let id = ObjectId::new(resource, "shop", name);
            let why = left(&kinds, &id, &object, false, None);
            assert_eq!(why.is_some(), want, "{id}: {why:?}");
        };
        let owned = |version: &str, kind: &str, controller: bool| {
            value!({"metadata": {"ownerReferences": [
                {"apiVersion": version, "kind": kind, "name": "o", "controller": controller},
            ]}})
        };
        check("pods", "p", owned("apps/v1", "ReplicaSet", true), true);
        check("replicasets.apps", "r", owned("apps/v1", "Deployment", true), true);
        check("configmaps", "c", owned("apps/v1", "Deployment", false), false);
        check("secrets", "s", owned("example.com/v1", "Widget", true), false);
        check("events", "e", value!({}), true);
        check("configmaps", "kube-root-ca.crt", value!({}), true);
        check("configmaps", "mine", value!({}), false);
        check("serviceaccounts", "default", value!({"metadata": {}}), true);
        check("serviceaccounts", "default", value!({"imagePullSecrets": [{"name": "x"}]}), false);
        check("secrets", "t", value!({"type": "kubernetes.io/service-account-token"}), true);
        check("secrets", "o", value!({"type": "Opaque"}), false);
        check("pods", "done", value!({"status": {"phase": "Succeeded"}}), true);
        check("pods", "alone", value!({"status": {"phase": "Running"}}), false);
        let done = value!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}});
        check("jobs.batch", "j", done, true);
        check("jobs.batch", "j", value!({"status": {"active": 1}}), false);
        let id = ObjectId::new("endpoints", "shop", "web");
        let service = value!({"spec": {"selector": {"app": "web"}}});
        assert!(left(&kinds, &id, &value!({}), false, Some(&service)).is_some());
        assert!(left(&kinds, &id, &value!({}), false, Some(&value!({"spec": {}}))).is_none());
    }
}
