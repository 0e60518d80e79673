//! What a namespace that is being deleted says about itself, and what comes next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use trireme_api::{Object, Value, value};

use crate::runtime::rfc3339;

/// The finalizer in `spec.finalizers` that this controller stands for.
const FINALIZER: &str = "kubernetes";
/// Looking again while content is going: at first soon, as most goes at once, then ever more
/// seldom, as what is held by a finalizer may stay for days.
const POLL_MS_MIN: u64 = 100;
const POLL_MS_MAX: u64 = 15_000;
/// The pause as a part of the time since the deletion.
const POLL_PART_OF_AGE: u64 = 10;

/// What was found after everything was asked to go.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Objects that are still there, by resource.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Finalizers that hold them, with the number of objects each holds.
    pub(super) finalizers: BTreeMap<String, usize>,
    pub(super) errors: Vec<String>,
    pub(super) discovery_errors: Vec<String>,
    /// The longest grace period of a pod that is ending.
    pub(super) grace_seconds: i64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Status(Value),
    /// Nothing is left: the namespace with its finalizer taken out.
    Finalize(Value),
    AfterMs(u64),
}

/// Whether there is anything to do for `namespace` at all.
pub(super) fn is_ending(namespace: &Object) -> bool {
    namespace.deletion_timestamp().is_some()
        && namespace.spec()["finalizers"].items().iter().any(|f| *f == *FINALIZER)
}

pub(super) fn plan(namespace: &Object, content: &Content, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let conditions = conditions(namespace.status()["conditions"].items(), content, &rfc3339(now));
    if conditions != namespace.status()["conditions"].items() {
        let mut status = namespace.status().clone();
        let map = status.make(&[]);
        map.set("phase", "Terminating");
        map.set("conditions", conditions);
        actions.push(Action::Status(status));
    }
    let clean =
        content.errors.is_empty() && content.discovery_errors.is_empty() && content.remaining.is_empty();
    if clean {
        let kept: Vec<Value> =
            namespace.spec()["finalizers"].items().iter().filter(|f| **f != *FINALIZER).cloned().collect();
        let mut body = namespace.0.clone();
        body.make(&["spec"]).set("finalizers", kept);
        actions.push(Action::Finalize(body));
    } else {
        let grace_ms = u64::try_from(content.grace_seconds).unwrap_or(0) * 100;
        let since = namespace.deletion_timestamp().and_then(|t| t.parse::<Timestamp>().ok());
        let age_ms = since.map_or(0, |t| u64::try_from(now.duration_since(t).as_millis()).unwrap_or(0));
        let pause = grace_ms.max(age_ms / POLL_PART_OF_AGE);
        actions.push(Action::AfterMs(pause.clamp(POLL_MS_MIN, POLL_MS_MAX)));
    }
    actions
}

fn list(counts: &BTreeMap<String, usize>, text: impl Fn(&str, usize) -> String) -> String {
    counts.iter().map(|(name, n)| text(name, *n)).collect::<Vec<_>>().join(", ")
}

fn conditions(old: &[Value], c: &Content, now: &str) -> Vec<Value> {
    let remaining = list(&c.remaining, |r, n| format!("{r} has {n} resource instances"));
    let held = list(&c.finalizers, |f, n| format!("{f} in {n} resource instances"));
    let rows: [(&str, bool, &str, String, &str, &str); 5] = [
        (
            "NamespaceDeletionDiscoveryFailure",
            !c.discovery_errors.is_empty(),
            "DiscoveryFailed",
            format!(
                "Discovery failed for some groups, {} failing: {}",
                c.discovery_errors.len(),
                c.discovery_errors.join(", ")
            ),
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "GroupVersionParsingFailed",
            String::new(),
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            !c.errors.is_empty(),
            "ContentDeletionFailed",
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                c.errors.len(),
                c.errors.join(", ")
            ),
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            !c.remaining.is_empty(),
            "SomeResourcesRemain",
            format!("Some resources are remaining: {remaining}"),
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            !c.finalizers.is_empty(),
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {held}"),
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let mut out = old.to_vec();
    for (kind, bad, bad_reason, bad_message, good_reason, good_message) in rows {
        let (status, reason, message) = if bad {
            ("True", bad_reason, bad_message.as_str())
        } else {
            ("False", good_reason, good_message)
        };
        let known = out.iter_mut().find(|c| c["type"] == *kind);
        let fresh = value!({
            "type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
        });
        match known {
            None => out.push(fresh),
            Some(known) if known["status"] != *status => *known = fresh,
            Some(known) => {
                let map = known.make(&[]);
                map.set("reason", reason);
                map.set("message", message);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Object {
        Object(value!({
            "metadata": {"name": "ns", "deletionTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes", "example.com/other"]},
            "status": {"phase": "Terminating"},
        }))
    }
    fn now() -> Timestamp {
        "2024-01-01T00:00:09Z".parse().unwrap()
    }

    #[test]
    fn only_a_namespace_that_ends_and_is_ours_to_end_is_handled() {
        assert!(is_ending(&namespace()));
        let mut other = namespace();
        other.make(&["spec"]).set("finalizers", Value::Array(vec!["example.com/other".into()]));
        assert!(!is_ending(&other));
        let mut living = namespace();
        living.metadata_mut().remove("deletionTimestamp");
        assert!(!is_ending(&living));
    }

    #[test]
    fn what_is_left_is_told_and_waited_for() {
        let content = Content {
            remaining: [("pods".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            grace_seconds: 30,
            ..Content::default()
        };
        let mut ns = namespace();
        let actions = plan(&ns, &content, now());
        let [Action::Status(status), Action::AfterMs(3000)] = &actions[..] else { panic!("{actions:?}") };
        let told: Vec<&str> = status["conditions"]
            .items()
            .iter()
            .filter(|c| c["status"] == "True")
            .map(|c| c["message"].str_or_empty())
            .collect();
        assert_eq!(
            told,
            [
                "Some resources are remaining: pods has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
            ]
        );
        ns.make(&[]).set("status", status.clone());
        let later = "2024-01-01T00:00:20Z".parse().unwrap();
        assert_eq!(plan(&ns, &content, later), [Action::AfterMs(3000)], "told once");
    }

    #[test]
    fn an_empty_namespace_is_let_go_but_not_while_a_group_is_unknown() {
        let actions = plan(&namespace(), &Content::default(), now());
        let Some(Action::Finalize(body)) = actions.last() else { panic!("{actions:?}") };
        assert_eq!(body["spec"]["finalizers"], value!(["example.com/other"]));
        let unknown = Content { discovery_errors: vec!["metrics.k8s.io/v1".into()], ..Content::default() };
        let after = |at: &str| plan(&namespace(), &unknown, at.parse().unwrap()).pop();
        assert_eq!(after("2024-01-01T00:00:00Z"), Some(Action::AfterMs(100)));
        assert_eq!(after("2024-01-01T00:00:09Z"), Some(Action::AfterMs(900)));
        assert_eq!(after("2024-01-03T00:00:00Z"), Some(Action::AfterMs(15_000)), "held for days");
    }
}
