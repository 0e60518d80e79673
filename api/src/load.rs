//! From stored bytes to what is served, and back: the only path between the store and the tree.
//!
//! ```text
//! stored bytes ─ decode (JSON or k8s\0) ─ convert to the hub ─ prune, default ─ normal form ─ resourceVersion ─► Loaded
//! object ─ without resourceVersion ─► bytes to store
//! ```

use bytes::Bytes;

use crate::codec::{DecodeError, json, protobuf};
use crate::kinds::{Kind, Served};
use crate::normal;
use crate::schema::{MessageId, Schema};
use crate::tree::{Key, Map, Value};

/// An object as the watch cache holds it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// In the hub version, normal form, with `resourceVersion`.
    pub object: Value,
    /// The same as JSON.
    pub served: Bytes,
    /// How many bytes of `served` are `{"kind":…,"apiVersion":…,`: what an element of a typed
    /// list leaves out (`{` takes their place).
    pub type_meta: usize,
    /// The values of the kind's field selectors, in the order of [`Kind::selectable`].
    pub fields: Vec<String>,
}

impl Loaded {
    pub fn labels(&self) -> &Value {
        &self.object["metadata"]["labels"]
    }
    /// The value of a field selector; `metadata.name` and `metadata.namespace` every kind has.
    pub fn field(&self, kind: &Kind, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.object["metadata"]["name"].str_or_empty()),
            "metadata.namespace" => Some(self.object["metadata"]["namespace"].str_or_empty()),
            _ => {
                let at = kind.selectable.iter().position(|(n, _)| *n == name)?;
                self.fields.get(at).map(String::as_str)
            }
        }
    }
}

/// Why stored bytes are not an object of their kind.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("stored value: {0}")]
    Decode(#[from] DecodeError),
    #[error("stored value has apiVersion {api_version:?}, which {kind} is not served in")]
    Version { kind: String, api_version: String },
    #[error("message {0} is not in the schema")]
    NoMessage(String),
}

fn message(schema: &Schema, served: &Served) -> Result<MessageId, LoadError> {
    schema.find(served.message).ok_or_else(|| LoadError::NoMessage(served.message.to_owned()))
}

fn version<'a>(kind: &'a Kind, api_version: &str) -> Result<&'a Served, LoadError> {
    let (group, version) = split_api_version(api_version);
    kind.versions
        .iter()
        .find(|s| s.group == group && s.version == version)
        .ok_or_else(|| LoadError::Version { kind: kind.kind.to_owned(), api_version: api_version.to_owned() })
}

/// `apps/v1` into group and version; `v1` has the group "".
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Decodes stored bytes into the hub version, defaulted and normal, without resource version.
///
/// # Errors
/// Bytes that are no object of this kind: damaged, of another kind's shape, or of a version it is
/// not served in.
pub fn decode_stored(schema: &Schema, kind: &Kind, stored: &[u8]) -> Result<Value, LoadError> {
    let hub = &kind.versions[0];
    let (mut value, served) = if stored.starts_with(protobuf::MAGIC) {
        let envelope = protobuf::open(stored)?;
        let served = version(kind, envelope.api_version)?;
        (protobuf::decode(schema, message(schema, served)?, envelope.raw)?, served)
    } else {
        let value = json::decode(schema, message(schema, hub)?, stored)?.value;
        let api_version = value["apiVersion"].str_or_empty();
        let is_hub = split_api_version(api_version) == (hub.group, hub.version);
        if is_hub || api_version.is_empty() {
            (value, hub)
        } else {
            let served = version(kind, api_version)?;
            (json::decode(schema, message(schema, served)?, stored)?.value, served)
        }
    };
    to_hub(kind, served, &mut value);
    normal::normalize(schema, message(schema, hub)?, &mut value);
    Ok(value)
}

/// Loads a stored object at a revision.
///
/// # Errors
/// As [`decode_stored`].
pub fn load(schema: &Schema, kind: &Kind, stored: &[u8], revision: u64) -> Result<Loaded, LoadError> {
    let mut object = decode_stored(schema, kind, stored)?;
    set_resource_version(&mut object, revision);
    Ok(serve(kind, object))
}

/// The cache entry of an object that is in the hub version and in normal form.
pub fn serve(kind: &Kind, object: Value) -> Loaded {
    let mut served = Vec::with_capacity(1024);
    json::encode_into(&object, &mut served);
    Loaded {
        type_meta: type_meta_bytes(&object),
        fields: kind.selectable.iter().map(|(_, read)| read(&object)).collect(),
        served: served.into(),
        object,
    }
}

/// The length of the opening brace with the members `kind` and `apiVersion`, if these come first.
fn type_meta_bytes(object: &Value) -> usize {
    let mut length = 1;
    for (expected, (key, value)) in ["kind", "apiVersion"].iter().zip(object.members()) {
        if &**key != *expected {
            return 0;
        }
        // Names of kinds and versions need no escapes: quotes, colon and comma around them.
        length += key.len() + value.str_or_empty().len() + 6;
    }
    length
}

/// Sets `metadata.resourceVersion` in its place, so that the normal form holds.
pub fn set_resource_version(object: &mut Value, revision: u64) {
    let metadata = object.make(&["metadata"]);
    let text = Value::from(revision.to_string());
    if let Some(place) = metadata.get_mut("resourceVersion") {
        *place = text;
        return;
    }
    let before = ["name", "generateName", "namespace", "selfLink", "uid"];
    let entries = metadata.entries_mut();
    let at = entries.iter().rposition(|(k, _)| before.contains(&&**k)).map_or(0, |i| i + 1);
    entries.insert(at, (Key::Static("resourceVersion"), text));
}

/// The bytes to store: JSON of the hub version, without `resourceVersion` and `selfLink`.
pub fn store_bytes(object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let Some(map) = object.as_object() else {
        json::encode_into(object, &mut out);
        return out;
    };
    out.push(b'{');
    for (i, (key, value)) in map.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::encode_string(key, &mut out);
        out.push(b':');
        match value {
            Value::Object(metadata) if &**key == "metadata" => stored_metadata(metadata, &mut out),
            other => json::encode_into(other, &mut out),
        }
    }
    out.push(b'}');
    out
}

fn stored_metadata(metadata: &Map, out: &mut Vec<u8>) {
    out.push(b'{');
    let kept = metadata.iter().filter(|(k, _)| !matches!(&***k, "resourceVersion" | "selfLink"));
    for (i, (key, value)) in kept.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::encode_string(key, out);
        out.push(b':');
        json::encode_into(value, out);
    }
    out.push(b'}');
}

/// Converts a body of a served version to the hub: that version's defaults, conversion, the hub's
/// defaults.
pub fn to_hub(kind: &Kind, served: &Served, value: &mut Value) {
    let hub = &kind.versions[0];
    if !std::ptr::eq(hub, served) {
        (served.default)(value);
        convert_to_hub(served, value);
    }
    type_meta(kind, hub, value);
    (hub.default)(value);
}

/// Only the conversion, without defaults: bodies of server-side apply.
pub fn convert_to_hub(served: &Served, value: &mut Value) {
    if let Some(convert) = served.to_hub {
        convert(value);
    }
}

/// An object of the hub as a served version has it, in that version's normal form.
pub fn to_version(schema: &Schema, kind: &Kind, object: &Value, served: &Served) -> Value {
    let mut value = object.clone();
    if let Some(convert) = served.from_hub {
        convert(&mut value);
    }
    type_meta(kind, served, &mut value);
    if let Some(id) = schema.find(served.message) {
        normal::normalize(schema, id, &mut value);
    }
    value
}

fn type_meta(kind: &Kind, served: &Served, value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        // Mostly both are there already: then nothing is copied.
        if map.get("kind").is_none_or(|v| *v != kind.kind) {
            map.set("kind", kind.kind);
        }
        let same = |v: &Value| split_api_version(v.str_or_empty()) == (served.group, served.version);
        if !map.get("apiVersion").is_some_and(same) {
            map.set("apiVersion", served.api_version());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use crate::schema::builtin;

    fn kind(group: &str, version: &str, plural: &str) -> &'static Kind {
        kinds::find(group, version, plural).unwrap().0
    }

    #[test]
    fn what_is_stored_comes_back() {
        let pods = kind("", "v1", "pods");
        let stored = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"n","uid":"u","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"i","resources":{}}],"nodeName":"node-1"},"status":{"phase":"Running"}}"#;
        let loaded = load(builtin(), pods, stored, 42).unwrap();
        let text = std::str::from_utf8(&loaded.served).unwrap();
        assert!(text.contains(r#""uid":"u","resourceVersion":"42","labels""#), "{text}");
        assert_eq!(&text[loaded.type_meta..loaded.type_meta + 11], r#""metadata":"#);
        assert_eq!(loaded.field(pods, "spec.nodeName"), Some("node-1"));
        assert_eq!(loaded.field(pods, "metadata.name"), Some("a"));
        assert_eq!(loaded.field(pods, "nope"), None);
        assert_eq!(load(builtin(), pods, &store_bytes(&loaded.object), 42).unwrap().served, loaded.served);
        assert!(!String::from_utf8(store_bytes(&loaded.object)).unwrap().contains("resourceVersion"));
    }

    #[test]
    fn protobuf_and_other_versions_are_read() {
        let schema = builtin();
        let events = kind("", "v1", "events");
        let value = crate::value!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"}, "regarding": {"kind": "Pod"}, "note": "hi"});
        let raw = protobuf::encode(schema, schema.find("events/v1.Event").unwrap(), &value).unwrap();
        let stored = protobuf::seal("events.k8s.io/v1", "Event", &raw);
        let loaded = load(schema, events, &stored, 7).unwrap();
        assert_eq!(loaded.object["message"], *"hi");
        assert_eq!(loaded.object["apiVersion"], *"v1");
        assert_eq!(loaded.field(events, "involvedObject.kind"), Some("Pod"));
        let back = to_version(schema, events, &loaded.object, &events.versions[1]);
        assert_eq!(back["note"], *"hi");
        assert!(matches!(
            load(schema, events, br#"{"apiVersion":"apps/v1","kind":"Event"}"#, 1),
            Err(LoadError::Version { .. })
        ));
        assert!(matches!(load(schema, events, b"{", 1), Err(LoadError::Decode(_))));
    }

    #[test]
    fn legacy_deployments_are_stored_as_the_hub() {
        let schema = builtin();
        let deployments = kind("apps", "v1", "deployments");
        let stored = br#"{"kind":"Deployment","apiVersion":"extensions/v1beta1","metadata":{"name":"d"},"spec":{"rollbackTo":{"revision":2},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[]}}}}"#;
        let loaded = load(schema, deployments, stored, 7).unwrap();
        assert_eq!(loaded.object["apiVersion"], *"apps/v1");
        assert_eq!(loaded.object["spec"]["selector"]["matchLabels"]["a"], *"b");
        assert_eq!(loaded.object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], Value::Int(1));
        let served = deployments.served("extensions", "v1beta1").unwrap();
        let back = to_version(schema, deployments, &loaded.object, served);
        assert_eq!(back["spec"]["rollbackTo"]["revision"], Value::Int(2));
        assert_eq!(back["apiVersion"], *"extensions/v1beta1");
    }
}
