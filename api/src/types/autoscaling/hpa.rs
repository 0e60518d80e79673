//! `autoscaling/v2.HorizontalPodAutoscaler`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::autoscaling::metric;
use crate::types::fields::{Fields, Fill, NOT_POSITIVE, invalid_each, one_of};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};
use crate::value;

const CPU_UTILIZATION: i64 = 80;
const STABILIZATION_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

pub fn default(hpa: &mut Value) {
    let spec = hpa.message("spec");
    spec.fill_absent("minReplicas", 1);
    if spec.list("metrics").is_empty() {
        spec.put(
            "metrics",
            value!([{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_UTILIZATION}},
            }]),
        );
    }
    spec.within("behavior", |behavior| {
        let up = behavior.message("scaleUp");
        up.fill_absent("stabilizationWindowSeconds", 0);
        up.fill_absent("selectPolicy", "Max");
        up.fill_absent(
            "policies",
            value!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]),
        );
        let down = behavior.message("scaleDown");
        down.fill_absent("selectPolicy", "Max");
        down.fill_absent("policies", value!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    });
}

pub fn validate(hpa: &Value, errs: &mut ErrorList) {
    object_meta::validate(&hpa["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&hpa["spec"], false, errs);
}

/// `lenient`: the stored object has a target without a group, or scales to zero already.
fn validate_spec(spec: &Value, lenient: bool, errs: &mut ErrorList) {
    let path = Path::new("spec");
    let (min, max) = (spec.opt_int("minReplicas"), spec.int("maxReplicas"));
    if let Some(min) = min.filter(|m| *m < i64::from(!lenient)) {
        errs.push(FieldError::invalid(
            &path.child("minReplicas"),
            min,
            format!("must be greater than or equal to {}", i64::from(!lenient)),
        ));
    }
    if max < 1 {
        errs.push(FieldError::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        errs.push(FieldError::invalid(
            &path.child("maxReplicas"),
            max,
            "must be greater than or equal to `minReplicas`",
        ));
    }
    validate_target_ref(&spec["scaleTargetRef"], lenient, &path.child("scaleTargetRef"), errs);
    metric::validate_all(spec.list("metrics"), min, &path.child("metrics"), errs);
    if let Some(behavior) = spec.opt("behavior") {
        let at = path.child("behavior");
        for field in ["scaleUp", "scaleDown"] {
            if let Some(rules) = behavior.opt(field) {
                validate_scaling_rules(rules, &at.child(field), errs);
            }
        }
    }
}

/// A reference to what is scaled, or to an object that a metric describes.
pub fn validate_target_ref(r: &Value, lenient: bool, path: &Path<'_>, errs: &mut ErrorList) {
    for field in ["kind", "name"] {
        let text = r.text(field);
        if text.is_empty() {
            errs.push(FieldError::required(&path.child(field), ""));
        } else {
            invalid_each(errs, &path.child(field), text, format::path_segment(text));
        }
    }
    let version = r.text("apiVersion");
    let at = path.child("apiVersion");
    if version.matches('/').count() > 1 {
        errs.push(FieldError::invalid(&at, version, format!("unexpected GroupVersion string: {version}")));
    } else if !lenient && !version.contains('/') && version != "v1" {
        errs.push(FieldError::invalid(&at, version, "apiVersion must specify API group"));
    }
}

fn validate_scaling_rules(rules: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(seconds) = rules.opt_int("stabilizationWindowSeconds") {
        let at = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errs.push(FieldError::invalid(&at, seconds, "must be greater than or equal to zero"));
        }
        if seconds > STABILIZATION_SECONDS_MAX {
            errs.push(FieldError::invalid(
                &at,
                seconds,
                format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}"),
            ));
        }
    }
    if let Some(policy) = rules.opt_text("selectPolicy") {
        one_of(errs, &path.child("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let (policies, at) = (rules.list("policies"), path.child("policies"));
    if policies.is_empty() {
        errs.push(FieldError::required(&at, "must specify at least one Policy"));
    }
    for (i, p) in policies.iter().enumerate() {
        let at = at.index(i);
        one_of(errs, &at.child("type"), p.text("type"), &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            if p.int(field) <= 0 {
                errs.push(FieldError::invalid(&at.child(field), p.int(field), NOT_POSITIVE));
            }
        }
        if p.int("periodSeconds") > PERIOD_SECONDS_MAX {
            errs.push(FieldError::invalid(
                &at.child("periodSeconds"),
                p.int("periodSeconds"),
                format!("must be less than or equal to {PERIOD_SECONDS_MAX}"),
            ));
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let before = &old["spec"];
    let lenient = before.opt_int("minReplicas") == Some(0)
        || !before["scaleTargetRef"].text("apiVersion").contains('/');
    validate_spec(&new["spec"], lenient, errs);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("status");
    for field in ["currentReplicas", "desiredReplicas"] {
        crate::types::fields::non_negative(errs, &path.child(field), new["status"].int(field));
    }
}
