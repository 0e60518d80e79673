//! Defaults of versions that upstream does not serve any more, on their own shape. What a version
//! does not default here gets the hub's default after conversion.

use crate::tree::Value;

/// No limit, as extensions/v1beta1 meant it.
const NO_LIMIT: i64 = i32::MAX as i64;

fn spec(object: &mut Value) -> &mut crate::tree::Map {
    object.make(&["spec"])
}

fn set_if_absent(map: &mut crate::tree::Map, key: &'static str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.set(key, value);
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.members().is_empty() && value.is_object()
}

/// The template's labels become the selector where there is none.
fn selector_from_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if !is_empty(&labels) && object["spec"]["selector"].is_null() {
        object.make(&["spec", "selector"]).set("matchLabels", labels);
    }
}

/// The template's labels become the object's where it has none.
fn labels_from_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if !is_empty(&labels) && is_empty(&object["metadata"]["labels"]) {
        object.make(&["metadata"]).set("labels", labels);
    }
}

fn rolling_update(spec: &mut crate::tree::Map, unavailable: impl Into<Value>, surge: impl Into<Value>) {
    let strategy = spec.object_mut(crate::tree::Key::Static("strategy"));
    if strategy.get("type").map(Value::str_or_empty).unwrap_or_default().is_empty() {
        strategy.set("type", "RollingUpdate");
    }
    if strategy.get("type").is_some_and(|t| *t == "RollingUpdate") {
        let update = strategy.object_mut(crate::tree::Key::Static("rollingUpdate"));
        set_if_absent(update, "maxUnavailable", unavailable);
        set_if_absent(update, "maxSurge", surge);
    }
}

/// extensions/v1beta1: one more and one less while rolling, no deadline, all history.
pub fn deployment_extensions(object: &mut Value) {
    selector_from_template(object);
    labels_from_template(object);
    let spec = spec(object);
    set_if_absent(spec, "replicas", 1i64);
    rolling_update(spec, 1i64, 1i64);
    set_if_absent(spec, "progressDeadlineSeconds", NO_LIMIT);
    set_if_absent(spec, "revisionHistoryLimit", NO_LIMIT);
}

pub fn deployment_v1beta1(object: &mut Value) {
    selector_from_template(object);
    labels_from_template(object);
    let spec = spec(object);
    set_if_absent(spec, "replicas", 1i64);
    rolling_update(spec, "25%", "25%");
    set_if_absent(spec, "revisionHistoryLimit", 2i64);
    set_if_absent(spec, "progressDeadlineSeconds", 600i64);
}

pub fn deployment_v1beta2(object: &mut Value) {
    let spec = spec(object);
    set_if_absent(spec, "replicas", 1i64);
    rolling_update(spec, "25%", "25%");
    set_if_absent(spec, "revisionHistoryLimit", 10i64);
    set_if_absent(spec, "progressDeadlineSeconds", 600i64);
}

pub fn replica_set_extensions(object: &mut Value) {
    selector_from_template(object);
    labels_from_template(object);
    set_if_absent(spec(object), "replicas", 1i64);
}

pub fn replica_set_v1beta2(object: &mut Value) {
    set_if_absent(spec(object), "replicas", 1i64);
}

fn update_strategy(spec: &mut crate::tree::Map, default: &str) {
    let strategy = spec.object_mut(crate::tree::Key::Static("updateStrategy"));
    if strategy.get("type").map(Value::str_or_empty).unwrap_or_default().is_empty() {
        strategy.set("type", default);
    }
}

/// extensions/v1beta1: pods are replaced when someone deletes them.
pub fn daemon_set_extensions(object: &mut Value) {
    selector_from_template(object);
    labels_from_template(object);
    let spec = spec(object);
    update_strategy(spec, "OnDelete");
    set_if_absent(spec, "revisionHistoryLimit", 10i64);
}

pub fn daemon_set_v1beta2(object: &mut Value) {
    let spec = spec(object);
    update_strategy(spec, "RollingUpdate");
    set_if_absent(spec, "revisionHistoryLimit", 10i64);
}

/// apps/v1beta1: pods are replaced when someone deletes them.
pub fn stateful_set_v1beta1(object: &mut Value) {
    selector_from_template(object);
    labels_from_template(object);
    let spec = spec(object);
    set_if_absent(spec, "podManagementPolicy", "OrderedReady");
    update_strategy(spec, "OnDelete");
    set_if_absent(spec, "replicas", 1i64);
    set_if_absent(spec, "revisionHistoryLimit", 10i64);
}

pub fn stateful_set_v1beta2(object: &mut Value) {
    let spec = spec(object);
    set_if_absent(spec, "podManagementPolicy", "OrderedReady");
    update_strategy(spec, "RollingUpdate");
    set_if_absent(spec, "replicas", 1i64);
    set_if_absent(spec, "revisionHistoryLimit", 10i64);
}

/// Both legacy versions. v2alpha1 kept every finished Job where no limit was given; here it gets
/// the limits of v1beta1 as well, on purpose: nobody wants the other.
pub fn cron_job(object: &mut Value) {
    let spec = spec(object);
    if spec.get("concurrencyPolicy").map(Value::str_or_empty).unwrap_or_default().is_empty() {
        spec.set("concurrencyPolicy", "Allow");
    }
    set_if_absent(spec, "suspend", false);
    set_if_absent(spec, "successfulJobsHistoryLimit", 3i64);
    set_if_absent(spec, "failedJobsHistoryLimit", 1i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn extensions_deployments_take_labels_from_their_template() {
        let mut v = value!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        deployment_extensions(&mut v);
        assert_eq!(v["metadata"]["labels"], value!({"a": "b"}));
        assert_eq!(v["spec"]["selector"], value!({"matchLabels": {"a": "b"}}));
        assert_eq!(
            v["spec"]["strategy"],
            value!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}})
        );
        let mut v = value!({"spec": {"strategy": {"type": "Recreate"}, "template": {}}});
        deployment_v1beta2(&mut v);
        assert_eq!(v["spec"]["strategy"], value!({"type": "Recreate"}));
        assert!(v["spec"]["selector"].is_null());
    }

    #[test]
    fn old_sets_are_replaced_on_delete() {
        let mut v = value!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        stateful_set_v1beta1(&mut v);
        assert_eq!(v["spec"]["updateStrategy"], value!({"type": "OnDelete"}));
        let mut v = value!({"spec": {}});
        daemon_set_v1beta2(&mut v);
        assert_eq!(v["spec"]["updateStrategy"], value!({"type": "RollingUpdate"}));
    }
}
