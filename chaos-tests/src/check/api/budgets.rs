//! Disruption budgets: what an eviction leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::replay::play;
use super::{Told, name, shown};
use crate::check::judged::Judged;
use crate::history::{ApiCall, ApiObject, ApiOperation, ApiOutcome, History};
use crate::traffic::api::{AVAILABLE_MIN, READY};

/// A state of the pods, and who is ready in it.
struct State<'h> {
    from: i64,
    ready: BTreeSet<&'h str>,
}

/// An eviction is granted at a moment at which enough others are ready, of whom nobody is evicted before
/// it. That moment is some time after it was asked for; what nodes do to pods is nobody's eviction.
pub(in crate::check) fn evictions_keep_to_budgets(history: &History) -> Judged {
    let granted: BTreeMap<&str, &ApiOperation> = history
        .api
        .operations
        .iter()
        .filter(|operation| matches!(operation.outcome, ApiOutcome::Changed(_)))
        .filter_map(|operation| match &operation.call {
            ApiCall::Evict { uid, .. } => Some((uid.as_str(), operation)),
            _ => None,
        })
        .collect();
    if granted.is_empty() {
        return Judged::default();
    }
    let told = Told::of(shown(history).map(|(tick, object)| (tick, object.version)).collect());
    let mut judged = Judged::default();
    for watch in history.api.watches.iter().filter(|watch| watch.resource == "pods") {
        let (mut states, mut ends): (Vec<State<'_>>, Vec<(i64, &str)>) = (Vec::new(), Vec::new());
        play(watch, |from, changed, pods| {
            let is_ready = |pod: &&&ApiObject| pod.value == READY;
            let ready: BTreeSet<&str> = pods.values().filter(is_ready).map(|pod| pod.uid.as_str()).collect();
            // Who is ready and is so no more because it goes.
            if let (Some(pod), Some(before)) = (changed, states.last())
                && before.ready.contains(pod.uid.as_str())
                && !ready.contains(pod.uid.as_str())
                && pods.get(&pod.id()).is_none_or(|now| now.value == "going")
            {
                ends.push((from, &pod.uid));
            }
            states.push(State { from, ready });
        });
        let mut evicted = BTreeSet::new();
        for (end, uid) in ends {
            let Some(operation) = granted.get(uid) else { continue };
            evicted.insert(uid);
            let asked = told.before(operation.begin);
            // What was there then is not known; or it was going already, and took nothing from the budget.
            if asked < watch.from || asked >= end {
                continue;
            }
            let first = states.partition_point(|state| state.from <= asked).saturating_sub(1);
            let during = states[first..].iter().take_while(|state| state.from < end);
            let left = during.map(|state| state.ready.difference(&evicted).count()).max().unwrap_or(0);
            judged.case((left < AVAILABLE_MIN).then(|| {
                format!(
                    "{} was granted, and left {left} of the {AVAILABLE_MIN} pods that the budget keeps, at version \
                     {end}",
                    name(operation)
                )
            }));
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::super::super::by;
    use super::*;
    use crate::history::{ApiChange, ApiEvent, ApiHistory, ApiWatch, Tick};

    fn pod(name: &str, version: i64, value: &str) -> ApiObject {
        ApiObject {
            resource: "pods".into(),
            name: format!("default/{name}"),
            uid: format!("uid-{name}"),
            version,
            value: value.into(),
            ..ApiObject::default()
        }
    }

    /// Told at the tick of its version.
    fn event(change: ApiChange, object: ApiObject) -> ApiEvent {
        ApiEvent { tick: Tick(object.version.unsigned_abs()), change, object }
    }

    fn going(name: &str, version: i64) -> ApiEvent {
        event(ApiChange::Modified, pod(name, version, "going"))
    }

    fn evicted(name: &str, begin: u64, end: u64) -> ApiOperation {
        let object = pod(name, 1, READY);
        let call = ApiCall::Evict { id: object.id(), uid: object.uid.clone() };
        let outcome = ApiOutcome::Changed(object);
        ApiOperation { client: 1, begin: Tick(begin), end: Tick(end), fence: None, call, outcome }
    }

    fn wrong(operations: Vec<ApiOperation>, events: Vec<ApiEvent>) -> Vec<String> {
        let initial = ["a", "b", "c"].iter().map(|name| pod(name, 10, READY)).collect();
        let watch = ApiWatch {
            watcher: 1,
            resource: "pods".into(),
            from: 10,
            initial,
            events: [vec![event(ApiChange::Added, pod("x", 11, "not ready"))], events].concat(),
            reached: 100,
        };
        let api = ApiHistory { operations, watches: vec![watch] };
        by("evictions keep to budgets", &History { api, ..History::default() })
    }

    #[test]
    fn one_may_go_and_another_when_there_is_one_in_its_place() {
        let events = vec![
            going("a", 20),
            event(ApiChange::Deleted, pod("a", 22, "going")),
            event(ApiChange::Modified, pod("x", 24, READY)),
            going("b", 30),
        ];
        assert_eq!(wrong(vec![evicted("a", 15, 21), evicted("b", 26, 31)], events), Vec::<String>::new());
    }

    #[test]
    fn two_at_once_are_one_too_many() {
        let found =
            wrong(vec![evicted("a", 15, 25), evicted("b", 15, 26)], vec![going("a", 20), going("b", 21)]);
        assert!(found.len() == 1 && found[0].contains("left 1 of the 2"), "{found:?}");
    }

    #[test]
    fn one_that_comes_before_the_other_is_replaced_is_found() {
        let events = vec![going("a", 20), going("b", 30), event(ApiChange::Modified, pod("x", 34, READY))];
        let found = wrong(vec![evicted("a", 15, 21), evicted("b", 26, 31)], events);
        assert!(found.len() == 1 && found[0].contains("uid-b"), "{found:?}");
    }

    #[test]
    fn what_nodes_do_is_no_eviction() {
        let events = vec![
            event(ApiChange::Modified, pod("c", 18, "not ready")),
            going("b", 19),
            event(ApiChange::Deleted, pod("b", 20, "going")),
        ];
        assert_eq!(wrong(vec![evicted("a", 15, 21)], events), Vec::<String>::new());
    }
}
