//! `apps/v1.Deployment`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::apps::strategy::{
    is_nothing, is_usable, validate_count_or_percent, validate_not_over_100, validate_selector,
};
use crate::types::core::pod_template;
use crate::types::fields::{Fields, Fill, immutable, non_negative, required_one_of};
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

const HISTORY: i64 = 10;
const DEADLINE_SECONDS: i64 = 600;

pub fn default(deployment: &mut Value) {
    let spec = deployment.message("spec");
    pod_template::default(spec.message("template"));
    spec.fill_absent("replicas", 1);
    let strategy = spec.message("strategy");
    strategy.fill_zero("type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = strategy.message("rollingUpdate");
        rolling.fill_absent("maxUnavailable", "25%");
        rolling.fill_absent("maxSurge", "25%");
    }
    spec.fill_absent("revisionHistoryLimit", HISTORY);
    spec.fill_absent("progressDeadlineSeconds", DEADLINE_SECONDS);
}

pub fn validate(deployment: &Value, errs: &mut ErrorList) {
    object_meta::validate(&deployment["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&deployment["spec"], errs);
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    non_negative(errs, &path.child("replicas"), spec.int("replicas"));
    let selector = &spec["selector"];
    validate_selector(selector, "deployment", &path.child("selector"), errs);
    if selector.is_null() || is_usable(selector) {
        pod_template::validate_for_replicas(
            &spec["template"],
            |labels| label_selector::is_empty(selector) || label_selector::matches(selector, labels),
            "ReplicaSet",
            &path.child("template"),
            errs,
        );
    } else {
        errs.push(FieldError::invalid(&path.child("selector"), selector.clone(), "invalid label selector"));
    }
    validate_strategy(&spec["strategy"], &path.child("strategy"), errs);
    non_negative(errs, &path.child("minReadySeconds"), spec.int("minReadySeconds"));
    if let Some(limit) = spec.opt_int("revisionHistoryLimit") {
        non_negative(errs, &path.child("revisionHistoryLimit"), limit);
    }
    if let Some(deadline) = spec.opt_int("progressDeadlineSeconds") {
        let at = path.child("progressDeadlineSeconds");
        non_negative(errs, &at, deadline);
        if deadline <= spec.int("minReadySeconds") {
            errs.push(FieldError::invalid(&at, deadline, "must be greater than minReadySeconds"));
        }
    }
}

fn validate_strategy(strategy: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("rollingUpdate");
    let kind = strategy.text("type");
    match kind {
        "Recreate" if strategy.has("rollingUpdate") => {
            errs.push(FieldError::forbidden(&at, "may not be specified when strategy `type` is 'Recreate'"))
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let rolling = &strategy["rollingUpdate"];
            if rolling.is_null() {
                errs.push(FieldError::required(&at, "this should be defaulted and never be nil"));
                return;
            }
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let (at_unavailable, at_surge) = (at.child("maxUnavailable"), at.child("maxSurge"));
            validate_count_or_percent(unavailable, &at_unavailable, errs);
            validate_count_or_percent(surge, &at_surge, errs);
            if is_nothing(unavailable) && is_nothing(surge) && is_count_or_percent(surge) {
                errs.push(FieldError::invalid(
                    &at_unavailable,
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
            validate_not_over_100(unavailable, &at_unavailable, errs);
        }
        other => required_one_of(errs, &path.child("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

/// Text that is no percentage counts for nothing, but has been reported.
fn is_count_or_percent(value: &Value) -> bool {
    !value.is_string() || super::strategy::percent(value).is_some()
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
    let path = Path::new("spec");
    immutable(errs, &path.child("selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let (status, path) = (&new["status"], Path::new("status"));
    for field in [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ] {
        non_negative(errs, &path.child(field), status.int(field));
    }
    if let Some(count) = status.opt_int("collisionCount") {
        non_negative(errs, &path.child("collisionCount"), count);
        if count < old["status"].int("collisionCount") {
            errs.push(FieldError::invalid(&path.child("collisionCount"), count, "cannot be decremented"));
        }
    }
    let mut at_most = |field: &'static str, limit: &str, name: &str| {
        if status.int(field) > status.int(limit) {
            errs.push(FieldError::invalid(
                &path.child(field),
                status.int(field),
                format!("cannot be greater than {name}"),
            ));
        }
    };
    at_most("updatedReplicas", "replicas", "status.replicas");
    at_most("readyReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "readyReplicas", "readyReplicas");
}
