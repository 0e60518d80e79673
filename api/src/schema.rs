//! What is known of every message and field: the facts that codecs, the normal form, patches,
//! field ownership and OpenAPI walk beside the tree.
//!
//! Built-in messages come from one table ([`builtin`]); a custom resource has a `Schema` of its
//! own made at run time. The types are the same.

use std::collections::HashMap;

mod builtin;
mod wire;

pub use builtin::builtin;
pub use wire::Wire;

/// A set of messages that refer to each other by [`MessageId`].
#[derive(Debug, Default)]
pub struct Schema {
    pub messages: Vec<Message>,
    pub by_name: HashMap<String, MessageId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(pub u32);

/// A struct of the API: `core/v1.PodSpec`.
#[derive(Debug)]
pub struct Message {
    /// `<group folder>/<version>.<Name>`: `core/v1.Pod`, `meta/v1.ObjectMeta`,
    /// `rbac/v1.Role`. The folder is the short one of upstream's source tree (`rbac`, not
    /// `rbac.authorization.k8s.io`; `core` for the group "").
    pub name: String,
    /// In Go's (and so the normal form's) order. Embedded structs without a JSON name are
    /// flattened in place.
    pub fields: Vec<Field>,
    pub index: HashMap<&'static str, usize>,
    /// Fields this schema does not name are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Owned as a whole wherever it is used (`x-kubernetes-map-type: atomic` on the type).
    pub atomic: bool,
    /// `x-kubernetes-unions`, as JSON.
    pub unions: Option<&'static str>,
    /// The fields in protobuf's order, nested as they are on the wire.
    pub wire: Vec<Wire>,
    /// Indices of fields that appear in the normal form even when nothing set them.
    pub always: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub json: &'static str,
    pub ty: Type,
    /// A Go pointer: its zero value is a value, its absence is not.
    pub pointer: bool,
    /// Vanishes from JSON when it has its zero value (`omitempty`, `omitzero`).
    pub omitempty: bool,
    /// Of these, `omitzero`: Go's `omitempty` does nothing for a struct that is not a pointer, so
    /// an empty one appears (`status: {}`) unless this is set.
    pub omitzero: bool,
    /// Field numbers from the message down to the field: more than one where Go embeds a struct
    /// inline that protobuf nests. Empty: not on the wire.
    pub proto: Vec<u32>,
    pub list: ListKind,
    pub map_atomic: bool,
    /// `x-kubernetes-map-type` where the field itself declares it.
    pub declared_map: Option<&'static str>,
    pub patch: PatchStrategy,
    /// Strategic merge patch's merge key.
    pub patch_merge_key: Option<&'static str>,
    pub required: bool,
    /// Accepted values where they are closed (an enum).
    pub enum_values: &'static [&'static str],
    /// A default that a marker gives, as JSON. Most defaults are rules in code instead.
    pub default: Option<&'static str>,
    /// The source declares how the list is owned; without that it is atomic by default and
    /// OpenAPI says nothing.
    pub list_declared: bool,
    /// Protobuf wraps the list in a message of one repeated field (`ExtraValue`, `Verbs`).
    pub wrapped: bool,
}

impl Default for Field {
    fn default() -> Field {
        Field {
            json: "",
            ty: Type::Json,
            pointer: false,
            omitempty: true,
            omitzero: false,
            proto: Vec::new(),
            list: ListKind::Atomic,
            map_atomic: false,
            declared_map: None,
            patch: PatchStrategy::default(),
            patch_merge_key: None,
            required: false,
            enum_values: &[],
            default: None,
            list_declared: false,
            wrapped: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Float,
    String,
    /// base64 in JSON.
    Bytes,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// `metav1.Duration`: a Go duration string.
    Duration,
    Quantity,
    IntOrString,
    /// Any JSON, embedded with its own kind (`RawExtension`) or without (`JSON`, `FieldsV1`).
    RawExtension,
    Json,
    FieldsV1,
    /// `JSONSchemaPropsOr…`: a JSON schema, or what [`SchemaOr`] says.
    SchemaOr(SchemaOr, MessageId),
    Message(MessageId),
    List(Box<Type>),
    Map(Box<Type>),
}

impl Field {
    /// In Go a struct of its own, not a pointer: `omitempty` does nothing for it.
    pub fn is_struct(&self) -> bool {
        !self.pointer
            && matches!(
                self.ty,
                Type::Message(_)
                    | Type::Time
                    | Type::MicroTime
                    | Type::Duration
                    | Type::Quantity
                    | Type::IntOrString
                    | Type::RawExtension
                    | Type::FieldsV1
            )
    }
    /// Whether the zero value (nil for a pointer, a list, a map) leaves the field out of JSON.
    pub fn vanishes_when_zero(&self) -> bool {
        if self.is_struct() { self.omitzero } else { self.omitempty }
    }
}

/// The other form of a field that holds a JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaOr {
    Bool,
    /// A list of schemas.
    Schemas,
    /// A list of strings.
    Strings,
}

/// How server-side apply and field ownership see a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    Map(Vec<&'static str>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

impl Schema {
    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }
    pub fn find(&self, name: &str) -> Option<MessageId> {
        self.by_name.get(name).copied()
    }
    /// The message of a body by its group, version and kind, built-in kinds, their lists and
    /// subresources' bodies alike. Options, `Status` and the like are known in every group.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<MessageId> {
        // The legacy version has the messages of its successor.
        let version = if (group, version) == ("batch", "v2alpha1") { "v1beta1" } else { version };
        self.find(&format!("{}/{version}.{kind}", folder(group)))
            .or_else(|| self.find(&format!("meta/v1.{kind}")))
    }
}

impl Message {
    pub fn new(name: impl Into<String>, fields: Vec<Field>) -> Message {
        Message {
            name: name.into(),
            index: fields.iter().enumerate().map(|(i, f)| (f.json, i)).collect(),
            preserve_unknown: false,
            atomic: false,
            unions: None,
            wire: wire::order(&fields),
            always: (0..fields.len()).filter(|&i| !fields[i].vanishes_when_zero()).collect(),
            fields,
        }
    }
    /// The index of a field, looked for from `expected` on first: documents mostly have fields in
    /// the order of the message, and a few comparisons of lengths cost less than a hash.
    pub fn index_from(&self, expected: usize, json: &str) -> Option<usize> {
        let ahead = self.fields.get(expected..).unwrap_or_default();
        match ahead.iter().position(|f| f.json == json) {
            Some(i) => Some(expected + i),
            None if expected == 0 => None,
            None => self.index.get(json).copied(),
        }
    }
    pub fn field(&self, json: &str) -> Option<&Field> {
        self.index.get(json).map(|&i| &self.fields[i])
    }
}

/// The folder in message names of a group: `core` for "", `rbac` for `rbac.authorization.k8s.io`.
pub fn folder(group: &str) -> &str {
    match group {
        "" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        "flowcontrol.apiserver.k8s.io" => "flowcontrol",
        "meta.k8s.io" => "meta",
        other => other.split('.').next().unwrap_or(other),
    }
}
