//! What a disruption budget allows, worked out when a pod is to be evicted: as long as no
//! controller fills a budget's status, it would allow nothing for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value};
use trireme_store::planted::{self, Bug};

use crate::cache::Filter;
use crate::server::Core;

/// An eviction that was allowed counts for so long, should its pod still be there.
const EVICTED: Duration = Duration::from_secs(120);
/// What is forgotten of an eviction counts anew if it is still noted: nothing is, after so long.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// Evictions that this server has seen noted in budgets, and since when. It does not go by the times that
/// are noted: they are of another server's clock, and by one that is minutes ahead an eviction that was
/// allowed a moment ago would count no more.
#[derive(Default)]
pub(crate) struct Evictions(Mutex<HashMap<[String; 3], Instant>>);

impl Evictions {
    /// Whether the eviction of `pod` at `time`, as the budget with this UID notes it, still counts.
    fn counts(&self, budget: &str, pod: &str, time: &str) -> bool {
        let mut seen = self.0.lock();
        seen.retain(|_, since| since.elapsed() < FORGOTTEN);
        let since = seen.entry([budget, pod, time].map(str::to_owned)).or_insert_with(Instant::now);
        since.elapsed() < EVICTED
    }
}

/// Fills the numbers of a budget's status. `observedGeneration` is left alone, so that the next
/// eviction looks again; the pods evicted before stay noted, so that two at a time do not both
/// take the last disruption.
pub(super) fn observe(core: &Core, budget: &mut Value, namespace: &str) {
    let Ok(selector) = LabelSelector::from_object(&budget["spec"]["selector"]) else { return };
    let pods: Vec<Arc<Object>> = core.kind_cache("", "pods").map_or_else(Vec::new, |kind| {
        let all = kind.select(&Filter::namespace(namespace));
        let matching = all.iter().map(|e| e.object());
        matching.filter(|pod| selector.matches_labels(&pod.metadata()["labels"])).collect()
    });
    let controllers = |plural: &str, name: &str| core.cached("apps", plural, namespace, name);
    let expected = expected(&pods, |kind, name| match kind {
        "ReplicaSet" => controllers("replicasets", name),
        "Deployment" => controllers("deployments", name),
        "StatefulSet" => controllers("statefulsets", name),
        "ReplicationController" => core.cached("", "replicationcontrollers", namespace, name),
        _ => None,
    });
    let uid = budget["metadata"]["uid"].str_or_empty().to_owned();
    fill(budget, &pods, expected, |pod, time| core.evictions.counts(&uid, pod, time));
}

/// The replicas that the pods' controllers want, each controller once.
fn expected(pods: &[Arc<Object>], find: impl Fn(&str, &str) -> Option<Arc<Object>>) -> i64 {
    let mut wanted: HashMap<String, i64> = HashMap::new();
    for pod in pods {
        let mut controller = None;
        let mut owned = pod.clone();
        // Two steps: a pod's ReplicaSet, and its Deployment.
        for _ in 0..2 {
            let found =
                owned.controller_ref().and_then(|r| find(r["kind"].str_or_empty(), r["name"].str_or_empty()));
            match found {
                Some(found) => {
                    owned = found.clone();
                    controller = Some(found);
                }
                None => break,
            }
        }
        if let Some(controller) = controller {
            let replicas = controller.spec()["replicas"].as_i64().unwrap_or(1);
            wanted.insert(controller.uid().to_owned(), replicas);
        }
    }
    wanted.values().sum()
}

fn fill(budget: &mut Value, pods: &[Arc<Object>], controlled: i64, counts: impl Fn(&str, &str) -> bool) {
    let evicted: Vec<(String, Value)> = budget["status"]["disruptedPods"]
        .members()
        .iter()
        .filter(|(name, time)| pods.iter().any(|p| *p.name() == **name) && counts(name, time.str_or_empty()))
        .map(|(name, time)| (name.to_string(), time.clone()))
        .collect();
    let healthy = pods
        .iter()
        .filter(|p| {
            let stays = p.deletion_timestamp().is_none() && !evicted.iter().any(|(name, _)| p.name() == name);
            stays || planted::is(Bug::BudgetForgotten)
        })
        .filter(|p| {
            p.status()["conditions"].items().iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        })
        .count() as i64;
    let spec = &budget["spec"];
    let (expected, desired) = match (spec.get("maxUnavailable"), spec.get("minAvailable")) {
        (Some(max), _) => (controlled, (controlled - scaled(max, controlled)).max(0)),
        (None, Some(min @ Value::String(_))) => (controlled, scaled(min, controlled)),
        (None, Some(min)) => (pods.len() as i64, min.as_i64().unwrap_or(0)),
        (None, None) => (pods.len() as i64, 0),
    };
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let status = budget.make(&["status"]);
    status.set("currentHealthy", healthy);
    status.set("desiredHealthy", desired);
    status.set("expectedPods", expected);
    status.set("disruptionsAllowed", allowed);
    status.remove("disruptedPods");
    for (name, time) in evicted {
        status.object_mut("disruptedPods").insert(name.as_str(), time);
    }
}

/// A number, or a share of `of`, rounded up.
fn scaled(value: &Value, of: i64) -> i64 {
    match value.as_str().and_then(|text| text.strip_suffix('%')) {
        Some(percent) => (percent.parse::<i64>().unwrap_or(0) * of + 99) / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn pod(name: &str, ready: &str) -> Arc<Object> {
        Arc::new(Object(value!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })))
    }

    #[test]
    fn what_is_allowed_follows_from_the_pods() {
        let pods = [pod("a", "True"), pod("b", "True"), pod("c", "False")];
        let check = |spec: Value, evicted: Value, expected: [i64; 3]| {
            let mut budget = value!({"spec": {}, "status": {}});
            budget.make(&[]).set("spec", spec);
            budget.make(&["status"]).set("disruptedPods", evicted);
            fill(&mut budget, &pods, 4, |_, time| time == "late");
            let n = |f: &str| budget["status"][f].as_i64().unwrap();
            assert_eq!([n("expectedPods"), n("desiredHealthy"), n("disruptionsAllowed")], expected);
        };
        check(value!({"minAvailable": 1}), Value::Null, [3, 1, 1]);
        check(value!({"minAvailable": 1}), value!({"a": "late"}), [3, 1, 0]);
        check(value!({"minAvailable": 1}), value!({"a": "early"}), [3, 1, 1]);
        check(value!({"minAvailable": "30%"}), Value::Null, [4, 2, 0]);
        check(value!({"maxUnavailable": 3}), Value::Null, [4, 1, 1]);
        check(value!({"maxUnavailable": "50%"}), Value::Null, [4, 2, 0]);
    }

    #[test]
    fn an_eviction_counts_from_when_it_was_seen_whatever_its_time_says() {
        let evictions = Evictions::default();
        let long_ago = "2001-01-01T00:00:00Z";
        assert!(evictions.counts("u", "a", long_ago) && evictions.counts("u", "a", long_ago));
        for since in evictions.0.lock().values_mut() {
            *since -= EVICTED;
        }
        assert!(!evictions.counts("u", "a", long_ago));
        // Another of the same pod, or of another budget's, has its own time.
        assert!(evictions.counts("u", "a", "2001-01-01T00:00:01Z") && evictions.counts("v", "a", long_ago));
    }
}
