//! Moving from client-side to server-side apply: what kubectl applied before by itself, and noted
//! in an annotation, is its own when it applies through the server.

use super::compare::{compare, set_of};
use super::field_set::{FieldSet, PathElement};
use super::update::Writer;
use crate::tree::Value;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Only this manager's applies are treated so: another name opts out.
const MANAGER: &str = "kubectl";

/// Fields the writer may take over without force: those of the last client-side configuration
/// that the live object still has as they were applied.
pub(super) fn allowed(writer: &Writer<'_>, live: &Value) -> FieldSet {
    if writer.manager != MANAGER {
        return FieldSet::new();
    }
    let noted = live["metadata"]["annotations"][ANNOTATION].as_str();
    let Some(applied) = noted.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return FieldSet::new();
    };
    if applied["apiVersion"] != writer.api_version {
        return FieldSet::new();
    }
    let changed = compare(writer.schema, writer.message, &applied, live);
    let mut set = set_of(writer.schema, writer.message, &applied)
        .difference(&changed.modified)
        .difference(&changed.added)
        .difference(&changed.removed);
    set.insert(&["metadata", "annotations", ANNOTATION].map(|name| PathElement::Field(name.into())));
    set
}

/// Keeps the annotation, where there is one, at what was applied last.
pub(super) fn note(writer: &Writer<'_>, config: &Value, result: &mut Value) {
    if writer.manager != MANAGER || result["metadata"]["annotations"][ANNOTATION].is_null() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.at_mut(&["metadata", "annotations"]).and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    result.make(&["metadata", "annotations"]).insert(ANNOTATION, format!("{config}\n"));
}
