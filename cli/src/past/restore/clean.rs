//! What of an object is its owner's word, and what the server and the controllers make of it.

use trireme_api::kinds::Context;
use trireme_api::{Value, schema};

use super::super::kinds::Row;

/// Fields of metadata that the server sets.
const SERVERS: &[&str] = &[
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];
/// Finalizers by which a deletion is carried out: an object that is made anew must not have them.
const OF_DELETION: &[&str] = &["foregroundDeletion", "orphan"];
/// Annotations that controllers keep up to date.
const CONTROLLERS: &[&str] = &[
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "endpoints.kubernetes.io/last-change-trigger-time",
    "control-plane.alpha.kubernetes.io/leader",
    "batch.kubernetes.io/job-tracking",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
];
/// Annotations of this control plane's own.
const OURS: &str = "trireme.io/";
/// Labels by which a Job finds its pods: they name its uid.
const JOB_LABELS: &[&str] =
    &["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];

fn is_controllers(annotation: &str) -> bool {
    CONTROLLERS.contains(&annotation) || annotation.starts_with(OURS)
}

fn remove(object: &mut Value, path: &[&str], fields: &[&str]) {
    if let Some(map) = object.at_mut(path).and_then(Value::as_object_mut) {
        map.retain(|key, _| !fields.contains(&&**key));
    }
}

/// Removes members that hold nothing.
fn prune(object: &mut Value, path: &[&str], field: &str) {
    let empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if object.at(path).and_then(|parent| parent.get(field)).is_some_and(empty) {
        remove(object, path, &[field]);
    }
}

/// The object as it is made anew: without what belongs to the one that it was.
pub(super) fn fresh(row: &Row, then: &Value) -> Value {
    let mut object = then.clone();
    remove(&mut object, &["metadata"], SERVERS);
    if let Some(finalizers) = object.at_mut(&["metadata", "finalizers"]).and_then(Value::as_array_mut) {
        finalizers.retain(|finalizer| !OF_DELETION.contains(&finalizer.str_or_empty()));
    }
    if let Some(annotations) = object.at_mut(&["metadata", "annotations"]).and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !is_controllers(key));
    }
    // A custom kind without a path for its status keeps there what its owner wrote.
    if row.built_in.is_some() || row.has_status {
        remove(&mut object, &[], &["status"]);
    }
    match row.resource().as_str() {
        "namespaces" => remove(&mut object, &[], &["spec"]),
        "pods" => remove(&mut object, &["spec"], &["nodeName", "ephemeralContainers"]),
        "jobs.batch" if object["spec"]["manualSelector"] != Value::Bool(true) => {
            remove(&mut object, &["spec"], &["selector"]);
            for metadata in [&["metadata"][..], &["spec", "template", "metadata"]] {
                remove(&mut object, &[metadata, &["labels"]].concat(), JOB_LABELS);
            }
        }
        "persistentvolumes" => remove(&mut object, &["spec", "claimRef"], &["uid", "resourceVersion"]),
        _ => {}
    }
    for field in ["finalizers", "annotations", "labels"] {
        prune(&mut object, &["metadata"], field);
    }
    object
}

/// `fresh` as an update of what there is `now`, at the revision `seen`: compare-and-swap on this very
/// object. What the server and the controllers keep stays as it is now.
pub(super) fn onto(row: &Row, fresh: &Value, now: &Value, seen: i64) -> Value {
    let mut object = fresh.clone();
    let keep = |object: &mut Value, path: &[&'static str], field: &'static str| match now
        .at(path)
        .and_then(|v| v.get(field))
    {
        Some(value) => drop(object.make(path).insert(field, value.clone())),
        None => remove(object, path, &[field]),
    };
    for field in ["uid", "creationTimestamp", "generation", "finalizers"] {
        keep(&mut object, &["metadata"], field);
    }
    object.make(&["metadata"]).set("resourceVersion", seen.to_string());
    for (key, value) in now["metadata"]["annotations"].members() {
        if is_controllers(key) {
            object.make(&["metadata", "annotations"]).insert(key.clone(), value.clone());
        }
    }
    if row.built_in.is_some() || row.has_status {
        keep(&mut object, &[], "status");
    }
    match row.resource().as_str() {
        "namespaces" => keep(&mut object, &[], "spec"),
        "pods" => {
            keep(&mut object, &["spec"], "nodeName");
            keep(&mut object, &["spec"], "ephemeralContainers");
        }
        "jobs.batch" if object["spec"]["manualSelector"] != Value::Bool(true) => {
            keep(&mut object, &["spec"], "selector");
            for (key, value) in now["spec"]["template"]["metadata"]["labels"].members() {
                if JOB_LABELS.contains(&&**key) {
                    let labels = object.make(&["spec", "template", "metadata", "labels"]);
                    labels.insert(key.clone(), value.clone());
                }
            }
        }
        "persistentvolumeclaims" => keep(&mut object, &["spec"], "volumeName"),
        "persistentvolumes" => keep(&mut object, &["spec"], "claimRef"),
        _ => {}
    }
    object
}

/// Why an update of `now` to `object` would be refused for fields that cannot change, in the
/// server's words; nothing for custom kinds, whose rules the server alone knows.
pub(super) fn immutable(row: &Row, object: &Value, now: &Value) -> Vec<String> {
    let Some(kind) = row.built_in else { return Vec::new() };
    let mut new = object.clone();
    let context = Context { now: "", user: "", dry_run: true };
    (kind.rules.prepare_update)(&mut new, now, &context);
    if let Some(message) = schema::builtin().find(kind.hub().message) {
        trireme_api::normal::normalize(schema::builtin(), message, &mut new);
    }
    let wrong_anyway: Vec<String> = (kind.rules.validate)(&new).iter().map(ToString::to_string).collect();
    let errors = (kind.rules.validate_update)(&new, now);
    errors.iter().map(ToString::to_string).filter(|error| !wrong_anyway.contains(error)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::kinds::Kinds;
    use super::*;
    use trireme_api::value;

    fn row(word: &str) -> Row {
        Kinds::built_in().find(word).unwrap().clone()
    }

    #[test]
    fn what_belongs_to_the_old_object_is_dropped() {
        let then = value!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "old", "resourceVersion": "7", "generation": 4,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}],
                "finalizers": ["foregroundDeletion", "example.com/keep"],
                "annotations": {"deployment.kubernetes.io/revision": "3", "trireme.io/x": "y"},
                "labels": {"a": "b"},
            },
            "spec": {"replicas": 3}, "status": {"replicas": 3},
        });
        assert_eq!(
            fresh(&row("deployment"), &then),
            value!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {
                    "name": "web", "namespace": "shop", "finalizers": ["example.com/keep"], "labels": {"a": "b"},
                },
                "spec": {"replicas": 3},
            })
        );
    }

    #[test]
    fn an_update_is_of_this_very_object_and_keeps_what_controllers_keep() {
        let then = value!({"metadata": {"name": "web", "uid": "old", "labels": {"a": "then"}}, "spec": {"replicas": 3}});
        let now = value!({
            "metadata": {
                "name": "web", "uid": "new", "labels": {"a": "now"}, "finalizers": ["f"],
                "annotations": {"deployment.kubernetes.io/revision": "9", "mine": "later"},
            },
            "spec": {"replicas": 1}, "status": {"replicas": 1},
        });
        let row = row("deployment");
        let update = onto(&row, &fresh(&row, &then), &now, 42);
        assert_eq!(
            update,
            value!({
                "metadata": {
                    "name": "web", "uid": "new", "resourceVersion": "42", "labels": {"a": "then"}, "finalizers": ["f"],
                    "annotations": {"deployment.kubernetes.io/revision": "9"},
                },
                "spec": {"replicas": 3}, "status": {"replicas": 1},
            })
        );
    }

    #[test]
    fn jobs_and_pods_lose_what_ties_them_to_their_runs() {
        let job = value!({
            "metadata": {"name": "j", "labels": {"job-name": "j"}},
            "spec": {
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "old"}},
                "template": {"metadata": {"labels": {"controller-uid": "old", "app": "j"}}},
            },
        });
        let made = fresh(&row("job"), &job);
        assert_eq!(
            made,
            value!({"metadata": {"name": "j"}, "spec": {"template": {"metadata": {"labels": {"app": "j"}}}}})
        );
        let pod = value!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "hostname": "h"}});
        assert_eq!(fresh(&row("pod"), &pod), value!({"metadata": {"name": "p"}, "spec": {"hostname": "h"}}));
    }

    #[test]
    fn the_server_s_own_rules_tell_what_cannot_change() {
        let row = row("deployment");
        let deployment = |app: &str, image: &str| {
            let stored = value!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"},
                "spec": {
                    "selector": {"matchLabels": {"app": app}},
                    "template": {
                        "metadata": {"labels": {"app": app}},
                        "spec": {"containers": [{"name": "c", "image": image}]},
                    },
                },
            });
            row.decode(&serde_json::to_vec(&stored).unwrap()).unwrap()
        };
        let now = deployment("a", "1");
        assert_eq!(
            immutable(&row, &onto(&row, &fresh(&row, &deployment("a", "2")), &now, 1), &now),
            Vec::<String>::new()
        );
        let refused = immutable(&row, &onto(&row, &fresh(&row, &deployment("b", "1")), &now, 1), &now);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].contains("spec.selector") && refused[0].contains("immutable"), "{refused:?}");
    }
}
