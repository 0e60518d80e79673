//! Rules that hold for every kind; a kind's own rules call these and add to them.

use super::{Context, Rules};
use crate::field_error::ErrorList;
use crate::tree::Value;

impl Rules {
    /// The rules of a kind without rules of its own: `has_status` if `status` is written through
    /// its subresource only, `has_generation` if `metadata.generation` counts changes.
    pub const fn generic(has_status: bool, has_generation: bool) -> Rules {
        Rules {
            prepare_create: match (has_status, has_generation) {
                (false, false) => nothing_to_prepare,
                (true, false) => drop_status,
                (false, true) => first_generation,
                (true, true) => drop_status_first_generation,
            },
            prepare_update: match (has_status, has_generation) {
                (false, false) => keep_generation,
                (true, false) => keep_status,
                (false, true) => count_generation,
                (true, true) => keep_status_count_generation,
            },
            prepare_status: only_status,
            validate: accept,
            validate_update: accept_update,
            validate_status: accept_update,
            warnings: no_warnings,
        }
    }
}

fn nothing_to_prepare(_: &mut Value, _: &Context<'_>) {}
fn accept(_: &Value) -> ErrorList {
    ErrorList::new()
}
fn accept_update(_: &Value, _: &Value) -> ErrorList {
    ErrorList::new()
}
fn no_warnings(_: &Value, _: Option<&Value>) -> Vec<String> {
    Vec::new()
}

/// A new object has no status but what its controller will write.
pub fn drop_status(new: &mut Value, _: &Context<'_>) {
    if let Some(map) = new.as_object_mut() {
        map.remove("status");
    }
}
pub fn first_generation(new: &mut Value, _: &Context<'_>) {
    new.make(&["metadata"]).set("generation", 1i64);
}
fn drop_status_first_generation(new: &mut Value, context: &Context<'_>) {
    drop_status(new, context);
    first_generation(new, context);
}

/// The status of `old` stays, whatever the body says.
pub fn keep_status(new: &mut Value, old: &Value, context: &Context<'_>) {
    take_from(new, old, "status");
    keep_generation(new, old, context);
}
fn keep_status_count_generation(new: &mut Value, old: &Value, context: &Context<'_>) {
    take_from(new, old, "status");
    count_generation(new, old, context);
}
/// Clients do not set the generation.
pub fn keep_generation(new: &mut Value, old: &Value, _: &Context<'_>) {
    set_generation(new, &old["metadata"]["generation"]);
}
/// One more when anything but metadata and status changed.
pub fn count_generation(new: &mut Value, old: &Value, context: &Context<'_>) {
    keep_generation(new, old, context);
    let desired = |v: &Value, key: &str| {
        !matches!(key, "metadata" | "status" | "kind" | "apiVersion") && !v[key].is_null()
    };
    let changed = new.members().iter().any(|(k, v)| desired(new, k) && *v != old[&**k])
        || old.members().iter().any(|(k, _)| desired(old, k) && new[&**k].is_null());
    if changed {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new.make(&["metadata"]).set("generation", generation + 1);
    }
}

/// Through `status`: metadata (but the generation) and status are taken, all else stays.
pub fn only_status(new: &mut Value, old: &Value, context: &Context<'_>) {
    let metadata = new["metadata"].clone();
    let status = new["status"].clone();
    let mut result = old.clone();
    if let Some(map) = result.as_object_mut() {
        map.set("metadata", metadata);
        if status.is_null() {
            map.remove("status");
        } else {
            map.set("status", status);
        }
    }
    *new = result;
    keep_generation(new, old, context);
}

fn take_from(new: &mut Value, old: &Value, field: &'static str) {
    let Some(map) = new.as_object_mut() else { return };
    match &old[field] {
        Value::Null => {
            map.remove(field);
        }
        value => map.set(field, value.clone()),
    }
}

fn set_generation(new: &mut Value, generation: &Value) {
    let metadata = new.make(&["metadata"]);
    if generation.is_null() {
        metadata.remove("generation");
    } else {
        metadata.set("generation", generation.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    const CONTEXT: Context<'static> = Context { now: "2026-01-01T00:00:00Z", user: "u", dry_run: false };

    #[test]
    fn generation_counts_spec_only() {
        let rules = Rules::generic(true, true);
        let mut new = value!({"metadata": {"generation": 7}, "spec": {"a": 1}, "status": {"x": 1}});
        (rules.prepare_create)(&mut new, &CONTEXT);
        assert_eq!(new, value!({"metadata": {"generation": 1}, "spec": {"a": 1}}));
        let old = value!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"y": 2}});
        (rules.prepare_update)(&mut new, &old, &CONTEXT);
        assert_eq!(new, old);
        new.make(&["spec"]).set("a", 2i64);
        (rules.prepare_update)(&mut new, &old, &CONTEXT);
        assert_eq!(new["metadata"]["generation"], Value::Int(2));
        let mut status = value!({"metadata": {"generation": 9}, "spec": {"a": 5}, "status": {"y": 3}});
        (rules.prepare_status)(&mut status, &old, &CONTEXT);
        assert_eq!(status, value!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"y": 3}}));
    }
}
