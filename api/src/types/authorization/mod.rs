//! `authorization.k8s.io/v1`: reviews of access.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, struct_shown};

/// SubjectAccessReview and LocalSubjectAccessReview: someone is named, and asks for one thing.
pub fn validate(review: &Value, errs: &mut ErrorList) {
    let (spec, path) = (&review["spec"], Path::new("spec"));
    validate_attributes(spec, &path, errs);
    if spec.text("user").is_empty() && spec.list("groups").is_empty() {
        errs.push(FieldError::invalid(
            &path.child("user"),
            "",
            "at least one of user or group must be specified",
        ));
    }
}

/// SelfSubjectAccessReview: the caller asks.
pub fn validate_self(review: &Value, errs: &mut ErrorList) {
    validate_attributes(&review["spec"], &Path::new("spec"), errs);
}

/// A LocalSubjectAccessReview asks about its own namespace.
pub fn validate_local(review: &Value, errs: &mut ErrorList) {
    validate(review, errs);
    let (spec, path) = (&review["spec"], Path::new("spec"));
    let resource = &spec["resourceAttributes"];
    let at = path.child("resourceAttributes");
    if resource.has("namespace") && resource.text("namespace") != review["metadata"].text("namespace") {
        errs.push(FieldError::invalid(
            &at.child("namespace"),
            resource.text("namespace"),
            "must match metadata.namespace",
        ));
    }
    if spec.has("nonResourceAttributes") {
        errs.push(FieldError::invalid(
            &path.child("nonResourceAttributes"),
            shown(&spec["nonResourceAttributes"]),
            "disallowed on this kind of request",
        ));
    }
}

fn shown(attributes: &Value) -> Value {
    struct_shown([("Path", attributes.text("path").into()), ("Verb", attributes.text("verb").into())])
}

fn validate_attributes(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match (spec.has("resourceAttributes"), spec.has("nonResourceAttributes")) {
        (true, true) => errs.push(FieldError::invalid(
            &path.child("nonResourceAttributes"),
            shown(&spec["nonResourceAttributes"]),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errs.push(FieldError::invalid(
            &path.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
}
