//! Bytes to trees and back, in the formats a client may speak, by the built-in schema.

use bytes::Bytes;
use trireme_api::codec::{Decoded, json, protobuf, yaml};
use trireme_api::kinds::{Kind, Served};
use trireme_api::load::{self, Loaded};
use trireme_api::schema::{MessageId, Schema, builtin};
use trireme_api::{Value, kinds, normal};

pub(crate) use trireme_api::codec::DecodeError;
pub(crate) use trireme_api::load::LoadError;

use crate::status::{ApiError, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Json,
    Yaml,
    Protobuf,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// A message of the built-in schema by name.
pub(crate) fn message(name: &str) -> Result<(&'static Schema, MessageId)> {
    let schema = builtin();
    match schema.find(name) {
        Some(id) => Ok((schema, id)),
        None => Err(ApiError::internal(format!("message {name} is not in the schema"))),
    }
}

/// Encodes a tree in normal form. `message` is its message in the schema, which protobuf needs; a
/// tree without one, or that does not fit it, goes as JSON inside the envelope's raw part would
/// not be understood, so it is answered as JSON text.
pub(crate) fn encode(value: &Value, format: Format, pretty: bool, message: Option<&str>) -> Bytes {
    match format {
        Format::Yaml => crate::yaml::encode(value).into(),
        Format::Protobuf => match message.and_then(|m| encode_protobuf(value, m)) {
            Some(bytes) => bytes.into(),
            None => encode(value, Format::Json, pretty, None),
        },
        Format::Json if pretty => {
            let mut out = json::encode_pretty(value);
            out.push(b'\n');
            out.into()
        }
        Format::Json => {
            let mut out = json::encode(value);
            out.push(b'\n');
            out.into()
        }
    }
}

/// The enveloped protobuf of a tree.
fn encode_protobuf(value: &Value, message: &str) -> Option<Vec<u8>> {
    let schema = builtin();
    let id = schema.find(message)?;
    match protobuf::encode(schema, id, value) {
        Ok(raw) => {
            Some(protobuf::seal(value["apiVersion"].str_or_empty(), value["kind"].str_or_empty(), &raw))
        }
        Err(error) => {
            tracing::error!(message, %error, "an object cannot be encoded as protobuf");
            None
        }
    }
}

/// A frame of a watch.
pub(crate) fn frame(kind: &str, value: &Value, format: Format, message: &str) -> Bytes {
    if format == Format::Protobuf
        && let Some(object) = encode_protobuf(value, message)
    {
        return protobuf::watch_event(kind, &object).into();
    }
    json_frame(kind, &json::encode(value))
}

/// A frame of a JSON watch around an object's bytes.
pub(crate) fn json_frame(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + kind.len() + 24);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

/// `apiVersion` and `kind` of a body, "" where it has none.
pub(crate) fn type_meta(format: Format, bytes: &[u8]) -> std::result::Result<(String, String), DecodeError> {
    match format {
        Format::Json => json::type_meta(bytes),
        Format::Yaml => {
            let value = yaml::parse(bytes)?.value;
            Ok((value["apiVersion"].str_or_empty().to_owned(), value["kind"].str_or_empty().to_owned()))
        }
        Format::Protobuf => {
            let envelope = protobuf::open(bytes)?;
            Ok((envelope.api_version.to_owned(), envelope.kind.to_owned()))
        }
    }
}

/// Decodes a body as a message.
pub(crate) fn decode(
    format: Format,
    bytes: &[u8],
    message: &str,
) -> std::result::Result<Decoded, DecodeError> {
    let schema = builtin();
    let Some(id) = schema.find(message) else {
        return Err(DecodeError::Type(format!("message {message} is not in the schema")));
    };
    match format {
        Format::Json => json::decode(schema, id, bytes),
        Format::Yaml => yaml::decode(schema, id, bytes),
        Format::Protobuf => {
            let envelope = protobuf::open(bytes)?;
            if !envelope.content_type.is_empty() && envelope.content_type.contains("json") {
                return json::decode(schema, id, envelope.raw);
            }
            let mut value = protobuf::decode(schema, id, envelope.raw)?;
            if let Some(map) = value.as_object_mut() {
                map.set("kind", envelope.kind);
                map.set("apiVersion", envelope.api_version);
            }
            Ok(Decoded { value, strict: Vec::new() })
        }
    }
}

/// Any JSON or YAML, without facts: patches.
pub(crate) fn parse_any(format: Format, bytes: &[u8]) -> std::result::Result<Value, DecodeError> {
    Ok(match format {
        Format::Yaml => yaml::parse(bytes)?.value,
        _ => json::parse(bytes)?.value,
    })
}

/// The message of a kind that is served, by group, version and kind.
pub(crate) fn message_of(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    kinds::by_kind(group, version, kind).map(|(_, served)| served.message)
}

/// An object as the cache holds it, from what is stored.
pub(crate) fn load(
    row: &'static Kind,
    stored: &[u8],
    revision: i64,
) -> std::result::Result<Loaded, LoadError> {
    load::load(builtin(), row, stored, revision.unsigned_abs())
}

/// The bytes to store of an object in normal form.
pub(crate) fn store_bytes(object: &Value) -> Vec<u8> {
    load::store_bytes(object)
}

/// The tree of bytes that this server made, in its normal form: decoding drops the nulls that some
/// fields are written as, and a field that seems to be missing would count as changed.
pub(crate) fn parse_served(row: &'static Kind, bytes: &[u8]) -> Value {
    let mut value = decode(Format::Json, bytes, row.hub().message).map(|d| d.value).unwrap_or_default();
    normalize(row.hub(), &mut value);
    value
}

/// Brings a tree of a served version into its normal form.
pub(crate) fn normalize(served: &Served, value: &mut Value) {
    if let Some(id) = builtin().find(served.message) {
        normal::normalize(builtin(), id, value);
    }
}

/// A body of a served version with that version's defaults, in its normal form.
pub(crate) fn default_and_normalize(row: &'static Kind, served: &'static Served, value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.set("kind", row.kind);
        map.set("apiVersion", served.api_version());
    }
    (served.default)(value);
    normalize(served, value);
}

/// From a served version to the storage version, defaulted and in normal form.
pub(crate) fn to_hub(row: &'static Kind, served: &'static Served, value: &mut Value) {
    load::to_hub(row, served, value);
    normalize(row.hub(), value);
}

/// From the storage version to a served version, in its normal form.
pub(crate) fn to_version(row: &'static Kind, served: &'static Served, value: &Value) -> Value {
    load::to_version(builtin(), row, value, served)
}

pub(crate) fn set_resource_version(value: &mut Value, revision: i64) {
    load::set_resource_version(value, revision.unsigned_abs());
}
