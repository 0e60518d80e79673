//! Counts and percentages of rolling updates, and the selector every workload needs.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, invalid_each, non_negative};
use crate::types::format;
use crate::types::meta::label_selector;

/// An IntOrString that is a count from 0 or a percentage.
pub fn validate_count_or_percent(value: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match value {
        Value::String(s) => invalid_each(errs, path, s, format::percent(s)),
        other => non_negative(errs, path, other.as_i64().unwrap_or(0)),
    }
}

/// The percentage, or `None` for a count.
pub fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

pub fn validate_not_over_100(value: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if percent(value).is_some_and(|p| p > 100) {
        errs.push(FieldError::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}

/// 0 or 0%.
pub fn is_nothing(value: &Value) -> bool {
    percent(value).or_else(|| value.as_i64()).unwrap_or(0) == 0
}

/// A workload's `spec.selector`: there, not empty, and valid.
pub fn validate_selector(selector: &Value, kind: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if selector.is_null() {
        errs.push(FieldError::required(path, ""));
        return;
    }
    label_selector::validate(selector, path, errs);
    if label_selector::is_empty(selector) {
        errs.push(FieldError::invalid(
            path,
            selector.clone(),
            format!("empty selector is invalid for {kind}"),
        ));
    }
}

/// Whether a selector can be evaluated at all: one that cannot is reported as such only once.
pub fn is_usable(selector: &Value) -> bool {
    label_selector::conversion_error(selector).is_none()
        && selector.list("matchExpressions").iter().all(|e| {
            let values = e.list("values").len();
            match e.text("operator") {
                "In" | "NotIn" => values > 0,
                _ => values == 0,
            }
        })
}
