//! How many pods to make, which to take away, and what the status says.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use trireme_api::{Object, Value};

use crate::pods;
use crate::runtime::{parse_time, rfc3339};

pub(super) struct Observed<'a> {
    pub(super) owner: &'a Object,
    /// Those it controls, ended and deleted ones included.
    pub(super) pods: &'a [Arc<Object>],
    /// Those and the pods of its siblings.
    pub(super) related: &'a [Arc<Object>],
    /// The cache shows all that was done before.
    pub(super) settled: bool,
    pub(super) burst: usize,
}

#[derive(Debug)]
pub(super) enum Action {
    Create(usize),
    Delete(Vec<Arc<Object>>),
}

pub(super) fn manage(o: &Observed<'_>, now: Timestamp) -> Vec<Action> {
    if !o.settled || o.owner.deletion_timestamp().is_some() {
        return Vec::new();
    }
    let active: Vec<_> = o.pods.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let wanted = wanted(o.owner);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Vec::new(),
        Ordering::Less => vec![Action::Create((wanted - active.len()).min(o.burst))],
        Ordering::Greater => {
            let count = (active.len() - wanted).min(o.burst);
            vec![Action::Delete(first_to_go(active, o.related, now).into_iter().take(count).collect())]
        }
    }
}

fn wanted(owner: &Object) -> usize {
    // Absent means one: the API's default.
    usize::try_from(owner.spec()["replicas"].as_i64().unwrap_or(1)).unwrap_or(0)
}

/// In the order in which they are missed least.
fn first_to_go(
    mut candidates: Vec<Arc<Object>>,
    related: &[Arc<Object>],
    now: Timestamp,
) -> Vec<Arc<Object>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|p| pods::is_active(p)) {
        *on_node.entry(pod.spec()["nodeName"].str_or_empty()).or_default() += 1;
    }
    candidates.sort_by_cached_key(|pod| Rank::of(pod, &on_node, now));
    candidates
}

/// Compared field by field: the smaller goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    /// Pending before unknown before running.
    phase: u8,
    ready: bool,
    deletion_cost: i64,
    /// More pods of its kind on its node: earlier.
    crowd: std::cmp::Reverse<usize>,
    /// Age since it is ready, in powers of two: what is a little younger does not count.
    ready_age: u32,
    restarts: std::cmp::Reverse<i64>,
    age: u32,
    name: String,
}

impl Rank {
    fn of(pod: &Object, on_node: &HashMap<&str, usize>, now: Timestamp) -> Rank {
        let node = pod.spec()["nodeName"].str_or_empty();
        let containers = pod.status()["containerStatuses"].items();
        let magnitude = |since: Option<Timestamp>| match since {
            None => 0,
            Some(t) => 64 - u64::try_from(now.as_second() - t.as_second()).unwrap_or(0).leading_zeros(),
        };
        Rank {
            assigned: !node.is_empty(),
            phase: match pods::phase(pod) {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready: pods::is_ready(pod),
            deletion_cost: pod
                .annotation("controller.kubernetes.io/pod-deletion-cost")
                .and_then(|c| c.parse::<i32>().ok())
                .unwrap_or(0)
                .into(),
            crowd: std::cmp::Reverse(on_node.get(node).copied().unwrap_or(0)),
            ready_age: magnitude(pods::ready_since(pod)),
            restarts: std::cmp::Reverse(
                containers.iter().map(|c| c["restartCount"].as_i64().unwrap_or(0)).max().unwrap_or(0),
            ),
            age: magnitude(parse_time(pod.metadata()["creationTimestamp"].str_or_empty())),
            name: pod.name().to_owned(),
        }
    }
}

/// The status where it differs from the one that is there, and in how many seconds a pod will
/// count as available.
pub(super) fn status(
    o: &Observed<'_>,
    failure: Option<(&str, String)>,
    now: Timestamp,
) -> (Option<Value>, Option<u64>) {
    let template_labels = o.owner.spec()["template"]["metadata"]["labels"].members();
    let min_ready = o.owner.spec()["minReadySeconds"].as_i64().unwrap_or(0);
    let (mut replicas, mut labelled, mut ready, mut available) = (0i64, 0i64, 0i64, 0i64);
    let mut next: Option<u64> = None;
    for pod in o.pods.iter().filter(|p| pods::is_active(p)) {
        replicas += 1;
        labelled += i64::from(template_labels.iter().all(|(k, v)| pod.label(k) == v.as_str()));
        ready += i64::from(pods::is_ready(pod));
        match pods::availability(pod, min_ready, now) {
            Ok(()) => available += 1,
            Err(Some(seconds)) => next = Some(next.unwrap_or(u64::MAX).min(seconds as u64)),
            Err(None) => {}
        }
    }
    let old = o.owner.status();
    let mut new = Value::object();
    let map = new.make(&[]);
    map.set("replicas", replicas);
    for (name, count) in [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("observedGeneration", o.owner.generation()),
    ] {
        if count != 0 {
            map.set(name, count);
        }
    }
    // Fields of later versions are not ours to drop.
    for (name, value) in old.members() {
        let ours = matches!(
            &**name,
            "replicas"
                | "fullyLabeledReplicas"
                | "readyReplicas"
                | "availableReplicas"
                | "observedGeneration"
                | "conditions"
        );
        if !ours {
            map.insert(name.clone(), value.clone());
        }
    }
    let mut conditions: Vec<Value> = old["conditions"].items().to_vec();
    let failing = conditions.iter().position(|c| c["type"] == "ReplicaFailure");
    match (&failure, failing) {
        (Some((reason, message)), None) => {
            conditions.push(super::condition("ReplicaFailure", "True", &rfc3339(now), reason, message));
        }
        // Whether it still fails is only known when something was tried.
        (None, Some(at)) if o.settled => {
            conditions.remove(at);
        }
        _ => {}
    }
    if !conditions.is_empty() {
        map.set("conditions", conditions);
    }
    ((new != *old).then_some(new), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    const NOW: &str = "2024-01-01T01:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// `name phase node ready(age in minutes, - for not) flags`, flags: `d` being deleted, `c5`
    /// deletion cost, `r3` restarts.
    fn pod(line: &str) -> Arc<Object> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut p = value!({
            "metadata": {"name": words[0], "namespace": "ns", "labels": {"app": "a"}},
            "spec": {"nodeName": if words[2] == "-" { "" } else { words[2] }},
            "status": {"phase": words[1], "containerStatuses": [{"restartCount": 0}]},
        });
        if let Ok(minutes) = words[3].parse::<i64>() {
            let since = rfc3339(Timestamp::from_second(now().as_second() - 60 * minutes).unwrap());
            p.make(&["status"]).set(
                "conditions",
                value!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]),
            );
        }
        for flag in &words[4..] {
            match flag.split_at(1) {
                ("d", _) => p.make(&["metadata"]).set("deletionTimestamp", NOW),
                ("c", cost) => {
                    p.make(&["metadata", "annotations"])
                        .insert("controller.kubernetes.io/pod-deletion-cost", cost);
                }
                ("r", count) => p
                    .make(&["status"])
                    .set("containerStatuses", value!([{"restartCount": count.parse::<i64>().unwrap()}])),
                other => panic!("{other:?}"),
            }
        }
        Arc::new(Object(p))
    }

    fn owner(replicas: i64) -> Object {
        Object(value!({
            "metadata": {"name": "rs", "namespace": "ns", "uid": "u", "generation": 2},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "a"}}}},
        }))
    }

    fn decide(replicas: i64, lines: &[&str], settled: bool) -> String {
        let owner = owner(replicas);
        let pods: Vec<_> = lines.iter().map(|l| pod(l)).collect();
        let o = Observed { owner: &owner, pods: &pods, related: &pods, settled, burst: 500 };
        let show = |a: &Action| match a {
            Action::Create(n) => format!("+{n}"),
            Action::Delete(pods) => {
                pods.iter().map(|p| format!("-{}", p.name())).collect::<Vec<_>>().join(" ")
            }
        };
        manage(&o, now()).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn makes_what_is_missing_and_takes_away_what_is_missed_least() {
        let check =
            |replicas, pods: &[&str], want: &str| assert_eq!(decide(replicas, pods, true), want, "{pods:?}");
        check(3, &[], "+3");
        check(1000, &[], "+500");
        check(3, &["a Running n 5", "b Running n 5", "c Failed n -"], "+1");
        check(3, &["a Running n 5", "b Running n 5", "c Running n 5 d"], "+1");
        check(2, &["a Running n 5", "b Running n 5"], "");
        check(1, &["a Running n 5", "b Pending - -"], "-b");
        check(1, &["a Pending - -", "b Pending n -"], "-a");
        check(1, &["a Running n 5", "b Running n -"], "-b");
        check(1, &["a Running n 5 c5", "b Running n 5"], "-b");
        check(1, &["a Running n 500", "b Running n 5"], "-b");
        check(1, &["a Running n 5", "b Running n 5 r3"], "-b");
        check(2, &["a Running n1 5", "b Running n2 5", "c Running n2 5"], "-b");
        check(0, &["a Running n 5", "b Pending n -"], "-b -a");
    }

    #[test]
    fn does_nothing_before_the_cache_shows_what_was_done() {
        assert_eq!(decide(3, &[], false), "");
    }

    #[test]
    fn status_counts_and_says_when_to_look_again() {
        let mut owner = owner(3);
        owner.make(&["spec"]).set("minReadySeconds", 120);
        let pods = [pod("a Running n 5"), pod("b Running n 1"), pod("c Pending n -"), pod("d Failed n -")];
        let o = Observed { owner: &owner, pods: &pods, related: &pods, settled: true, burst: 500 };
        let (status, next) = super::status(&o, Some(("FailedCreate", "quota".into())), now());
        let status = status.unwrap();
        assert_eq!(next, Some(60));
        assert_eq!(
            status,
            value!({
                "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 1,
                "observedGeneration": 2,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "lastTransitionTime": NOW,
                    "reason": "FailedCreate", "message": "quota"}],
            })
        );
        owner.make(&[]).set("status", status);
        let o = Observed { owner: &owner, pods: &pods, related: &pods, settled: true, burst: 500 };
        assert!(super::status(&o, None, now()).0.is_some_and(|s| s["conditions"].is_null()));
        assert!(super::status(&o, Some(("FailedCreate", "again".into())), now()).0.is_none());
    }
}
