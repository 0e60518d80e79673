//! The order of merged lists: elements named by the patch keep the patch's order, the others the
//! live list's, and the two are woven together as the live list had them.

use std::collections::HashMap;

use super::{PatchError, internal};
use crate::patch::go_print;
use crate::tree::{Map, Value};

/// What tells elements of a list apart: a member of each, or the element itself.
pub(super) type MergeKey = Option<&'static str>;

/// Elements by identity, for look-ups that do not walk the list each time.
pub(super) struct Positions(HashMap<String, usize>);

impl Positions {
    /// Elements without the merge key are not found.
    pub(super) fn of(list: &[Value], key: MergeKey) -> Positions {
        let mut positions = HashMap::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            if let Some(id) = identity(item, key) {
                positions.entry(id).or_insert(i);
            }
        }
        Positions(positions)
    }
    pub(super) fn get(&self, item: &Value, key: MergeKey) -> Option<usize> {
        self.0.get(&identity(item, key)?).copied()
    }
    pub(super) fn insert(&mut self, item: &Value, key: MergeKey, position: usize) {
        if let Some(id) = identity(item, key) {
            self.0.entry(id).or_insert(position);
        }
    }
}

fn identity(item: &Value, key: MergeKey) -> Option<String> {
    match key {
        Some(key) => item.get(key).map(Value::to_string),
        None => Some(item.to_string()),
    }
}

pub(super) fn no_merge_key<T>(item: &Value, key: &str) -> Result<T, PatchError> {
    internal(format!("map: {} does not contain declared merge key: {key}", go_print(item)))
}

/// The object in `item`, as a list of objects has it.
pub(super) fn as_map(item: &Value) -> Result<&Map, PatchError> {
    match item {
        Value::Object(map) => Ok(map),
        other => internal(format!("expected a map[string]interface {{}}, but received a {}", go_type(other))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether the elements of `lists` are objects; they must all be of one type and no lists.
pub(super) fn holds_maps(lists: [&[Value]; 2]) -> Result<bool, PatchError> {
    let mut first: Option<&Value> = None;
    for item in lists.into_iter().flatten() {
        let Some(first) = first else {
            if item.is_array() {
                return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
            }
            first = Some(item);
            continue;
        };
        if std::mem::discriminant(first) != std::mem::discriminant(item) {
            let print = |list: &[Value]| go_print(&Value::Array(list.to_vec()));
            return internal(format!(
                "list element types are not identical: [{} {}]",
                print(lists[0]),
                print(lists[1])
            ));
        }
    }
    match first {
        Some(first) => Ok(first.is_object()),
        None => internal("no elements in any of the given slices"),
    }
}

/// Splits `merged` into what `named` names and the rest, sorts the one by `named` and the other by
/// `live`, and weaves them by `live`.
pub(super) fn arrange(
    merged: Vec<Value>,
    named: &[Value],
    live: &Positions,
    key: MergeKey,
) -> Result<Vec<Value>, PatchError> {
    if let Some(key) = key {
        for item in merged.iter().chain(named) {
            if !as_map(item)?.contains_key(key) {
                return no_merge_key(item, key);
            }
        }
    }
    let named = Positions::of(named, key);
    let (mut ours, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| named.get(item, key).is_some());
    let at = |positions: &Positions, item: &Value| positions.get(item, key).map_or(-1, |i| i as i64);
    ours.sort_by_key(|item| at(&named, item));
    rest.sort_by_key(|item| at(live, item));

    let mut out = Vec::with_capacity(ours.len() + rest.len());
    let (mut ours, mut rest) = (ours.into_iter().peekable(), rest.into_iter().peekable());
    while let (Some(left), Some(right)) = (rest.peek(), ours.peek()) {
        let before = matches!((live.get(left, key), live.get(right, key)), (Some(l), Some(r)) if l < r);
        out.extend(if before { rest.next() } else { ours.next() });
    }
    out.extend(rest);
    out.extend(ours);
    Ok(out)
}
