//! Whether an applied configuration fits the schema, in the words of upstream's merge library.

use std::collections::BTreeSet;

use super::types::{Atom, ListType, TypeRef};
use crate::patch::go_print;
use crate::schema::{ListKind, MessageId, Schema, Type};
use crate::tree::Value;

/// Nothing, or one message for all that is wrong.
pub(super) fn validate(schema: &Schema, message: MessageId, value: &Value) -> Result<(), String> {
    let ty = Type::Message(message);
    let mut errors = Vec::new();
    walk(schema, TypeRef::plain(schema, &ty), value, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn walk(schema: &Schema, ty: TypeRef<'_>, value: &Value, path: &str, errors: &mut Vec<String>) {
    let mut wrong = |message: String| {
        errors.push(if path.is_empty() { message } else { format!("{path}: {message}") });
    };
    if value.is_null() {
        return;
    }
    match (ty.atom(schema), value) {
        (Atom::Scalar(ty), value) => errors_of_scalar(ty, value).into_iter().for_each(wrong),
        (Atom::Map(map), Value::Object(members)) => {
            for (name, value) in members {
                let path = format!("{path}.{name}");
                if map.refuses(name) {
                    errors.push(format!("{path}: field not declared in schema"));
                } else {
                    walk(schema, map.member(name), value, &path, errors);
                }
            }
        }
        (Atom::Map(_), other) => wrong(format!("expected map, got &{{{}}}", go_print(other))),
        (Atom::List(list), Value::Array(items)) => walk_list(schema, list, items, path, errors),
        (Atom::List(_), other) => wrong(format!("expected list, got &{{{}}}", go_print(other))),
        (Atom::Deduced, _) => {}
    }
}

fn walk_list(schema: &Schema, list: ListType<'_>, items: &[Value], path: &str, errors: &mut Vec<String>) {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        if *list.kind == ListKind::Atomic {
            walk(schema, list.element, item, &format!("{path}[{i}]"), errors);
            continue;
        }
        match list.path_element(schema, item) {
            Err(message) => errors.push(format!("{prefix}element {i}: {message}")),
            Ok(step) => {
                let below = format!("{path}{step}");
                if seen.contains(&step) {
                    errors.push(format!("{prefix}duplicate entries for key {step}"));
                } else {
                    seen.insert(step);
                    walk(schema, list.element, item, &below, errors);
                }
            }
        }
    }
}

fn errors_of_scalar(ty: &Type, value: &Value) -> Option<String> {
    let go_type = match value {
        Value::Null => return None,
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    match ty {
        Type::Bool if !matches!(value, Value::Bool(_)) => {
            Some(format!("expected boolean, got &{{{}}}", go_print(value)))
        }
        Type::Int32 | Type::Int64 | Type::Float if !matches!(value, Value::Int(_) | Value::Float(_)) => {
            Some(format!("expected numeric (int or float), got {go_type}"))
        }
        Type::String | Type::Bytes | Type::Time | Type::MicroTime | Type::Duration if !value.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{value}}}"))
        }
        _ => None,
    }
}
