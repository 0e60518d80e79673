//! Ownership through the `scale` subresource: the parent's replicas field stands for
//! `spec.replicas` of the Scale, and back.

use super::entries::{Entries, EntriesError, Manager, Operation, Owned};
use super::field_set::{FieldSet, PathElement};
use crate::tree::Value;

const SCALE_VERSION: &str = "autoscaling/v1";

fn scale_set() -> FieldSet {
    FieldSet::of(&[&["spec", "replicas"]])
}

/// The `managedFields` a Scale shows: the entries of the parent that own its replicas.
/// `replicas` gives the path of that field in a version of the parent, `None` for other versions.
pub fn to_scale(
    parent: &Value,
    replicas: impl Fn(&str) -> Option<Vec<PathElement>>,
) -> Result<Value, EntriesError> {
    let mut out = Entries::default();
    for (manager, owned) in Entries::decode(parent)?.0 {
        if replicas(&owned.api_version).is_some_and(|path| owned.set.contains(&path)) {
            let manager = Manager { api_version: scale_identity(manager.operation), ..manager };
            let owned = Owned { set: scale_set(), api_version: SCALE_VERSION.to_owned(), time: owned.time };
            out.0.insert(manager, owned);
        }
    }
    Ok(out.encode())
}

fn scale_identity(operation: Operation) -> String {
    if operation == Operation::Apply { String::new() } else { SCALE_VERSION.to_owned() }
}

/// The parent's `managedFields` after a write through its Scale left the Scale with `scale`:
/// whoever owns replicas there owns it here, everybody else loses it.
pub fn from_scale(
    parent: &Value,
    scale: &Value,
    parent_version: &str,
    replicas: impl Fn(&str) -> Option<Vec<PathElement>>,
) -> Result<Value, EntriesError> {
    let mut owners = Entries::decode(scale)?.0;
    let scale_path: Vec<PathElement> = ["spec", "replicas"].map(|n| PathElement::Field(n.into())).into();
    owners.retain(|_, owned| owned.set.contains(&scale_path));
    let mut out = Entries::default();
    for (manager, mut owned) in Entries::decode(parent)?.0 {
        if let Some(path) = replicas(&owned.api_version).filter(|path| owned.set.contains(path)) {
            let in_scale = Manager { api_version: scale_identity(manager.operation), ..manager.clone() };
            if owners.remove(&in_scale).is_none() {
                let mut lost = FieldSet::new();
                lost.insert(&path);
                owned.set = owned.set.difference(&lost);
            }
        }
        if !owned.set.is_empty() {
            out.0.insert(manager, owned);
        }
    }
    let Some(path) = replicas(parent_version) else { return Ok(out.encode()) };
    for (manager, owned) in owners {
        let identity = if manager.operation == Operation::Apply { "" } else { parent_version };
        let manager = Manager { api_version: identity.to_owned(), ..manager };
        let mut set = FieldSet::new();
        set.insert(&path);
        let entry = Owned { set, api_version: parent_version.to_owned(), time: owned.time };
        match out.0.get_mut(&manager) {
            Some(existing) => existing.set.union_with(&entry.set),
            None => {
                out.0.insert(manager, entry);
            }
        }
    }
    Ok(out.encode())
}
