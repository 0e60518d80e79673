//! A Deployment's ReplicaSets: which is the new one, revisions, annotations, names.

use std::sync::Arc;

use trireme_api::{Key, Object, Value, value};

use crate::pods;
use crate::runtime::{owner_reference, parse_time};

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// A set's revision history is cut at this length, oldest first.
const HISTORY_BYTES_MAX: usize = 2000;

pub(super) type Set = Arc<Object>;

pub(super) fn replicas(o: &Object) -> i64 {
    o.spec()["replicas"].as_i64().unwrap_or(1)
}
pub(super) fn count(o: &Object, field: &str) -> i64 {
    o.status()[field].as_i64().unwrap_or(0)
}
pub(super) fn sum(sets: &[Set], of: impl Fn(&Object) -> i64) -> i64 {
    sets.iter().map(|s| of(s)).sum()
}
pub(super) fn revision(o: &Object) -> i64 {
    o.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}
pub(super) fn annotated(o: &Object, name: &str) -> Option<i64> {
    o.annotation(name).and_then(|n| n.parse().ok())
}
pub(super) fn is_active(set: &Object) -> bool {
    replicas(set) > 0
}

/// Oldest first.
pub(super) fn by_age(mut sets: Vec<Set>) -> Vec<Set> {
    let created = |s: &Object| parse_time(s.metadata()["creationTimestamp"].str_or_empty());
    sets.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| a.name().cmp(b.name())));
    sets
}

/// Templates are the same when they are but for the hash that we put into them.
fn same_template(a: &Value, b: &Value) -> bool {
    let strip = |t: &Value| {
        let mut t = t.clone();
        if let Some(Value::Object(labels)) = t.at_mut(&["metadata", "labels"]) {
            labels.remove(HASH_LABEL);
            if labels.is_empty() {
                t.make(&["metadata"]).remove("labels");
            }
        }
        if t["metadata"].members().iter().all(|(k, v)| &**k == "creationTimestamp" && v.is_null()) {
            t.make(&[]).remove("metadata");
        }
        t
    };
    strip(a) == strip(b)
}

/// The set with the Deployment's template; the oldest, should there be several. And the others.
pub(super) fn split(deployment: &Object, sets: &[Set]) -> (Option<Set>, Vec<Set>) {
    let sets = by_age(sets.to_vec());
    let template = &deployment.spec()["template"];
    let new = sets.iter().find(|s| same_template(&s.spec()["template"], template)).cloned();
    let old = sets.into_iter().filter(|s| new.as_ref().is_none_or(|n| n.uid() != s.uid())).collect();
    (new, old)
}

/// Surge and unavailability as numbers of pods: a percentage of surge is rounded up, one of
/// unavailability down, and not both are zero, or nothing could ever move.
pub(super) fn limits(deployment: &Object) -> (i64, i64) {
    if deployment.spec()["strategy"]["type"] == "Recreate" {
        return (0, 0);
    }
    let rolling = &deployment.spec()["strategy"]["rollingUpdate"];
    let total = replicas(deployment);
    let resolve = |v: &Value, up: bool| -> i64 {
        let percent = match v.as_str() {
            None if v.is_null() => 25,
            None => return v.as_i64().unwrap_or(0),
            Some(text) => match text.strip_suffix('%') {
                None => return text.parse().unwrap_or(0),
                Some(p) => p.parse::<i64>().unwrap_or(0),
            },
        };
        let hundredths = total * percent;
        if up { (hundredths + 99) / 100 } else { hundredths / 100 }
    };
    let surge = resolve(&rolling["maxSurge"], true);
    let unavailable = resolve(&rolling["maxUnavailable"], false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(total)) }
}

/// FNV-1a over the template and the number of collisions so far. Members are taken in the order
/// of their names: the same template always gives the same hash.
pub(super) fn template_hash(template: &Value, collisions: Option<i64>) -> String {
    fn feed(v: &Value, h: &mut u32) {
        let mut bytes = |b: &[u8]| b.iter().for_each(|b| *h = (*h ^ u32::from(*b)).wrapping_mul(16_777_619));
        match v {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by(|a, b| a.0.cmp(b.0));
                bytes(b"{");
                for (k, v) in entries {
                    feed(&Value::from(&**k), h);
                    feed(v, h);
                }
            }
            Value::Array(items) => {
                bytes(b"[");
                items.iter().for_each(|v| feed(v, h));
            }
            scalar => bytes(scalar.to_string().as_bytes()),
        }
    }
    let mut hash = 2_166_136_261;
    feed(template, &mut hash);
    if let Some(n) = collisions {
        feed(&Value::Int(n), &mut hash);
    }
    pods::safe_encode(&hash.to_string())
}

/// Annotations a set takes over from its Deployment: all but kubectl's and our own.
fn copied(deployment: &Object) -> impl Iterator<Item = (&Key, &Value)> {
    deployment.metadata()["annotations"].members().iter().map(|(k, v)| (k, v)).filter(|(k, _)| {
        !matches!(
            &***k,
            LAST_APPLIED | REVISION | REVISION_HISTORY | DESIRED_REPLICAS | MAX_REPLICAS | ROLLBACK_TO
        )
    })
}

/// Notes on a set how large the Deployment was when it was sized.
pub(super) fn note_size(set: &mut Object, deployment: &Object) {
    let (surge, _) = limits(deployment);
    set.set_annotation(DESIRED_REPLICAS, &replicas(deployment).to_string());
    set.set_annotation(MAX_REPLICAS, &(replicas(deployment) + surge).to_string());
}

/// Whether those notes are not those of the Deployment's size now.
pub(super) fn size_noted(set: &Object, deployment: &Object) -> bool {
    let (surge, _) = limits(deployment);
    annotated(set, DESIRED_REPLICAS) == Some(replicas(deployment))
        && annotated(set, MAX_REPLICAS) == Some(replicas(deployment) + surge)
}

/// The new set as it must be: the revision after all others, the Deployment's annotations.
/// `None` where it is so already.
pub(super) fn brought_up_to_date(set: &Object, deployment: &Object, revision_wanted: i64) -> Option<Object> {
    let mut out = set.clone();
    for (k, v) in copied(deployment) {
        out.make(&["metadata", "annotations"]).insert(k.clone(), v.clone());
    }
    if revision(set) < revision_wanted {
        if let Some(former) = set.annotation(REVISION) {
            let mut history: Vec<&str> =
                set.annotation(REVISION_HISTORY).unwrap_or("").split(',').filter(|r| !r.is_empty()).collect();
            history.push(former);
            while history.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY_BYTES_MAX {
                history.remove(0);
            }
            out.set_annotation(REVISION_HISTORY, &history.join(","));
        }
        out.set_annotation(REVISION, &revision_wanted.to_string());
    }
    let min_ready = &deployment.spec()["minReadySeconds"];
    if set.spec()["minReadySeconds"].as_i64().unwrap_or(0) != min_ready.as_i64().unwrap_or(0) {
        out.make(&["spec"]).set("minReadySeconds", min_ready.as_i64().unwrap_or(0));
    }
    (out != *set).then_some(out)
}

/// The set for the Deployment's template.
pub(super) fn new_set(deployment: &Object, size: i64, revision: i64) -> Object {
    let template = &deployment.spec()["template"];
    let hash = template_hash(template, deployment.status()["collisionCount"].as_i64());
    let mut template = template.clone();
    template.make(&["metadata", "labels"]).insert(HASH_LABEL, hash.as_str());
    let mut selector = deployment.spec()["selector"].clone();
    selector.make(&["matchLabels"]).insert(HASH_LABEL, hash.as_str());
    let mut set = Object(value!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", deployment.name()),
            "namespace": deployment.namespace(),
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    }));
    for (k, v) in copied(deployment) {
        set.make(&["metadata", "annotations"]).insert(k.clone(), v.clone());
    }
    if let Some(seconds) = deployment.spec()["minReadySeconds"].as_i64().filter(|s| *s > 0) {
        set.make(&["spec"]).set("minReadySeconds", seconds);
    }
    set.set_annotation(REVISION, &revision.to_string());
    note_size(&mut set, deployment);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_so_that_something_can_move() {
        let check = |total: i64, surge: Value, unavailable: Value, want: (i64, i64)| {
            let d = Object(value!({"spec": {
                "replicas": total,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            }}));
            assert_eq!(limits(&d), want, "{d:?}");
        };
        check(10, "25%".into(), "25%".into(), (3, 2));
        check(3, "25%".into(), "25%".into(), (1, 0));
        check(3, 0.into(), "25%".into(), (0, 1));
        check(3, 1.into(), 5.into(), (1, 3));
        check(10, Value::Null, Value::Null, (3, 2));
    }

    #[test]
    fn hashes_do_not_depend_on_order_but_on_collisions() {
        let a = template_hash(&value!({"a": 1, "b": ["x"]}), None);
        assert_eq!(a, template_hash(&value!({"b": ["x"], "a": 1}), None));
        assert_ne!(a, template_hash(&value!({"b": ["x"], "a": 1}), Some(1)));
        assert_ne!(a, template_hash(&value!({"b": ["y"], "a": 1}), None));
        assert!(a.bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_set_made_of_a_template_is_found_by_it() {
        let d = Object(value!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u", "annotations": {"note": "x", LAST_APPLIED: "{}"}},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "a"}},
                "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c"}]}}},
        }));
        let set = new_set(&d, 2, 7);
        assert_eq!(set.label("app"), Some("a"));
        assert_eq!(set.spec()["selector"]["matchLabels"][HASH_LABEL].as_str(), set.label(HASH_LABEL));
        assert_eq!(
            (revision(&set), annotated(&set, MAX_REPLICAS), set.annotation("note")),
            (7, Some(5), Some("x"))
        );
        assert_eq!(set.annotation(LAST_APPLIED), None);
        let set = Arc::new(set);
        assert!(split(&d, std::slice::from_ref(&set)).0.is_some());
        let mut other = d.clone();
        other.make(&["spec", "template", "spec"]).set("containers", value!([{"name": "z"}]));
        assert_eq!(
            (split(&other, std::slice::from_ref(&set)).0, split(&other, std::slice::from_ref(&set)).1.len()),
            (None, 1)
        );
        assert_eq!(brought_up_to_date(&set, &d, 7), None);
        let again = brought_up_to_date(&set, &d, 9).unwrap();
        assert_eq!((revision(&again), again.annotation(REVISION_HISTORY)), (9, Some("7")));
    }
}
