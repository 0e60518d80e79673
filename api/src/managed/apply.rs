//! Server-side apply: a configuration merged into the live object, with conflicts where it would
//! change what others own, and without what its manager applied before and applies no more.

use super::compare::{same, set_of};
use super::entries::{Entries, Manager, Operation, Owned};
use super::field_set::FieldSet;
use super::last_applied;
use super::merge::{merge, remove};
use super::types::TypeRef;
use super::update::{Changes, Writer, put_managed_fields, record, take_managed_fields, unowned};
use super::validate::validate;
use crate::schema::{MessageId, Type};
use crate::tree::Value;

/// Owns what was there before an object was applied to for the first time.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Why an apply fails, by the answer it gets.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// 400
    #[error("{0}")]
    BadRequest(String),
    /// 500
    #[error("{0}")]
    Internal(String),
    /// 409 with one `FieldManagerConflict` cause each.
    #[error("{message}")]
    Conflict { message: String, causes: Vec<Conflict> },
}

/// One field of one other manager that the configuration would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `conflict with "m1"`
    pub message: String,
    /// `.spec.replicas`
    pub field: String,
}

/// Applies `config` to `live` (`None`: it is created). `live` is in the request's version.
///
/// The result has its `managedFields` and is not decoded: what was emptied is null, and the caller
/// defaults it and brings it to normal form like a body.
pub fn apply(
    writer: &Writer<'_>,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, ApplyError> {
    check_config(writer, config)?;
    let mut entries = match live {
        Some(live) => Entries::decode(&live["metadata"]["managedFields"])
            .map_err(|e| ApplyError::Internal(format!("failed to decode managed fields: {e}")))?,
        None => Entries::default(),
    };
    let mut base = live.cloned().unwrap_or_else(Value::object);
    take_managed_fields(&mut base);
    if live.is_some() && entries.is_empty() {
        let before = Writer { manager: BEFORE_FIRST_APPLY, ..*writer };
        record(&before, &mut entries, None, &base);
    }
    validate(writer.schema, writer.message, config).map_err(|e| {
        ApplyError::Internal(format!("failed to create typed patch object ({}): {e}", describe(config)))
    })?;

    let merged = merge(writer.schema, writer.message, &base, config);
    let manager = writer.manager(Operation::Apply);
    let mut set = set_of(writer.schema, writer.message, config).recursive_difference(writer.ignored);
    let last = entries.0.get(&manager).cloned();
    let owned = Owned {
        set: set.clone(),
        api_version: writer.api_version.to_owned(),
        time: last.as_ref().and_then(|l| l.time.clone()),
    };
    entries.0.insert(manager.clone(), owned);
    let pruned = prune(writer, merged, &entries, last.as_ref())?;

    let mut changes = Changes::new(writer, &base, &pruned);
    if !force {
        let mut conflicts = changes.conflicts(&entries, &manager);
        let allowed = last_applied::allowed(writer, &base);
        conflicts.iter_mut().for_each(|(_, set)| *set = set.difference(&allowed));
        conflicts.retain(|(_, set)| !set.is_empty());
        conflict(conflicts)?;
    }
    changes.take_from_others(&mut entries, Some(&manager));
    let changed = !same(&base, &pruned);
    drop(changes);

    set = set.difference(&unowned());
    if set.is_empty() {
        entries.0.remove(&manager);
    } else if let Some(owned) = entries.0.get_mut(&manager) {
        owned.set = set;
        if changed {
            owned.time = Some(writer.now.to_owned());
        }
    }
    entries.cap();
    let mut result = if changed { pruned } else { base };
    take_managed_fields(&mut result);
    last_applied::note(writer, config, &mut result);
    put_managed_fields(&mut result, &entries);
    Ok(result)
}

fn check_config(writer: &Writer<'_>, config: &Value) -> Result<(), ApplyError> {
    let version = config["apiVersion"].str_or_empty();
    if version != writer.api_version {
        return Err(ApplyError::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            writer.api_version
        )));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    Ok(())
}

/// `<namespace>/<name>; <group>/<version>, Kind=<kind>`
fn describe(config: &Value) -> String {
    let metadata = &config["metadata"];
    let version = config["apiVersion"].str_or_empty();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    format!(
        "{}/{}; {group}/{version}, Kind={}",
        metadata["namespace"].str_or_empty(),
        metadata["name"].str_or_empty(),
        config["kind"].str_or_empty()
    )
}

fn conflict(conflicts: Vec<(Manager, FieldSet)>) -> Result<(), ApplyError> {
    let by_manager: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(manager, set)| (manager.describe(), set.paths())).collect();
    let causes: Vec<Conflict> = by_manager
        .iter()
        .flat_map(|(manager, paths)| {
            let message = format!("conflict with {manager}");
            paths.iter().map(move |field| Conflict { message: message.clone(), field: field.clone() })
        })
        .collect();
    let message = match causes.as_slice() {
        [] => return Ok(()),
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => {
            let lines: Vec<String> = by_manager
                .iter()
                .flat_map(|(manager, paths)| {
                    let head = format!("conflicts with {manager}:");
                    std::iter::once(head).chain(paths.iter().map(|path| format!("- {path}")))
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    Err(ApplyError::Conflict { message, causes })
}

/// An object in one version while fields are taken out and put back.
struct Versioned {
    value: Value,
    message: MessageId,
    api_version: String,
}

/// Takes out what the manager applied last time, does not apply now, and nobody else owns.
fn prune(
    writer: &Writer<'_>,
    merged: Value,
    entries: &Entries,
    last: Option<&Owned>,
) -> Result<Value, ApplyError> {
    let Some(last) = last.filter(|l| !l.set.is_empty()) else { return Ok(merged) };
    let merged =
        Versioned { value: merged, message: writer.message, api_version: writer.api_version.to_owned() };
    let merged = convert(writer, &merged, &last.api_version)?;
    let named = |object: &Versioned, set: &FieldSet| {
        let ty = Type::Message(object.message);
        set.with_named_parents(writer.schema, Some(TypeRef::plain(writer.schema, &ty)))
    };
    let without = |object: &Versioned, set: &FieldSet| Versioned {
        value: remove(writer.schema, object.message, &object.value, set),
        message: object.message,
        api_version: object.api_version.clone(),
    };
    let fields = |object: &Versioned| named(object, &set_of(writer.schema, object.message, &object.value));

    // What anyone owns comes back, first in the version it was taken out in.
    let mut pruned = without(&merged, &named(&merged, &last.set));
    let mut versions: Vec<&str> = entries.0.values().map(|o| o.api_version.as_str()).collect();
    versions.sort_unstable_by_key(|v| (*v != last.api_version, *v));
    versions.dedup();
    for version in versions {
        let mut owned = FieldSet::new();
        for entry in entries.0.values().filter(|o| o.api_version == version) {
            owned.union_with(&entry.set);
        }
        let Ok(whole) = convert(writer, &merged, version) else { continue };
        let mut keep = fields(&convert(writer, &pruned, version)?);
        keep.union_with(&named(&whole, &owned));
        pruned = without(&whole, &fields(&whole).difference(&keep));
    }
    // What the manager did not apply last time was not its to take out.
    let pruned = convert(writer, &pruned, &last.api_version)?;
    let gone = fields(&merged).difference(&fields(&pruned)).intersection(&named(&merged, &last.set));
    let result = without(&merged, &gone);
    Ok(convert(writer, &result, writer.api_version)?.value)
}

fn convert(writer: &Writer<'_>, object: &Versioned, version: &str) -> Result<Versioned, ApplyError> {
    if object.api_version == version {
        let Versioned { value, message, api_version } = object;
        return Ok(Versioned { value: value.clone(), message: *message, api_version: api_version.clone() });
    }
    match (writer.convert)(&object.value, version) {
        Some((value, message)) => Ok(Versioned { value, message, api_version: version.to_owned() }),
        None => Err(ApplyError::Internal(format!("failed to convert merged object to {version}"))),
    }
}
