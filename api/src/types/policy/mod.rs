//! `policy/v1`: PodDisruptionBudget.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::apps::strategy::{validate_count_or_percent, validate_not_over_100};
use crate::types::fields::{Fields, non_negative, one_of};
use crate::types::internal;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

pub fn validate(budget: &Value, errs: &mut ErrorList) {
    object_meta::validate(&budget["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&budget["spec"], errs);
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        errs.push(FieldError::invalid(
            &path,
            internal::shown("policy/v1.PodDisruptionBudgetSpec", spec),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = spec.opt(field) {
            validate_count_or_percent(value, &path.child(field), errs);
            validate_not_over_100(value, &path.child(field), errs);
        }
    }
    label_selector::validate(&spec["selector"], &path.child("selector"), errs);
    if let Some(policy) = spec.opt_text("unhealthyPodEvictionPolicy") {
        one_of(errs, &path.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("status");
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        non_negative(errs, &path.child(field), new["status"].int(field));
    }
}
