//! NodeRestriction: a kubelet changes its own node and its own pods, and nobody else's.

use trireme_api::Value;

use super::{Operation, Request};
use crate::status::Result;

const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn check(request: &Request<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<()> {
    let Some(node) = request.call.user.node_name() else { return Ok(()) };
    let refuse = |why: String| Err(request.refuse(why));
    match (request.row().group, request.row().plural, request.subresource()) {
        ("", "nodes", _) => {
            if request.name != node {
                return refuse(format!("node {node:?} is not allowed to modify node {:?}", request.name));
            }
            if request.operation == Operation::Update
                && let (Some(new), Some(old)) = (new, old)
            {
                if new["spec"]["taints"] != old["spec"]["taints"] {
                    return refuse(format!("node {node:?} is not allowed to modify taints"));
                }
                if let Some(label) = forbidden_label(new, old) {
                    return refuse(format!("is not allowed to modify labels: {label}"));
                }
            }
        }
        ("", "pods", "") => match (request.operation, new, old) {
            (Operation::Create, Some(pod), _) => {
                if pod["metadata"]["annotations"][MIRROR].is_null() {
                    return refuse(format!(
                        "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                    ));
                }
                if pod["spec"]["nodeName"] != *node {
                    return refuse(format!(
                        "node {node:?} can only create pods with spec.nodeName set to itself"
                    ));
                }
            }
            (Operation::Delete, _, Some(pod)) if pod["spec"]["nodeName"] != *node => {
                return refuse(format!(
                    "node {node:?} can only delete pods with spec.nodeName set to itself"
                ));
            }
            _ => {}
        },
        ("", "pods", "status") => {
            if old.is_some_and(|pod| pod["spec"]["nodeName"] != *node) {
                return refuse(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            if let (Some(new), Some(old)) = (new, old)
                && new["metadata"]["labels"] != old["metadata"]["labels"]
            {
                return refuse(format!("node {node:?} cannot update labels through pod status"));
            }
        }
        ("coordination.k8s.io", "leases", _)
            if request.call.info.namespace == "kube-node-lease" && request.name != node =>
        {
            return refuse("can only access node lease with the same name as the requesting node".to_owned());
        }
        ("storage.k8s.io", "csinodes", _) if request.name != node => {
            return refuse("can only access CSINode with the same name as the requesting node".to_owned());
        }
        _ => {}
    }
    Ok(())
}

/// A changed label of those that say where workloads may go.
fn forbidden_label(new: &Value, old: &Value) -> Option<String> {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let restricted = |key: &str| {
        let domain = key.split_once('/').map_or("", |(d, _)| d);
        domain == "node-restriction.kubernetes.io" || domain.ends_with(".node-restriction.kubernetes.io")
    };
    new.members()
        .iter()
        .chain(old.members())
        .map(|(k, _)| &**k)
        .find(|k| restricted(k) && new[*k] != old[*k])
        .map(str::to_owned)
}
