//! What a kubelet may do beyond RBAC: its own node, the pods bound to it, and what those need.

use trireme_api::Object;

use super::{Attributes, Decision};
use crate::cache::Filter;
use crate::server::Core;
use trireme_api::selector::{FieldSelector, FieldTerm, LabelSelector};

/// The cluster role that says what every node may do.
const ROLE: &str = "system:node";

/// Objects are reached through a pod that is bound to the node.
pub(super) fn authorize(core: &Core, node: &str, a: &Attributes) -> Decision {
    if !a.is_resource {
        return Decision::default();
    }
    let allowed = Decision { allowed: true, reason: String::new() };
    let refused = |reason: String| Decision { allowed: false, reason };
    let read = matches!(a.verb.as_str(), "get" | "list" | "watch");
    let no_path = || refused(format!("no relationship found between node '{node}' and this object"));
    match (a.group.as_str(), a.resource.as_str(), a.subresource.as_str()) {
        ("", "secrets" | "configmaps" | "persistentvolumeclaims", "") => {
            if !read {
                return refused(format!("can only read resource {} by name", a.resource));
            }
            if a.name.is_empty() {
                return refused("can only read resources of this type by name".into());
            }
            let reference = |pod: &Object| refers(pod, &a.resource, &a.name);
            if pods_of(core, node, &a.namespace).iter().any(|p| reference(p)) { allowed } else { no_path() }
        }
        ("", "persistentvolumes", "") if a.verb == "get" && !a.name.is_empty() => {
            let bound = pods_of(core, node, "").iter().any(|pod| {
                claims(pod).any(|claim| {
                    core.cached("", "persistentvolumeclaims", pod.namespace(), &claim)
                        .is_some_and(|c| c["spec"]["volumeName"] == *a.name)
                })
            });
            if bound { allowed } else { no_path() }
        }
        ("", "serviceaccounts", "token") if a.verb == "create" => {
            let uses =
                pods_of(core, node, &a.namespace).iter().any(|p| p["spec"]["serviceAccountName"] == *a.name);
            if uses { allowed } else { no_path() }
        }
        ("coordination.k8s.io", "leases", "") => {
            if a.namespace != "kube-node-lease" {
                return refused(format!(
                    "can only access leases in the \"kube-node-lease\" system namespace, not {:?}",
                    a.namespace
                ));
            }
            // The name of a lease being created is in its body: NodeRestriction looks there.
            if a.verb != "create" && a.name != node {
                return refused(
                    "can only access node lease with the same name as the requesting node".into(),
                );
            }
            match a.verb.as_str() {
                "get" | "create" | "update" | "patch" | "delete" => allowed,
                _ => refused("can only get, create, update, patch, or delete a node lease".into()),
            }
        }
        ("storage.k8s.io", "csinodes", "") => {
            if a.verb != "create" && a.name != node {
                return refused("can only access CSINode with the same name as the requesting node".into());
            }
            match a.verb.as_str() {
                "get" | "create" | "update" | "patch" | "delete" => allowed,
                _ => refused("can only get, create, update, patch, or delete a CSINode".into()),
            }
        }
        ("", "nodes", "") => match a.verb.as_str() {
            // NodeRestriction narrows writes to the node's own.
            "create" | "update" | "patch" => allowed,
            // The name of a list or watch is in its selector.
            "get" | "list" | "watch" if a.name == node => allowed,
            "get" | "list" | "watch" if a.name.is_empty() => {
                refused(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            "get" | "list" | "watch" => {
                refused(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
            }
            _ => Decision::default(),
        },
        ("", "nodes", "status") => match a.verb.as_str() {
            "update" | "patch" => allowed,
            _ => Decision::default(),
        },
        ("", "pods", "") => match a.verb.as_str() {
            "list" | "watch" if selects_node(&a.field_selector, node) => allowed,
            "list" | "watch" if a.name.is_empty() => {
                refused("can only list/watch pods with spec.nodeName field selector".into())
            }
            "get" | "list" | "watch" => {
                let own = core
                    .cached("", "pods", &a.namespace, &a.name)
                    .is_some_and(|pod| pod.spec()["nodeName"] == *node);
                if own { allowed } else { no_path() }
            }
            // NodeRestriction narrows writes to mirror pods and to the node's own.
            "create" | "delete" => allowed,
            _ => Decision::default(),
        },
        // Everything else is in the role of all nodes, which is bound to nobody by name.
        _ if core.rbac.current(&core.cache).role_allows(ROLE, a) => allowed,
        _ => Decision::default(),
    }
}

/// Whether a selector lets through nothing but what is bound to the node.
fn selects_node(selector: &str, node: &str) -> bool {
    selector.parse::<FieldSelector>().is_ok_and(|s| s.exact_value("spec.nodeName") == Some(node))
}

fn pods_of(core: &Core, node: &str, namespace: &str) -> Vec<std::sync::Arc<Object>> {
    let Some(pods) = core.kind_cache("", "pods") else { return Vec::new() };
    let filter = Filter {
        namespace: namespace.to_owned(),
        labels: LabelSelector::everything(),
        fields: FieldSelector {
            terms: vec![FieldTerm { field: "spec.nodeName".into(), value: node.into(), negated: false }],
        },
    };
    pods.select(&filter).iter().map(|e| e.object()).collect()
}

fn claims(pod: &Object) -> impl Iterator<Item = String> + '_ {
    pod["spec"]["volumes"].items().iter().filter_map(|v| {
        if v["ephemeral"].is_object() {
            return Some(format!("{}-{}", pod.name(), v["name"].str_or_empty()));
        }
        v["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned)
    })
}

/// Whether a pod names this secret, ConfigMap or claim anywhere.
fn refers(pod: &Object, resource: &str, name: &str) -> bool {
    if resource == "persistentvolumeclaims" {
        return claims(pod).any(|c| c == name);
    }
    let secret = resource == "secrets";
    let spec = &pod["spec"];
    let named = |v: &trireme_api::Value, key: &str| v[key] == *name;
    if secret && spec["imagePullSecrets"].items().iter().any(|r| named(r, "name")) {
        return true;
    }
    let (env_key, env_from, volume, volume_key, projected) = if secret {
        ("secretKeyRef", "secretRef", "secret", "secretName", "secret")
    } else {
        ("configMapKeyRef", "configMapRef", "configMap", "name", "configMap")
    };
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let by_container = containers.iter().flat_map(|c| spec[*c].items()).any(|c| {
        c["env"].items().iter().any(|e| named(&e["valueFrom"][env_key], "name"))
            || c["envFrom"].items().iter().any(|e| named(&e[env_from], "name"))
    });
    by_container
        || spec["volumes"].items().iter().any(|v| {
            named(&v[volume], volume_key)
                || v["projected"]["sources"].items().iter().any(|s| named(&s[projected], "name"))
                || (secret && v["csi"]["nodePublishSecretRef"]["name"] == *name)
        })
}
