//! Ownership after a create, an update or a patch: the manager takes what it changed.

use std::collections::HashMap;

use super::compare::{Comparison, compare};
use super::entries::{Entries, Manager, Operation, Owned};
use super::field_set::FieldSet;
use super::types::zero;
use crate::schema::{MessageId, Schema};
use crate::tree::Value;

/// Converts an object (which names its version) to another version, with that version's message;
/// `None` if the kind is not served in it.
pub type Convert<'a> = &'a dyn Fn(&Value, &str) -> Option<(Value, MessageId)>;

/// Who writes, and in what version.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    pub schema: &'a Schema,
    /// Version of the request, and its message.
    pub api_version: &'a str,
    pub message: MessageId,
    /// "" for the main resource.
    pub subresource: &'a str,
    /// The field manager; `unknown` if empty.
    pub manager: &'a str,
    /// RFC 3339, seconds.
    pub now: &'a str,
    /// Fields the request cannot change ([`super::reset_fields`]): nobody wins or loses them.
    pub ignored: &'a FieldSet,
    pub convert: Convert<'a>,
}

impl Writer<'_> {
    pub(super) fn manager(&self, operation: Operation) -> Manager {
        Manager::new(self.manager, operation, self.api_version, self.subresource)
    }
}

/// Fields nobody owns.
pub(super) fn unowned() -> FieldSet {
    FieldSet::of(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

/// Sets `metadata.managedFields` of `new`, which replaces `live` (`None` for a create). Both are
/// in the normal form of the request's version.
///
/// `managedFields` that the request brings count instead of the live ones if they can be read;
/// `[{}]` clears them. Subresources never change them by hand.
pub fn update(writer: &Writer<'_>, live: Option<&Value>, new: &mut Value) {
    let sent = take_managed_fields(new);
    let mut entries = entries_of(writer, live, &sent);
    let untracked =
        entries.is_empty() && live.is_some_and(|l| !l["metadata"]["uid"].str_or_empty().is_empty());
    if !untracked {
        record(writer, &mut entries, live, new);
        entries.cap();
    }
    put_managed_fields(new, &entries);
}

fn entries_of(writer: &Writer<'_>, live: Option<&Value>, sent: &Value) -> Entries {
    let live =
        || live.and_then(|l| Entries::decode(&l["metadata"]["managedFields"]).ok()).unwrap_or_default();
    if !writer.subresource.is_empty() {
        return live();
    }
    if let [Value::Object(only)] = sent.items()
        && only.values().all(|v| v.is_null() || *v == *"")
    {
        return Entries::default();
    }
    match Entries::decode(sent) {
        Ok(entries) if !entries.is_empty() => entries,
        _ => live(),
    }
}

/// Takes what changed from the others and gives it to the writer.
pub(super) fn record(writer: &Writer<'_>, entries: &mut Entries, live: Option<&Value>, new: &Value) {
    let empty;
    let live = match live {
        Some(live) => live,
        None => {
            empty = zero(writer.schema, writer.message);
            &empty
        }
    };
    let mut changes = Changes::new(writer, live, new);
    let written = changes.own().written();
    changes.take_from_others(entries, None);
    let own = written.difference(&unowned());
    if own.is_empty() {
        return;
    }
    let owned =
        Owned { set: own, api_version: writer.api_version.to_owned(), time: Some(writer.now.to_owned()) };
    let manager = writer.manager(Operation::Update);
    match entries.0.get_mut(&manager) {
        Some(previous) => {
            previous.set.union_with(&owned.set);
            previous.time = owned.time;
        }
        None => {
            entries.0.insert(manager, owned);
        }
    }
}

/// The comparison of two objects in each version that some manager speaks.
pub(super) struct Changes<'a> {
    writer: &'a Writer<'a>,
    old: &'a Value,
    new: &'a Value,
    by_version: HashMap<String, Option<Comparison>>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(writer: &'a Writer<'a>, old: &'a Value, new: &'a Value) -> Changes<'a> {
        let mut own = compare(writer.schema, writer.message, old, new);
        own.exclude(writer.ignored);
        let by_version = HashMap::from([(writer.api_version.to_owned(), Some(own))]);
        Changes { writer, old, new, by_version }
    }

    pub(super) fn own(&self) -> &Comparison {
        self.by_version[self.writer.api_version].as_ref().expect("made with the writer's version")
    }

    /// `None` if the kind is not served in that version any more.
    fn in_version(&mut self, version: &str) -> Option<&Comparison> {
        if !self.by_version.contains_key(version) {
            let convert = self.writer.convert;
            let comparison =
                convert(self.old, version).zip(convert(self.new, version)).map(|((old, id), (new, _))| {
                    let mut comparison = compare(self.writer.schema, id, &old, &new);
                    comparison.exclude(self.writer.ignored);
                    comparison
                });
            self.by_version.insert(version.to_owned(), comparison);
        }
        self.by_version[version].as_ref()
    }

    /// The fields that managers other than `applier` own and that changed.
    pub(super) fn conflicts(&mut self, entries: &Entries, applier: &Manager) -> Vec<(Manager, FieldSet)> {
        let mut out = Vec::new();
        for (manager, owned) in entries.0.iter().filter(|(m, _)| *m != applier) {
            if let Some(comparison) = self.in_version(&owned.api_version) {
                let lost = owned.set.intersection(&comparison.written());
                if !lost.is_empty() {
                    out.push((manager.clone(), lost));
                }
            }
        }
        out
    }

    /// Removes what changed or went away from all entries but `keep`'s; entries of versions that
    /// are gone, and empty ones, are dropped.
    pub(super) fn take_from_others(&mut self, entries: &mut Entries, keep: Option<&Manager>) {
        entries.0.retain(|manager, owned| {
            if keep != Some(manager) {
                let Some(comparison) = self.in_version(&owned.api_version) else { return false };
                owned.set = owned.set.difference(&comparison.written()).difference(&comparison.removed);
            }
            !owned.set.is_empty()
        });
    }
}

pub(super) fn take_managed_fields(object: &mut Value) -> Value {
    object
        .at_mut(&["metadata"])
        .and_then(Value::as_object_mut)
        .and_then(|m| m.remove("managedFields"))
        .unwrap_or_default()
}

pub(super) fn put_managed_fields(object: &mut Value, entries: &Entries) {
    if !entries.is_empty() {
        object.make(&["metadata"]).set("managedFields", entries.encode());
    }
}

/// A write that would change nothing but times in `managedFields` changes nothing: `new` gets the
/// entries of `live` back.
pub fn ignore_time_changes(live: &Value, new: &mut Value) {
    let without_times = |list: &Value| -> Vec<Value> {
        let strip = |entry: &Value| {
            let mut entry = entry.clone();
            entry.as_object_mut().map(|m| m.remove("time"));
            entry
        };
        list.items().iter().map(strip).collect()
    };
    let (old_fields, new_fields) = (&live["metadata"]["managedFields"], &new["metadata"]["managedFields"]);
    if old_fields == new_fields {
        return;
    }
    // The order depends on the times.
    let (old_rest, new_rest) = (without_times(old_fields), without_times(new_fields));
    let same_entries = old_rest.len() == new_rest.len() && old_rest.iter().all(|e| new_rest.contains(e));
    if same_entries && equal_but_for_managed_fields(live, new) {
        let fields = old_fields.clone();
        new.make(&["metadata"]).set("managedFields", fields);
    }
}

fn equal_but_for_managed_fields(a: &Value, b: &Value) -> bool {
    let differs = |a: &Value, b: &Value, skip: &str| {
        let members = |v: &Value| v.members().iter().filter(|(k, _)| **k != *skip).count();
        members(a) != members(b) || a.members().iter().any(|(k, v)| **k != *skip && b.get(k) != Some(v))
    };
    !differs(a, b, "metadata") && !differs(&a["metadata"], &b["metadata"], "managedFields")
}
