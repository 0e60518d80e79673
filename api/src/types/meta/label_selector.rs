//! `meta/v1.LabelSelector` and label maps.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::{Key, Value};
use crate::types::fields::{Fields, invalid_each};
use crate::types::format;

/// What validation of a selector lets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Values must be label values.
    #[default]
    Checked,
    /// Values are not looked at: what was stored before they were checked.
    Unchecked,
}

pub fn validate(selector: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    validate_with(selector, path, Values::Checked, errs);
}

pub fn validate_with(selector: &Value, path: &Path<'_>, values: Values, errs: &mut ErrorList) {
    if selector.is_null() {
        return;
    }
    validate_labels(&selector["matchLabels"], &path.child("matchLabels"), errs);
    let expressions = path.child("matchExpressions");
    for (i, e) in selector.list("matchExpressions").iter().enumerate() {
        validate_requirement(e, &expressions.index(i), values, errs);
    }
}

fn validate_requirement(e: &Value, path: &Path<'_>, values: Values, errs: &mut ErrorList) {
    let list = e.list("values");
    match e.text("operator") {
        "In" | "NotIn" if list.is_empty() => errs.push(FieldError::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !list.is_empty() => errs.push(FieldError::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            errs.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"))
        }
    }
    validate_label_name(e.text("key"), &path.child("key"), errs);
    if values == Values::Checked {
        let at = path.child("values");
        for (i, v) in list.iter().enumerate() {
            invalid_each(errs, &at.index(i), v.str_or_empty(), format::label_value(v.str_or_empty()));
        }
    }
}

/// A label key on its own.
pub fn validate_label_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    invalid_each(errs, path, name, format::label_key(name));
}

/// A map of labels; the errors carry the map's path, as upstream's do.
pub fn validate_labels(labels: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for (key, value) in labels.members() {
        validate_label_name(key, path, errs);
        invalid_each(errs, path, value.str_or_empty(), format::label_value(value.str_or_empty()));
    }
}

/// Selects everything (a null selector selects nothing and is not empty).
pub fn is_empty(selector: &Value) -> bool {
    !selector.is_null()
        && selector.pairs("matchLabels").is_empty()
        && selector.list("matchExpressions").is_empty()
}

/// Whether the selector, taken as valid, selects these labels. A null selector selects nothing.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let value = |key: &str| labels.get(key).and_then(Value::as_str);
    let pairs = selector.pairs("matchLabels").iter().all(|(k, v): &(Key, Value)| value(k) == v.as_str());
    pairs
        && selector.list("matchExpressions").iter().all(|e| {
            let found = value(e.text("key"));
            let among = || found.is_some_and(|f| e.list("values").iter().any(|v| v.as_str() == Some(f)));
            match e.text("operator") {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// An equality selector (`Service.spec.selector`, `ReplicationController.spec.selector`).
pub fn set_matches(selector: &Value, labels: &Value) -> bool {
    selector.members().iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// Why a selector cannot be evaluated, in the words of upstream's conversion.
pub fn conversion_error(selector: &Value) -> Option<String> {
    selector.list("matchExpressions").iter().find_map(|e| match e.text("operator") {
        "In" | "NotIn" | "Exists" | "DoesNotExist" => None,
        other => Some(format!("{other:?} is not a valid label selector operator")),
    })
}
