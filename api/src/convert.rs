//! Between the versions of one kind: every served version converts to the hub (the stored one)
//! and back, on the tree. Where two versions have the same shape there is no function.
//!
//! `legacy` holds the defaults that old versions gave on their own shape, before conversion.

pub mod apps;
pub mod autoscaling;
pub mod event;
pub mod legacy;

use crate::tree::{Key, Map, Value};

/// Moves `from` to `to`, in the object itself; what was at `to` is replaced.
fn rename(object: &mut Map, from: &str, to: &'static str) {
    if let Some(value) = object.remove(from) {
        object.set(to, value);
    }
}

/// Takes an annotation away, and the map with its last one.
fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let value = annotations.remove(key);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    value
}

fn set_annotation(object: &mut Value, key: &'static str, value: impl Into<Value>) {
    object.make(&["metadata", "annotations"]).insert(Key::Static(key), value);
}
