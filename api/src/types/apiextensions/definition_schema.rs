//! The OpenAPI schema of a custom resource: it must be structural, so that pruning, defaulting and
//! ownership can walk it.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::Fields;

/// Deeper schemas are refused: validation recurses.
const DEPTH_MAX: usize = 200;
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Places where a schema only constrains, and says nothing of structure.
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Not allowed in a definition.
const FORBIDDEN: [(&str, &str); 5] = [
    ("uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"),
    ("$ref", "$ref is not supported"),
    ("id", "id is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
];

/// The root of a version's schema.
pub fn validate(schema: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if schema.text("type") != "object" {
        let at = path.child("type");
        if schema.text("type").is_empty() {
            errs.push(FieldError::required(&at, "must not be empty at the root"));
        } else {
            errs.push(FieldError::invalid(&at, schema.text("type"), "must be object at the root"));
        }
    }
    walk(schema, path, 0, errs);
}

fn walk(schema: &Value, path: &Path<'_>, depth: usize, errs: &mut ErrorList) {
    if depth > DEPTH_MAX {
        errs.push(FieldError::forbidden(path, format!("schemas nest at most {DEPTH_MAX} levels")));
        return;
    }
    for (field, message) in FORBIDDEN {
        let set = match &schema[field] {
            Value::Bool(b) => *b,
            Value::String(s) => !s.is_empty(),
            other => !other.is_null(),
        };
        if set {
            errs.push(FieldError::forbidden(&path.child(field), message));
        }
    }
    validate_type(schema, path, depth, errs);
    validate_list_kind(schema, path, errs);
    validate_rules(schema, path, errs);
    let properties = path.child("properties");
    for (name, property) in schema.pairs("properties") {
        walk(property, &properties.key(name), depth + 1, errs);
    }
    if schema["additionalProperties"].is_object() {
        if !schema.pairs("properties").is_empty() {
            errs.push(FieldError::forbidden(
                &path.child("additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        walk(&schema["additionalProperties"], &path.child("additionalProperties"), depth + 1, errs);
    }
    match &schema["items"] {
        Value::Array(_) => errs.push(FieldError::forbidden(
            &path.child("items"),
            "items must be a schema object and not an array",
        )),
        Value::Object(_) => walk(&schema["items"], &path.child("items"), depth + 1, errs),
        _ => {}
    }
    for junctor in JUNCTORS {
        let at = path.child(junctor);
        for (i, nested) in schema.list(junctor).iter().enumerate() {
            validate_value(nested, &at.index(i), depth + 1, errs);
        }
    }
    if schema.has("not") {
        validate_value(&schema["not"], &path.child("not"), depth + 1, errs);
    }
}

fn validate_type(schema: &Value, path: &Path<'_>, depth: usize, errs: &mut ErrorList) {
    let kind = schema.text("type");
    let int_or_string = schema.flag("x-kubernetes-int-or-string");
    let at = path.child("type");
    if kind.is_empty() {
        let excused = int_or_string || schema.flag("x-kubernetes-preserve-unknown-fields");
        if depth > 0 && !excused {
            errs.push(FieldError::required(&at, "must not be empty for specified object fields"));
        }
    } else if !TYPES.contains(&kind) {
        errs.push(FieldError::not_supported(&at, kind, &TYPES));
    } else if int_or_string {
        errs.push(FieldError::invalid(&at, kind, "must be empty if x-kubernetes-int-or-string is true"));
    }
    if kind == "array" && schema["items"].is_null() {
        errs.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if schema.flag("x-kubernetes-embedded-resource") {
        if kind != "object" {
            errs.push(FieldError::invalid(
                &at,
                kind,
                "must be object if x-kubernetes-embedded-resource is true",
            ));
        }
        if schema.pairs("properties").is_empty() && !schema.flag("x-kubernetes-preserve-unknown-fields") {
            errs.push(FieldError::required(
                &path.child("properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ));
        }
    }
}

fn validate_list_kind(schema: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let kind = schema.text("x-kubernetes-list-type");
    let keys = schema.list("x-kubernetes-list-map-keys");
    let at = path.child("x-kubernetes-list-type");
    if !kind.is_empty() {
        if schema.text("type") != "array" {
            let at = path.child("type");
            if schema.text("type").is_empty() {
                errs.push(FieldError::required(&at, "must be array if x-kubernetes-list-type is specified"));
            } else {
                errs.push(FieldError::invalid(
                    &at,
                    schema.text("type"),
                    "must be array if x-kubernetes-list-type is specified",
                ));
            }
        }
        if !matches!(kind, "atomic" | "set" | "map") {
            errs.push(FieldError::not_supported(&at, kind, &["atomic", "set", "map"]));
        }
    }
    let at = path.child("x-kubernetes-list-map-keys");
    if kind == "map" && keys.is_empty() {
        errs.push(FieldError::required(&at, "must not be empty if x-kubernetes-list-type is map"));
    }
    if kind != "map" && !keys.is_empty() {
        errs.push(FieldError::invalid(
            &path.child("x-kubernetes-list-type"),
            kind,
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ));
    }
}

fn validate_rules(schema: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("x-kubernetes-validations");
    for (i, rule) in schema.list("x-kubernetes-validations").iter().enumerate() {
        let at = at.index(i);
        if rule.text("rule").trim().is_empty() {
            errs.push(FieldError::required(&at.child("rule"), "rule is not specified"));
        }
        if let Some(reason) = rule.opt_text("reason") {
            const REASONS: [&str; 4] =
                ["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"];
            if !REASONS.contains(&reason) {
                errs.push(FieldError::not_supported(&at.child("reason"), reason, &REASONS));
            }
        }
        let message = rule.text("message");
        if message.contains('\n') {
            errs.push(FieldError::invalid(
                &at.child("message"),
                message,
                "message must not contain line breaks",
            ));
        }
        if message.is_empty() && rule.text("rule").contains('\n') && rule.text("messageExpression").is_empty()
        {
            errs.push(FieldError::required(
                &at.child("message"),
                "message must be specified if rule contains line breaks",
            ));
        }
    }
}

/// A schema under a junctor: it may not give structure.
fn validate_value(schema: &Value, path: &Path<'_>, depth: usize, errs: &mut ErrorList) {
    if depth > DEPTH_MAX {
        errs.push(FieldError::forbidden(path, format!("schemas nest at most {DEPTH_MAX} levels")));
        return;
    }
    for field in ["description", "title", "default"] {
        let set = schema.opt(field).is_some_and(|v| v.as_str() != Some(""));
        if set {
            errs.push(FieldError::forbidden(&path.child(field), "must be empty to be structural"));
        }
    }
    for field in ["additionalProperties", "nullable"] {
        if schema[field].is_object() || schema.flag(field) {
            errs.push(FieldError::forbidden(&path.child(field), "must be undefined to be structural"));
        }
    }
    let properties = path.child("properties");
    for (name, property) in schema.pairs("properties") {
        validate_value(property, &properties.key(name), depth + 1, errs);
    }
    if schema["items"].is_object() {
        validate_value(&schema["items"], &path.child("items"), depth + 1, errs);
    }
    for junctor in JUNCTORS {
        let at = path.child(junctor);
        for (i, nested) in schema.list(junctor).iter().enumerate() {
            validate_value(nested, &at.index(i), depth + 1, errs);
        }
    }
}
