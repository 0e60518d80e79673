//! Field ownership in the terms of this server: rows, versions, calls.

use trireme_api::managed::{self as fields, ApplyError, Writer};
use trireme_api::schema::{MessageId, builtin};
use trireme_api::{Object, Value, load, normal};

use super::Resource;
use super::update::Part;
use super::write::{Expected, WriteOptions};
use crate::clock;
use crate::status::{ApiError, Result};
use crate::wire;

/// Kinds that upstream keeps no field owners for through these requests would be listed here;
/// there are none: Leases and Events carry owners when they own any field.
fn with_writer<T>(
    resource: &Resource,
    manager: &str,
    subresource: &str,
    now: &str,
    f: impl FnOnce(&Writer<'_>) -> T,
) -> Option<T> {
    let (row, served) = (resource.row, resource.served);
    let schema = builtin();
    let message = schema.find(served.message)?;
    let api_version = served.api_version();
    let ignored = fields::reset_fields(row.kind, subresource, row.has_status());
    let convert = |object: &Value, to: &str| -> Option<(Value, MessageId)> {
        let find = |api_version: &str| {
            let (group, version) = load::split_api_version(api_version);
            row.served(group, version)
        };
        let to = find(to)?;
        let from = find(object["apiVersion"].str_or_empty())?;
        let id = schema.find(to.message)?;
        if std::ptr::eq(from, to) {
            return Some((object.clone(), id));
        }
        let mut value = object.clone();
        wire::to_hub(row, from, &mut value);
        Some((wire::to_version(row, to, &value), id))
    };
    Some(f(&Writer {
        schema,
        api_version: &api_version,
        message,
        subresource,
        manager,
        now,
        ignored: &ignored,
        convert: &convert,
    }))
}

/// Sets the field owners of `new` (in the request's version), which replaces `live` (in the
/// storage version).
pub(crate) fn update(
    resource: &Resource,
    live: Option<&Object>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
    now: &str,
) {
    let live = live.map(|l| shown(resource, l));
    with_writer(resource, manager, subresource, now, |w| fields::update(w, live.as_ref(), new));
    wire::normalize(resource.served, new);
}

fn shown(resource: &Resource, live: &Object) -> Value {
    if resource.is_hub() { live.0.clone() } else { wire::to_version(resource.row, resource.served, live) }
}

/// Server-side apply: the object that comes out, in the storage version.
pub(crate) fn apply(
    resource: &Resource,
    options: &WriteOptions,
    part: Part,
    config: &Value,
    live: Option<&Object>,
) -> Result<Value> {
    let now = clock::now();
    let shown = live.map(|l| shown(resource, l));
    let result = with_writer(resource, &options.field_manager, part.name(), &now, |w| {
        fields::apply(w, shown.as_ref(), config, options.force == Some(true))
    });
    let value = result.ok_or_else(|| ApiError::internal("this kind has no schema to apply by"))?;
    let value = value.map_err(|e| match e {
        ApplyError::BadRequest(text) => ApiError::bad_request(text),
        ApplyError::Internal(text) => ApiError::plain(text),
        ApplyError::Conflict { message, causes } => {
            causes.iter().fold(ApiError::new(409, "Conflict", message), |error, cause| {
                error.with_cause("FieldManagerConflict", cause.message.as_str(), &cause.field)
            })
        }
    })?;
    // The merged tree is decoded like a body: types are checked and nulls go.
    let bytes = trireme_api::codec::json::encode(&value);
    let decoded = wire::decode(wire::Format::Json, &bytes, resource.served.message)
        .map_err(|e| ApiError::plain(format!("failed to convert the applied configuration: {e}")))?;
    let mut value = decoded.value;
    wire::default_and_normalize(resource.row, resource.served, &mut value);
    wire::to_hub(resource.row, resource.served, &mut value);
    Ok(value)
}

/// A write that changes only the times of field owners changes nothing.
pub(crate) fn settle(new: &mut Value, old: &Value) {
    fields::ignore_time_changes(old, new);
}

/// Field owners of a body that is answered and not stored.
pub(crate) fn update_virtual(
    kind: Expected<'_>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
    now: &str,
) {
    let schema = builtin();
    let Some(message) = schema.find(kind.message) else { return };
    let api_version = kind.api_version();
    if let Some(map) = new.as_object_mut() {
        map.set("kind", kind.kind);
        map.set("apiVersion", api_version.as_str());
    }
    normal::normalize(schema, message, new);
    let ignored = fields::reset_fields(kind.kind, subresource, false);
    let convert = |object: &Value, to: &str| (to == api_version).then(|| (object.clone(), message));
    let writer = Writer {
        schema,
        api_version: &api_version,
        message,
        subresource,
        manager,
        now,
        ignored: &ignored,
        convert: &convert,
    };
    fields::update(&writer, None, new);
}

/// The normal form of a body that is answered and not stored.
pub(crate) fn normalize_virtual(kind: Expected<'_>, new: &mut Value) {
    if let Some(id) = builtin().find(kind.message) {
        normal::normalize(builtin(), id, new);
    }
}
