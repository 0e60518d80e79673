//! The schema as field ownership sees it: scalars, maps and lists, granular or owned as a whole.

use std::collections::HashMap;

use super::field_set::PathElement;
use crate::schema::{Field, ListKind, Message, MessageId, Schema, Type};
use crate::tree::{Key, Map, Value};

/// A type where it is used: the field says how its list or map is owned.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeRef<'a> {
    ty: &'a Type,
    list: &'a ListKind,
    atomic: bool,
}

/// How a value is walked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Atom<'a> {
    Scalar(&'a Type),
    Map(MapType<'a>),
    List(ListType<'a>),
    /// Free-form JSON: objects are granular, lists are not.
    Deduced,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MapType<'a> {
    schema: &'a Schema,
    message: Option<&'a Message>,
    element: Option<&'a Type>,
    pub(super) atomic: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ListType<'a> {
    pub(super) element: TypeRef<'a>,
    pub(super) kind: &'a ListKind,
}

const ATOMIC: &ListKind = &ListKind::Atomic;
static DEDUCED: Type = Type::Json;

impl<'a> TypeRef<'a> {
    pub(super) fn field(field: &'a Field) -> TypeRef<'a> {
        TypeRef { ty: &field.ty, list: &field.list, atomic: field.map_atomic }
    }
    /// An element of a list, a value of a map, a whole object: only its own message can say that
    /// it is owned as a whole.
    pub(super) fn plain(schema: &'a Schema, ty: &'a Type) -> TypeRef<'a> {
        let atomic = matches!(ty, Type::Message(id) if schema.message(*id).atomic);
        TypeRef { ty, list: ATOMIC, atomic }
    }
    pub(super) const fn deduced() -> TypeRef<'static> {
        TypeRef { ty: &DEDUCED, list: ATOMIC, atomic: false }
    }
    pub(super) fn atom(self, schema: &'a Schema) -> Atom<'a> {
        match self.ty {
            Type::Message(id) => Atom::Map(MapType {
                schema,
                message: Some(schema.message(*id)),
                element: None,
                atomic: self.atomic,
            }),
            Type::Map(of) => {
                Atom::Map(MapType { schema, message: None, element: Some(of), atomic: self.atomic })
            }
            Type::List(of) => Atom::List(ListType { element: TypeRef::plain(schema, of), kind: self.list }),
            Type::Json => Atom::Deduced,
            // Owned as a whole, like a scalar: RawExtension, FieldsV1, SchemaOr too.
            whole => Atom::Scalar(whole),
        }
    }
}

impl<'a> MapType<'a> {
    /// The type of a member; what the schema does not know is free-form.
    pub(super) fn member(&self, name: &str) -> TypeRef<'a> {
        if let Some(field) = self.message.and_then(|m| m.field(name)) {
            return TypeRef::field(field);
        }
        match self.element {
            Some(of) => TypeRef::plain(self.schema, of),
            None => TypeRef::deduced(),
        }
    }
    /// A field of a struct, as opposed to a key of a map.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.message.is_some_and(|m| m.field(name).is_some())
    }
    /// A member the schema does not allow.
    pub(super) fn refuses(&self, name: &str) -> bool {
        self.message.is_some_and(|m| !m.preserve_unknown && m.field(name).is_none())
    }
}

impl ListType<'_> {
    /// What tells `item` apart from the other elements, or why nothing can.
    pub(super) fn path_element(&self, schema: &Schema, item: &Value) -> Result<PathElement, String> {
        match self.kind {
            ListKind::Atomic => Err("invalid indexing of an atomic list".to_owned()),
            ListKind::Set => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".to_owned())
                }
                scalar => Ok(PathElement::Value(scalar.clone())),
            },
            ListKind::Map(keys) => match item {
                Value::Null => Err("associative list with keys may not have a null element".to_owned()),
                Value::Object(map) => self.key(schema, keys, map),
                _ => Err("associative list with keys may not have non-map elements".to_owned()),
            },
        }
    }

    fn key(&self, schema: &Schema, keys: &[&'static str], item: &Map) -> Result<PathElement, String> {
        let mut members = Vec::with_capacity(keys.len());
        for &name in keys {
            let value = match item.get(name) {
                Some(value) => value.clone(),
                None => self.key_default(schema, name).ok_or_else(|| {
                    format!("associative list with keys has an element that omits key field {name:?} (and doesn't have default value)")
                })?,
            };
            members.push((Key::Static(name), value));
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(PathElement::Key(members))
    }

    fn key_default(&self, schema: &Schema, name: &str) -> Option<Value> {
        let Type::Message(id) = self.element.ty else { return None };
        serde_json::from_str(schema.message(*id).field(name)?.default?).ok()
    }
}

/// Members past which look-ups go through an index instead of a walk.
const SMALL_MAP: usize = 16;

/// Calls `visit` for each key of either map, those of `left` first.
pub(super) fn zip_members<'v>(
    left: Option<&'v Map>,
    right: Option<&'v Map>,
    mut visit: impl FnMut(&'v Key, Option<&'v Value>, Option<&'v Value>),
) {
    let (left, right) = (left.map_or(&[][..], Map::entries), right.map_or(&[][..], Map::entries));
    let lookup = |entries: &'v [(Key, Value)]| {
        let large = entries.len() > SMALL_MAP;
        let index: HashMap<&'v str, &'v Value> =
            if large { entries.iter().map(|(k, v)| (&**k, v)).collect() } else { HashMap::new() };
        move |key: &str| match large {
            true => index.get(key).copied(),
            false => entries.iter().find(|(k, _)| **k == *key).map(|(_, v)| v),
        }
    };
    let in_right = lookup(right);
    for (key, value) in left {
        visit(key, Some(value), in_right(key));
    }
    let in_left = lookup(left);
    for (key, value) in right {
        if in_left(key).is_none() {
            visit(key, None, Some(value));
        }
    }
}

/// An object of this message with nothing set, as Go's zero value would be written: what a new
/// object is compared with. Fields it has are no news to their parents.
pub(super) fn zero(schema: &Schema, id: MessageId) -> Value {
    let mut map = Map::new();
    for field in &schema.message(id).fields {
        let value = match &field.ty {
            // Go's omitempty leaves structs where they are.
            Type::Message(id) if !field.pointer => zero(schema, *id),
            Type::Time | Type::MicroTime | Type::RawExtension if !field.pointer => Value::Null,
            _ if field.omitempty => continue,
            _ if field.pointer => Value::Null,
            Type::Bool => Value::Bool(false),
            Type::Int32 | Type::Int64 | Type::IntOrString => Value::Int(0),
            Type::Float => Value::Float(0.0),
            Type::String => "".into(),
            Type::Quantity => "0".into(),
            Type::Duration => "0s".into(),
            _ => Value::Null,
        };
        map.push_unique(Key::Static(field.json), value);
    }
    Value::Object(map)
}
