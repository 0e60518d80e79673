//! Reads the committed table (`api/schema/1.36.tsv`, described in `docs/schema.md`) once.
//!
//! Every string of the result is a slice of the table's text, which is part of the binary.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::{Field, ListKind, Message, MessageId, PatchStrategy, Schema, SchemaOr, Type};

static TABLE: &str = include_str!("../../schema/1.36.tsv");

/// The messages of every built-in kind, parsed at the first call (a few milliseconds).
pub fn builtin() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| parse(TABLE))
}

/// The table is part of the program: what is wrong with it is a defect, hence the panics.
fn parse(table: &'static str) -> Schema {
    let lines = || table.lines().filter(|l| !l.starts_with('#'));
    let mut ids: HashMap<&'static str, MessageId> = HashMap::new();
    for (line, id) in lines().filter(|l| l.starts_with('=')).zip(0..) {
        ids.insert(line[1..].split('\t').next().unwrap_or_default(), MessageId(id));
    }
    let mut schema = Schema::default();
    schema.messages.reserve(ids.len());
    let mut open: Option<(&'static str, Vec<Field>)> = None;
    for line in lines() {
        if let Some(header) = line.strip_prefix('=') {
            close(&mut schema, open.take());
            open = Some((header, Vec::new()));
        } else if let Some((header, fields)) = &mut open {
            let folder = header.split('.').next().unwrap_or_default();
            fields.push(field(line, folder, &ids));
        }
    }
    close(&mut schema, open);
    mark_atomic(&mut schema);
    schema
}

fn close(schema: &mut Schema, open: Option<(&'static str, Vec<Field>)>) {
    let Some((header, fields)) = open else { return };
    let mut cells = header.split('\t');
    let name = cells.next().unwrap_or_default();
    let mut message = Message::new(name, fields);
    for cell in cells {
        match cell.as_bytes()[0] {
            b'a' => message.atomic = true,
            b'u' => message.unions = Some(&cell[1..]),
            _ => panic!("schema table: {name}: {cell:?}"),
        }
    }
    schema.by_name.insert(name.to_owned(), MessageId(schema.messages.len() as u32));
    schema.messages.push(message);
}

/// A field whose message is atomic is atomic, unless it says that it is not.
fn mark_atomic(schema: &mut Schema) {
    let atomic: Vec<bool> = schema.messages.iter().map(|m| m.atomic).collect();
    for field in schema.messages.iter_mut().flat_map(|m| &mut m.fields) {
        if let Type::Message(id) = field.ty
            && field.declared_map != Some(GRANULAR)
        {
            field.map_atomic |= atomic[id.0 as usize];
        }
    }
}

const GRANULAR: &str = "granular";

fn field(line: &'static str, folder: &str, ids: &HashMap<&'static str, MessageId>) -> Field {
    let mut cells = line.split('\t');
    let mut next = || cells.next().unwrap_or_else(|| panic!("schema table: {line:?}"));
    let mut field = Field { json: next(), ty: ty(next(), folder, ids), omitempty: false, ..Field::default() };
    for flag in next().bytes() {
        match flag {
            b'p' => field.pointer = true,
            b'o' => field.omitempty = true,
            b'z' => field.omitzero = true,
            b'r' => field.required = true,
            b'w' => field.wrapped = true,
            b'a' => {
                field.map_atomic = true;
                field.declared_map = Some("atomic");
            }
            b'g' => field.declared_map = Some(GRANULAR),
            _ => panic!("schema table: {line:?}"),
        }
    }
    field.proto =
        next().split('.').filter(|n| !n.is_empty()).map(|n| n.parse().expect("a field number")).collect();
    for cell in cells {
        let (kind, value) = cell.split_at(1);
        match kind {
            "l" => {
                field.list_declared = true;
                field.list = match value.split_at(1) {
                    ("s", _) => ListKind::Set,
                    ("m", keys) => ListKind::Map(keys.split(',').collect()),
                    _ => ListKind::Atomic,
                };
            }
            "p" => {
                let has = |name| value.split(',').any(|s| s == name);
                field.patch = PatchStrategy {
                    merge: has("merge"),
                    replace: has("replace"),
                    retain_keys: has("retainKeys"),
                };
            }
            "k" => field.patch_merge_key = Some(value),
            "d" => field.default = Some(value),
            "e" => field.enum_values = Vec::leak(value.split('|').collect()),
            _ => panic!("schema table: {line:?}"),
        }
    }
    field
}

fn ty(code: &str, folder: &str, ids: &HashMap<&'static str, MessageId>) -> Type {
    let message = |name: &str| *ids.get(name).unwrap_or_else(|| panic!("schema table: no message {name}"));
    let (first, rest) = code.split_at(1);
    match (first, rest) {
        ("b", "") => Type::Bool,
        ("i", "") => Type::Int32,
        ("l", "") => Type::Int64,
        ("f", "") => Type::Float,
        ("s", "") => Type::String,
        ("y", "") => Type::Bytes,
        ("T", "") => Type::Time,
        ("U", "") => Type::MicroTime,
        ("D", "") => Type::Duration,
        ("Q", "") => Type::Quantity,
        ("I", "") => Type::IntOrString,
        ("R", "") => Type::RawExtension,
        ("J", "") => Type::Json,
        ("F", "") => Type::FieldsV1,
        ("?", other) => {
            let other = match other {
                "b" => SchemaOr::Bool,
                "a" => SchemaOr::Schemas,
                _ => SchemaOr::Strings,
            };
            Type::SchemaOr(other, message("apiextensions/v1.JSONSchemaProps"))
        }
        ("[", item) => Type::List(Box::new(ty(item, folder, ids))),
        ("{", value) => Type::Map(Box::new(ty(value, folder, ids))),
        (".", name) => Type::Message(message(&format!("{folder}.{name}"))),
        _ => Type::Message(message(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> &'static Message {
        let schema = builtin();
        schema.message(schema.find(name).unwrap_or_else(|| panic!("no {name}")))
    }

    #[test]
    fn the_table_holds_the_facts_of_a_pod() {
        let spec = message("core/v1.PodSpec");
        let containers = spec.field("containers").unwrap();
        assert!(containers.required && !containers.omitempty && !containers.pointer);
        assert_eq!(containers.list, ListKind::Map(vec!["name"]));
        assert_eq!(containers.patch_merge_key, Some("name"));
        assert!(
            matches!(&containers.ty, Type::List(t) if **t == Type::Message(builtin().find("core/v1.Container").unwrap()))
        );
        let volume = message("core/v1.Volume");
        assert_eq!(volume.field("hostPath").unwrap().proto, [2, 1]);
        assert_eq!(
            message("core/v1.PodSpec").field("restartPolicy").unwrap().enum_values,
            ["Always", "Never", "OnFailure"]
        );
        assert!(spec.field("nodeSelector").unwrap().map_atomic);
    }

    #[test]
    fn embedded_and_odd_types_are_resolved() {
        let limits = message("core/v1.ResourceRequirements").field("limits").unwrap();
        assert_eq!(limits.ty, Type::Map(Box::new(Type::Quantity)));
        let extra = message("authentication/v1.UserInfo").field("extra").unwrap();
        assert_eq!(extra.ty, Type::Map(Box::new(Type::List(Box::new(Type::String)))));
        assert!(extra.wrapped);
        let items = message("apiextensions/v1.JSONSchemaProps").field("items").unwrap();
        assert!(matches!(items.ty, Type::SchemaOr(SchemaOr::Schemas, _)));
        assert_eq!(
            message("core/v1.Pod").fields.iter().map(|f| f.json).collect::<Vec<_>>(),
            ["kind", "apiVersion", "metadata", "spec", "status"]
        );
        let named = message("admissionregistration/v1.NamedRuleWithOperations");
        assert_eq!(named.field("apiGroups").unwrap().proto, [2, 2, 1]);
        assert!(message("meta/v1.LabelSelector").atomic);
        assert!(!message("core/v1.PersistentVolumeSpec").field("claimRef").unwrap().map_atomic);
        assert!(message("core/v1.PersistentVolume").wire.iter().all(|w| w.number() > 0));
    }

    #[test]
    fn legacy_groups_are_there() {
        for name in [
            "extensions/v1beta1.Deployment",
            "apps/v1beta1.StatefulSet",
            "apps/v1beta2.DaemonSet",
            "batch/v1beta1.CronJob",
        ] {
            message(name);
        }
    }
}
