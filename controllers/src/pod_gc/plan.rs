//! Which pods to delete, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use trireme_api::Object;

use crate::pods;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Terminated,
    NodeGone,
    NeverScheduled,
    OutOfService,
}

impl Why {
    /// Whether the pod might still have run: then it says why it went.
    pub(super) fn disrupts(self) -> bool {
        self != Why::Terminated
    }
    pub(super) fn message(self) -> &'static str {
        match self {
            Why::Terminated => "",
            Why::NodeGone => "PodGC: node no longer exists",
            Why::NeverScheduled => "PodGC: unscheduled pod is terminating",
            Why::OutOfService => "PodGC: node is out of service",
        }
    }
}

/// Nodes that pods name but that are not there.
pub(super) fn missing_nodes(all: &[Arc<Object>], there: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    let names: BTreeSet<&str> = all.iter().map(|p| p.spec()["nodeName"].str_or_empty()).collect();
    names.into_iter().filter(|n| !n.is_empty() && !there(n)).map(str::to_owned).collect()
}

pub(super) fn plan(
    all: &[Arc<Object>],
    gone: &dyn Fn(&str) -> bool,
    node: &dyn Fn(&str) -> Option<Arc<Object>>,
    terminated_max: usize,
) -> Vec<(Arc<Object>, Why)> {
    let mut out = Vec::new();
    let mut terminated: Vec<&Arc<Object>> = Vec::new();
    for pod in all {
        let name = pod.spec()["nodeName"].str_or_empty();
        let ending = pod.deletion_timestamp().is_some();
        if !name.is_empty() && gone(name) {
            out.push((pod.clone(), Why::NodeGone));
        } else if name.is_empty() && ending {
            out.push((pod.clone(), Why::NeverScheduled));
        } else if ending && !name.is_empty() && node(name).is_some_and(|n| is_out_of_service(&n)) {
            out.push((pod.clone(), Why::OutOfService));
        } else if pods::is_terminal(pod) && !ending {
            terminated.push(pod);
        }
    }
    if terminated_max > 0 && terminated.len() > terminated_max {
        terminated.sort_by_key(|p| {
            (p.metadata()["creationTimestamp"].str_or_empty().to_owned(), p.name().to_owned())
        });
        let beyond = terminated.len() - terminated_max;
        out.extend(terminated.into_iter().take(beyond).map(|p| (p.clone(), Why::Terminated)));
    }
    out
}

fn is_out_of_service(node: &Object) -> bool {
    let tainted = node.spec()["taints"].items().iter().any(|t| t["key"] == OUT_OF_SERVICE);
    tainted && !pods::is_ready(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    /// `name node phase created [d]`
    fn pod(line: &str) -> Arc<Object> {
        let w: Vec<&str> = line.split_whitespace().collect();
        let mut p = value!({
            "metadata": {"name": w[0], "creationTimestamp": format!("2024-01-0{}T00:00:00Z", w[3])},
            "spec": {"nodeName": if w[1] == "-" { "" } else { w[1] }},
            "status": {"phase": w[2]},
        });
        if w.get(4) == Some(&"d") {
            p.make(&["metadata"]).set("deletionTimestamp", "2024-01-09T00:00:00Z");
        }
        Arc::new(Object(p))
    }

    #[test]
    fn what_nobody_else_deletes() {
        let all: Vec<_> = [
            "a n1 Succeeded 3",
            "b n1 Failed 1",
            "c n1 Succeeded 2",
            "d n1 Running 1",
            "e lost Running 1",
            "f - Pending 1 d",
            "g - Pending 1",
            "h out Running 1 d",
            "i out Running 1",
        ]
        .iter()
        .map(|l| pod(l))
        .collect();
        let out =
            Arc::new(Object(value!({"spec": {"taints": [{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]}})));
        let node = |name: &str| (name == "out").then(|| out.clone());
        let got: Vec<String> = plan(&all, &|n| n == "lost", &node, 1)
            .iter()
            .map(|(p, why)| format!("{} {why:?}", p.name()))
            .collect();
        assert_eq!(got, ["e NodeGone", "f NeverScheduled", "h OutOfService", "b Terminated", "c Terminated"]);
        assert!(plan(&all, &|_| false, &node, 0).iter().all(|(_, why)| *why != Why::Terminated));
        assert_eq!(missing_nodes(&all, &|n| n == "n1"), ["lost".to_owned(), "out".to_owned()].into());
    }
}
