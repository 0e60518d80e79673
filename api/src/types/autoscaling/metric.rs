//! `autoscaling/v2.MetricSpec`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::autoscaling::hpa::validate_target_ref;
use crate::types::core::resources::quantity;
use crate::types::fields::{Fields, invalid_each, one_of};
use crate::types::format;
use crate::types::meta::label_selector;

/// Type of the metric, the member that describes it.
const TYPES: &[(&str, &str)] = &[
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
const NOT_WITH: &str = "may not set a source whose type does not match";

pub fn validate_all(metrics: &[Value], min: Option<i64>, path: &Path<'_>, errs: &mut ErrorList) {
    for (i, m) in metrics.iter().enumerate() {
        validate(m, &path.index(i), errs);
    }
    let counts_without_pods = metrics.iter().any(|m| matches!(m.text("type"), "Object" | "External"));
    if min == Some(0) && !counts_without_pods {
        errs.push(FieldError::forbidden(
            path,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
}

fn validate(m: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let kind = m.text("type");
    if kind.is_empty() {
        errs.push(FieldError::required(&path.child("type"), "must specify a metric source type"));
    }
    let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    one_of(errs, &path.child("type"), kind, &names);
    for (name, member) in TYPES {
        if *name == kind && !m.has(member) {
            errs.push(FieldError::required(
                &path.child(member),
                "must populate information for the given metric source",
            ));
        } else if *name != kind && m.has(member) {
            errs.push(FieldError::forbidden(&path.child(member), NOT_WITH));
        }
    }
    let Some((_, member)) = TYPES.iter().find(|(name, _)| *name == kind) else { return };
    let Some(source) = m.opt(member) else { return };
    let at = path.child(member);
    match kind {
        "Object" => {
            validate_target_ref(&source["describedObject"], true, &at.child("describedObject"), errs);
            validate_identifier(&source["metric"], &at.child("metric"), errs);
        }
        "Pods" | "External" => validate_identifier(&source["metric"], &at.child("metric"), errs),
        _ => {
            for field in if kind == "Resource" { &["name"][..] } else { &["name", "container"] } {
                if source.text(field).is_empty() {
                    errs.push(FieldError::required(
                        &at.child(field),
                        format!(
                            "must specify a {} name",
                            if *field == "name" { "resource" } else { "container" }
                        ),
                    ));
                }
            }
        }
    }
    validate_target(&source["target"], kind, &at.child("target"), errs);
}

fn validate_identifier(metric: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let name = metric.text("name");
    if name.is_empty() {
        errs.push(FieldError::required(&path.child("name"), "must specify a metric name"));
    } else {
        invalid_each(errs, &path.child("name"), name, format::path_segment(name));
    }
    label_selector::validate(&metric["selector"], &path.child("selector"), errs);
}

fn validate_target(target: &Value, kind: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if target.text("type").is_empty() {
        errs.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    } else {
        one_of(errs, &path.child("type"), target.text("type"), &["AverageValue", "Utilization", "Value"]);
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = target.opt(field).map(quantity).filter(|q| q.sign() != 1) {
            errs.push(FieldError::invalid(&path.child(field), amount.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = target.opt_int("averageUtilization").filter(|p| *p < 1) {
        errs.push(FieldError::invalid(&path.child("averageUtilization"), percent, "must be greater than 0"));
    }
    let (value, average) = (target.has("value"), target.has("averageValue"));
    match kind {
        "Object" | "External" if value == average => {
            errs.push(FieldError::required(
                &path.child("averageValue"),
                if value {
                    "may not set both a target value for metric and a per-pod target"
                } else {
                    "must set either a target value for metric or a per-pod target"
                },
            ));
        }
        "Pods" if !average => {
            errs.push(FieldError::required(
                &path.child("averageValue"),
                "must specify a positive target averageValue",
            ));
        }
        "Resource" | "ContainerResource" => match (target.has("averageUtilization"), average) {
            (false, false) => errs.push(FieldError::required(
                &path.child("averageUtilization"),
                "must set either a target raw value or a target utilization",
            )),
            (true, true) => errs.push(FieldError::forbidden(
                &path.child("averageValue"),
                "may not set both a target raw value and a target utilization",
            )),
            _ => {}
        },
        _ => {}
    }
}
