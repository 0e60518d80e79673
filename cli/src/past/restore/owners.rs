//! References to owners: they name uids, and an object that is made anew has another one. One that
//! names a uid of the past would have its object collected as an orphan.

use std::collections::BTreeSet;

use trireme_api::Value;

use super::super::kinds::{Kinds, ObjectId};
use super::plan::{Observed, Stored};

/// Where a reference of `object` points.
pub(super) fn owner(kinds: &Kinds, dependent: &ObjectId, reference: &Value) -> Option<ObjectId> {
    let row = kinds.of_reference(reference["apiVersion"].str_or_empty(), reference["kind"].str_or_empty())?;
    let namespace = if row.namespaced { dependent.namespace.as_str() } else { "" };
    Some(ObjectId::new(&row.resource(), namespace, reference["name"].str_or_empty()))
}

/// Points the references of `object` at the owners of the same kind and name that there are, or
/// will be. Gives those that will be, with their references' places; who is gone for good is
/// dropped and named.
pub(super) fn repoint(
    kinds: &Kinds,
    observed: &Observed,
    made: &BTreeSet<ObjectId>,
    id: &ObjectId,
    object: &mut Value,
    notes: &mut Vec<String>,
) -> Vec<(usize, ObjectId)> {
    let Some(references) = object.at_mut(&["metadata", "ownerReferences"]).and_then(Value::as_array_mut)
    else {
        return Vec::new();
    };
    let mut to_come = Vec::new();
    let mut kept = Vec::new();
    for mut reference in std::mem::take(references) {
        let named = format!("{} {}", reference["kind"].str_or_empty(), reference["name"].str_or_empty());
        let owner = owner(kinds, id, &reference);
        let alive = owner.as_ref().and_then(|owner| {
            let now = observed.now.get(owner).or_else(|| observed.elsewhere.get(owner))?;
            (!now.is_ending()).then(|| Stored::uid(now).to_owned())
        });
        let map = reference.make(&[]);
        match (owner, alive) {
            (Some(owner), _) if made.contains(&owner) => {
                map.remove("uid");
                to_come.push((kept.len(), owner));
            }
            (Some(_), Some(uid)) => map.set("uid", uid),
            _ => {
                notes.push(format!("its owner {named} is gone: it is nobody's now"));
                continue;
            }
        }
        kept.push(reference);
    }
    let metadata = object.make(&["metadata"]);
    if kept.is_empty() {
        metadata.remove("ownerReferences");
    } else {
        metadata.set("ownerReferences", kept);
    }
    to_come
}
