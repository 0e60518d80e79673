//! A message's JSON schema, and the set of messages that some refer to.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinds;
use crate::schema::{Field, ListKind, Message, MessageId, Schema, SchemaOr, Type};
use crate::tree::{Map, Value};

/// Where definitions lie in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn prefix(self) -> &'static str {
        match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        }
    }
    /// A bare reference.
    pub(super) fn reference(self, name: &str) -> Value {
        let mut map = Map::new();
        map.set("$ref", format!("{}{name}", self.prefix()));
        Value::Object(map)
    }
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// Upstream's name of a message's definition: `io.k8s.api.core.v1.Pod`.
pub fn definition_name(message: &str) -> String {
    let (folder, rest) = message.split_once('/').unwrap_or(("", message));
    match folder {
        "meta" => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
        "apiextensions" => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{rest}"),
        "apiregistration" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{rest}"),
        _ => format!("io.k8s.api.{folder}.{rest}"),
    }
}

/// The definition of a type that is no message.
fn opaque_name(ty: &Type) -> Option<String> {
    Some(match ty {
        Type::Time => format!("{META}.Time"),
        Type::MicroTime => format!("{META}.MicroTime"),
        Type::Duration => format!("{META}.Duration"),
        Type::FieldsV1 => format!("{META}.FieldsV1"),
        Type::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        Type::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        Type::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
        Type::Json => format!("{EXTENSIONS}.JSON"),
        Type::SchemaOr(SchemaOr::Bool, _) => format!("{EXTENSIONS}.JSONSchemaPropsOrBool"),
        Type::SchemaOr(SchemaOr::Schemas, _) => format!("{EXTENSIONS}.JSONSchemaPropsOrArray"),
        Type::SchemaOr(SchemaOr::Strings, _) => format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray"),
        _ => return None,
    })
}

fn opaque_schema(ty: &Type, dialect: Dialect) -> Value {
    use crate::value;
    match (ty, dialect) {
        (Type::Time | Type::MicroTime, _) => value!({"type": "string", "format": "date-time"}),
        (Type::Duration, _) => value!({"type": "string"}),
        (Type::FieldsV1 | Type::RawExtension, _) => value!({"type": "object"}),
        (Type::Quantity, Dialect::V2) => value!({"type": "string"}),
        (Type::Quantity, Dialect::V3) => value!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Type::IntOrString, Dialect::V2) => value!({"type": "string", "format": "int-or-string"}),
        (Type::IntOrString, Dialect::V3) => {
            value!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        _ => Value::object(),
    }
}

/// Adds descriptions to a document of either version: `lookup` gets a message and one of its fields,
/// or none for the message's own.
pub fn describe<'a>(document: &mut Value, lookup: &dyn Fn(&str, Option<&str>) -> Option<&'a str>) {
    let definitions = match document.get("definitions") {
        Some(_) => document.get_mut("definitions"),
        None => document.at_mut(&["components", "schemas"]),
    };
    let Some(Value::Object(definitions)) = definitions else { return };
    let set = |place: &mut Value, text: Option<&str>| {
        if let (Some(map), Some(text)) = (place.as_object_mut(), text.filter(|t| !t.is_empty())) {
            map.set("description", text);
        }
    };
    for message in &crate::schema::builtin().messages {
        let Some(definition) = definitions.get_mut(&definition_name(&message.name)) else { continue };
        set(definition, lookup(&message.name, None));
        let Some(Value::Object(properties)) = definition.get_mut("properties") else { continue };
        for (field, property) in properties.iter_mut() {
            set(property, lookup(&message.name, Some(field)));
        }
    }
}

/// Collects definitions: those asked for and all they refer to.
pub(super) struct Definitions<'a> {
    schema: &'a Schema,
    dialect: Dialect,
    /// Group versions whose watch events and delete options the document names.
    group_versions: &'a [(&'static str, &'static str)],
    out: BTreeMap<String, Value>,
    seen: BTreeSet<u32>,
}

impl<'a> Definitions<'a> {
    pub(super) fn new(
        schema: &'a Schema,
        dialect: Dialect,
        group_versions: &'a [(&'static str, &'static str)],
    ) -> Definitions<'a> {
        Definitions { schema, dialect, group_versions, out: BTreeMap::new(), seen: BTreeSet::new() }
    }

    /// A reference to a message, whose definition the document then has.
    pub(super) fn message(&mut self, name: &str) -> Value {
        match self.schema.find(name) {
            Some(id) => self.reference(id),
            None => Value::object(),
        }
    }

    pub(super) fn patch(&mut self) -> Value {
        self.out.entry(PATCH.to_owned()).or_insert_with(|| crate::value!({"type": "object"}));
        self.dialect.reference(PATCH)
    }

    pub(super) fn version_info(&mut self) -> Value {
        const REQUIRED: &[&str] = &[
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ];
        const OPTIONAL: &[&str] =
            &["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
        let mut properties = Map::new();
        for name in REQUIRED {
            properties.set(name, crate::value!({"type": "string", "default": ""}));
        }
        for name in OPTIONAL {
            properties.set(name, crate::value!({"type": "string"}));
        }
        let mut schema = Map::new();
        schema.set("type", "object");
        schema.set("required", REQUIRED.to_vec());
        schema.set("properties", properties);
        self.out.insert(VERSION_INFO.to_owned(), Value::Object(schema));
        self.dialect.reference(VERSION_INFO)
    }

    pub(super) fn finish(self) -> Value {
        Value::Object(self.out.into_iter().map(|(k, v)| (crate::Key::from(k), v)).collect())
    }

    fn reference(&mut self, id: MessageId) -> Value {
        let message = self.schema.message(id);
        let name = definition_name(&message.name);
        if self.seen.insert(id.0) {
            let definition = self.definition(message);
            self.out.insert(name.clone(), definition);
        }
        self.dialect.reference(&name)
    }

    fn definition(&mut self, message: &Message) -> Value {
        let mut out = Map::new();
        out.set("type", "object");
        let required: Vec<&str> = message.fields.iter().filter(|f| f.required).map(|f| f.json).collect();
        if !required.is_empty() {
            out.set("required", required);
        }
        let mut properties = Map::new();
        for field in &message.fields {
            properties.set(field.json, self.property(field));
        }
        if !properties.is_empty() {
            out.set("properties", properties);
        }
        let gvks = self.group_version_kinds(message);
        if !gvks.is_empty() {
            out.set("x-kubernetes-group-version-kind", gvks);
        }
        if message.atomic {
            out.set("x-kubernetes-map-type", "atomic");
        }
        if let Some(unions) = message.unions.and_then(|u| serde_json::from_str::<Value>(u).ok()) {
            out.set("x-kubernetes-unions", unions);
        }
        Value::Object(out)
    }

    fn property(&mut self, field: &Field) -> Value {
        let mut out = self.ty(&field.ty);
        let is_reference = out.get("$ref").is_some();
        let map = out.as_object_mut().expect("a schema is an object");
        if is_reference && self.dialect == Dialect::V3 {
            // In OpenAPI 3.0 nothing may stand beside a $ref.
            let inner = std::mem::take(map);
            map.set("allOf", vec![Value::Object(inner)]);
        }
        if let Some(default) = default(field) {
            map.set("default", default);
        }
        if !field.enum_values.is_empty() {
            let holder = match field.ty {
                Type::List(_) => map.object_mut("items"),
                Type::Map(_) => map.object_mut("additionalProperties"),
                _ => &mut *map,
            };
            holder.set("enum", field.enum_values.to_vec());
        }
        if field.list_declared {
            match &field.list {
                ListKind::Atomic => map.set("x-kubernetes-list-type", "atomic"),
                ListKind::Set => map.set("x-kubernetes-list-type", "set"),
                ListKind::Map(keys) => {
                    map.set("x-kubernetes-list-map-keys", keys.clone());
                    map.set("x-kubernetes-list-type", "map");
                }
            }
        }
        if let Some(kind) = field.declared_map {
            map.set("x-kubernetes-map-type", kind);
        }
        if let Some(key) = field.patch_merge_key {
            map.set("x-kubernetes-patch-merge-key", key);
        }
        let strategies: Vec<&str> = [
            (field.patch.merge, "merge"),
            (field.patch.replace, "replace"),
            (field.patch.retain_keys, "retainKeys"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        if !strategies.is_empty() {
            map.set("x-kubernetes-patch-strategy", strategies.join(","));
        }
        out
    }

    fn ty(&mut self, ty: &Type) -> Value {
        use crate::value;
        if let Some(name) = opaque_name(ty) {
            let dialect = self.dialect;
            self.out.entry(name.clone()).or_insert_with(|| opaque_schema(ty, dialect));
            if let Type::SchemaOr(_, id) = ty {
                self.reference(*id);
            }
            return self.dialect.reference(&name);
        }
        match ty {
            Type::Bool => value!({"type": "boolean"}),
            Type::Int32 => value!({"type": "integer", "format": "int32"}),
            Type::Int64 => value!({"type": "integer", "format": "int64"}),
            Type::Float => value!({"type": "number", "format": "double"}),
            Type::Bytes => value!({"type": "string", "format": "byte"}),
            Type::Message(id) => self.reference(*id),
            Type::List(item) => {
                let mut map = Map::new();
                map.set("type", "array");
                map.set("items", self.ty(item));
                Value::Object(map)
            }
            Type::Map(value) => {
                let mut map = Map::new();
                map.set("type", "object");
                map.set("additionalProperties", self.ty(value));
                Value::Object(map)
            }
            _ => value!({"type": "string"}),
        }
    }

    fn group_version_kinds(&self, message: &Message) -> Vec<Value> {
        let (folder, rest) = message.name.split_once('/').unwrap_or_default();
        let (version, kind) = rest.split_once('.').unwrap_or_default();
        // An embedded TypeMeta: `kind` and `apiVersion` first, and not on the wire.
        let has_type_meta = message.fields.first().is_some_and(|f| f.json == "kind" && f.proto.is_empty());
        if !has_type_meta && kind != "WatchEvent" {
            return Vec::new();
        }
        let gvk =
            |group: &str, version: &str| crate::value!({"group": group, "kind": kind, "version": version});
        match (folder, kind) {
            ("meta", "WatchEvent" | "DeleteOptions") => {
                let mut all: Vec<(&str, &str)> = self.group_versions.to_vec();
                all.push(("", "v1"));
                all.sort_unstable();
                all.dedup();
                all.into_iter().map(|(g, v)| gvk(g, v)).collect()
            }
            ("meta", _) => vec![gvk("", version)],
            _ => kinds_of(folder, version, kind).into_iter().map(|(g, v)| gvk(g, v)).collect(),
        }
    }
}

/// The served group versions in which a message is a kind, a kind's list, or a subresource's body.
fn kinds_of(folder: &str, version: &str, kind: &str) -> Vec<(&'static str, &'static str)> {
    let full = format!("{folder}/{version}.");
    let mut out = Vec::new();
    for gv in kinds::group_versions() {
        for (row, served) in &gv.kinds {
            let name = served.message.strip_prefix(&full);
            let is_list =
                kind.strip_suffix("List").is_some_and(|k| name == Some(k)) && row.verbs.contains(&"list");
            let body = |s: &kinds::Subresource| {
                let (group, version) = s.group_version.unwrap_or((gv.group, gv.version));
                s.kind == kind && format!("{}/{version}.", crate::schema::folder(group)) == full
            };
            if name == Some(kind) || is_list {
                out.push((gv.group, gv.version));
            } else if row.subresources.iter().any(body) {
                let subresource = row.subresources.iter().find(|s| body(s)).and_then(|s| s.group_version);
                out.push(subresource.unwrap_or((gv.group, gv.version)));
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Explicit, or the zero value where Go always has one.
fn default(field: &Field) -> Option<Value> {
    if let Some(text) = field.default {
        return serde_json::from_str(text).ok();
    }
    if field.pointer {
        return None;
    }
    match &field.ty {
        Type::Message(_) => (!field.omitzero).then(Value::object),
        _ if field.omitempty => None,
        Type::String => Some(Value::from("")),
        Type::Bool => Some(Value::Bool(false)),
        Type::Int32 | Type::Int64 | Type::Float => Some(Value::Int(0)),
        _ => None,
    }
}
