//! How a field selector reads a field: as text, as upstream prints it.

use crate::tree::Value;

pub(super) fn text(object: &Value, path: &[&str]) -> String {
    object.at(path).map(Value::str_or_empty).unwrap_or_default().to_owned()
}

/// `true` or `false`; absent is `false`.
pub(super) fn flag(object: &Value, path: &[&str]) -> String {
    object.at(path).and_then(Value::as_bool).unwrap_or(false).to_string()
}

/// A number; absent is `0`.
pub(super) fn number(object: &Value, path: &[&str]) -> String {
    object.at(path).and_then(Value::as_i64).unwrap_or(0).to_string()
}

/// An event's source component, or who reports it.
pub(super) fn event_source(event: &Value) -> String {
    match event["source"]["component"].str_or_empty() {
        "" => event["reportingComponent"].str_or_empty().to_owned(),
        component => component.to_owned(),
    }
}
