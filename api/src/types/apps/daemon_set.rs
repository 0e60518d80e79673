//! `apps/v1.DaemonSet`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::apps::strategy::{is_nothing, validate_count_or_percent, validate_not_over_100};
use crate::types::core::pod_template;
use crate::types::fields::{Fields, Fill, immutable, non_negative, one_of};
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

const HISTORY: i64 = 10;

pub fn default(set: &mut Value) {
    let spec = set.message("spec");
    pod_template::default(spec.message("template"));
    let strategy = spec.message("updateStrategy");
    strategy.fill_zero("type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = strategy.message("rollingUpdate");
        rolling.fill_absent("maxUnavailable", 1);
        rolling.fill_absent("maxSurge", 0);
    }
    spec.fill_absent("revisionHistoryLimit", HISTORY);
}

pub fn validate(set: &Value, errs: &mut ErrorList) {
    object_meta::validate(&set["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&set["spec"], errs);
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    let (selector, template) = (&spec["selector"], &spec["template"]);
    let labels = &template["metadata"]["labels"];
    let at_template = path.child("template");
    label_selector::validate(selector, &path.child("selector"), errs);
    let usable = label_selector::conversion_error(selector).is_none();
    if usable && !label_selector::is_empty(selector) && !label_selector::matches(selector, labels) {
        pod_template::unmatched(labels, &at_template, errs);
    }
    if label_selector::is_empty(selector) {
        errs.push(FieldError::invalid(
            &path.child("selector"),
            selector.clone(),
            "empty selector is invalid for daemonset",
        ));
    }
    pod_template::validate(template, &at_template, errs);
    let at_spec = at_template.child("spec");
    let policy = template["spec"].text("restartPolicy");
    if policy != "Always" {
        errs.push(FieldError::not_supported(&at_spec.child("restartPolicy"), policy, &["Always"]));
    }
    if template["spec"].has("activeDeadlineSeconds") {
        errs.push(FieldError::forbidden(
            &at_spec.child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in DaemonSet is not Supported",
        ));
    }
    non_negative(errs, &path.child("minReadySeconds"), spec.int("minReadySeconds"));
    validate_strategy(&spec["updateStrategy"], &path.child("updateStrategy"), errs);
    if let Some(limit) = spec.opt_int("revisionHistoryLimit") {
        non_negative(errs, &path.child("revisionHistoryLimit"), limit);
    }
}

fn validate_strategy(strategy: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = path.child("rollingUpdate");
            let rolling = &strategy["rollingUpdate"];
            if rolling.is_null() {
                errs.push(FieldError::required(&at, ""));
                return;
            }
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let (at_unavailable, at_surge) = (at.child("maxUnavailable"), at.child("maxSurge"));
            validate_count_or_percent(unavailable, &at_unavailable, errs);
            validate_not_over_100(unavailable, &at_unavailable, errs);
            validate_count_or_percent(surge, &at_surge, errs);
            validate_not_over_100(surge, &at_surge, errs);
            match (is_nothing(unavailable), is_nothing(surge)) {
                (false, false) => errs.push(FieldError::invalid(
                    &at_surge,
                    surge.clone(),
                    "may not be set when maxUnavailable is non-zero",
                )),
                (true, true) => {
                    errs.push(FieldError::required(&at_unavailable, "cannot be 0 when maxSurge is 0"));
                }
                _ => {}
            }
        }
        other => one_of(errs, &path.child("type"), other, &["RollingUpdate", "OnDelete"]),
    }
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
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ] {
        non_negative(errs, &path.child(field), status.int(field));
    }
    if let Some(count) = status.opt_int("collisionCount") {
        non_negative(errs, &path.child("collisionCount"), count);
    }
}
