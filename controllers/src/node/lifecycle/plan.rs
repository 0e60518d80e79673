//! Conditions and taints of a node.

use jiff::Timestamp;
use trireme_api::{Object, Value, value};

use crate::pods::condition;
use crate::runtime::rfc3339;

pub(super) struct Observed<'a> {
    pub(super) node: &'a Object,
    /// It was not heard of for the whole grace period.
    pub(super) silent: bool,
    pub(super) evict: Evict,
}

/// Whether pods are driven off a node that is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evict {
    Now,
    /// Where it has begun, it goes on.
    AsBefore,
    /// Nobody is well: there is nowhere to go, and it is more likely that we cannot hear.
    Never,
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Conditions(Vec<Value>),
    Taints(Vec<Value>),
    PodsNotReady,
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taints that follow from a condition: the condition, the status that counts, the taint.
const BY_CONDITION: &[(&str, &str, &str)] = &[
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
];
/// The conditions that only the node can speak of.
const REPORTED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(super) fn ready_status(node: &Object) -> &str {
    condition(node, "Ready").map_or("Unknown", |c| c["status"].str_or_empty())
}

/// When the node itself last reported: what we write about it leaves this time alone.
pub(super) fn own_heartbeat(node: &Object) -> &str {
    condition(node, "Ready").map_or("", |c| c["lastHeartbeatTime"].str_or_empty())
}

pub(super) fn plan(o: &Observed<'_>, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut node = o.node.clone();
    if o.silent
        && let Some(conditions) = unknown(&node, now)
    {
        node.make(&["status"]).set("conditions", conditions.clone());
        actions.push(Action::Conditions(conditions));
    }
    let wanted = taints(&node, o.evict, now);
    if wanted != node.spec()["taints"].items() {
        actions.push(Action::Taints(wanted));
    }
    if o.silent {
        actions.push(Action::PodsNotReady);
    }
    actions
}

fn unknown(node: &Object, now: Timestamp) -> Option<Vec<Value>> {
    let time = rfc3339(now);
    let mut conditions = node.status()["conditions"].items().to_vec();
    let before = conditions.clone();
    for kind in REPORTED {
        match conditions.iter_mut().find(|c| c["type"] == **kind) {
            Some(c) if c["status"] == "Unknown" => {}
            Some(c) => {
                let map = c.make(&[]);
                map.set("status", "Unknown");
                map.set("lastTransitionTime", time.as_str());
                map.set("reason", "NodeStatusUnknown");
                map.set("message", "Kubelet stopped posting node status.");
            }
            None => conditions.push(value!({
                "type": kind,
                "status": "Unknown",
                "lastTransitionTime": time,
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
            })),
        }
    }
    (conditions != before).then_some(conditions)
}

/// All taints: the users', and ours as they must be. A taint that stays keeps its time.
fn taints(node: &Object, evict: Evict, now: Timestamp) -> Vec<Value> {
    let ready = ready_status(node);
    let holds = |kind: &str, status: &str| match kind {
        "Ready" => ready == status,
        _ => condition(node, kind).is_some_and(|c| c["status"] == *status),
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, status, taint) in BY_CONDITION {
        if holds(kind, status) {
            wanted.push((taint, "NoSchedule"));
        }
    }
    if node.spec()["unschedulable"] == Value::Bool(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let old = node.spec()["taints"].items();
    let has = |taint: &str| old.iter().any(|t| t["key"] == *taint && t["effect"] == "NoExecute");
    for (status, taint) in [("False", NOT_READY), ("Unknown", UNREACHABLE)] {
        if ready == status && (evict == Evict::Now || evict == Evict::AsBefore && has(taint)) {
            wanted.push((taint, "NoExecute"));
        }
    }
    let ours = |t: &Value| {
        let key = t["key"].str_or_empty();
        BY_CONDITION.iter().any(|(_, _, k)| *k == key) || key == UNSCHEDULABLE
    };
    let mut out: Vec<Value> = old
        .iter()
        .filter(|t| !ours(t) || wanted.iter().any(|(k, e)| t["key"] == **k && t["effect"] == **e))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !out.iter().any(|t| t["key"] == *key && t["effect"] == *effect) {
            out.push(value!({"key": key, "effect": effect, "timeAdded": rfc3339(now)}));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2024-01-01T00:01:00Z".parse().unwrap()
    }
    fn node(ready: &str, taints: Value) -> Object {
        let mut n = Object(value!({"metadata": {"name": "n"}, "spec": {}, "status": {}}));
        if !ready.is_empty() {
            n.make(&["status"]).set(
                "conditions",
                value!([{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]),
            );
        }
        if !taints.is_null() {
            n.make(&["spec"]).set("taints", taints);
        }
        n
    }
    fn show(node: &Object, silent: bool, evict: Evict) -> String {
        let short = |t: &Value| {
            let key = t["key"].str_or_empty().rsplit('/').next().unwrap_or("").to_owned();
            format!("{key}:{}", t["effect"].str_or_empty())
        };
        let actions = plan(&Observed { node, silent, evict }, now());
        let one = |a: &Action| match a {
            Action::Conditions(c) => {
                format!("unknown×{}", c.iter().filter(|c| c["status"] == "Unknown").count())
            }
            Action::Taints(t) => format!("[{}]", t.iter().map(short).collect::<Vec<_>>().join(" ")),
            Action::PodsNotReady => "pods".to_owned(),
        };
        actions.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn silent_and_unwell_nodes_are_marked_and_put_right_again() {
        assert_eq!(show(&node("True", Value::Null), false, Evict::Now), "");
        assert_eq!(
            show(&node("False", Value::Null), false, Evict::Now),
            "[not-ready:NoSchedule not-ready:NoExecute]"
        );
        assert_eq!(
            show(&node("True", Value::Null), true, Evict::Now),
            "unknown×4 [unreachable:NoSchedule unreachable:NoExecute] pods"
        );
        assert_eq!(
            show(&node("True", Value::Null), true, Evict::Never),
            "unknown×4 [unreachable:NoSchedule] pods"
        );
        let marked = value!([
            {"key": "mine", "effect": "NoSchedule"},
            {"key": NOT_READY, "effect": "NoSchedule"},
            {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2024-01-01T00:00:00Z"},
        ]);
        assert_eq!(show(&node("True", marked.clone()), false, Evict::Now), "[mine:NoSchedule]");
        assert_eq!(
            show(&node("False", marked), false, Evict::Now),
            "[mine:NoSchedule not-ready:NoSchedule not-ready:NoExecute]"
        );
    }

    #[test]
    fn nobody_is_driven_off_while_nobody_is_heard() {
        let marked = value!([{"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]);
        let kept = value!([{"key": UNREACHABLE, "effect": "NoSchedule"}]);
        assert_eq!(show(&node("Unknown", marked.clone()), false, Evict::Never), "[unreachable:NoSchedule]");
        assert_eq!(show(&node("Unknown", marked), false, Evict::AsBefore), "");
        assert_eq!(show(&node("Unknown", kept), false, Evict::AsBefore), "");
    }

    #[test]
    fn cordoned_nodes_say_so() {
        let mut n = node("True", Value::Null);
        n.make(&["spec"]).set("unschedulable", true);
        assert_eq!(show(&n, false, Evict::Now), "[unschedulable:NoSchedule]");
    }
}
