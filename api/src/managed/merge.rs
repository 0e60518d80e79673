//! Merging an applied configuration into the live object, and taking fields out again.

use std::collections::BTreeMap;

use super::field_set::{FieldSet, PathElement};
use super::types::{Atom, ListType, TypeRef, zip_members};
use crate::schema::{ListKind, MessageId, Schema, Type};
use crate::tree::{Map, Value};

/// `config` over `live`: scalars and what is owned as a whole are replaced, maps and keyed lists
/// are merged.
pub(super) fn merge(schema: &Schema, message: MessageId, live: &Value, config: &Value) -> Value {
    let ty = Type::Message(message);
    Merge { schema }.walk(TypeRef::plain(schema, &ty), Some(live), Some(config)).unwrap_or_default()
}

struct Merge<'a> {
    schema: &'a Schema,
}

impl Merge<'_> {
    fn walk(&self, ty: TypeRef<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
        let (Some(l), Some(c)) = (live, config) else { return config.or(live).cloned() };
        let members = |v: &Value| !v.members().is_empty();
        let items = |v: &Value| !v.items().is_empty();
        match ty.atom(self.schema) {
            Atom::Map(map) if !map.atomic && (members(l) || members(c)) => self.maps(|n| map.member(n), l, c),
            Atom::Deduced if members(l) && (members(c) || c.is_null() || c.is_object()) => {
                self.maps(|_| TypeRef::deduced(), l, c)
            }
            Atom::List(list) if *list.kind != ListKind::Atomic && (items(l) || items(c)) => {
                self.lists(list, l.items(), c.items())
            }
            _ => Some(c.clone()),
        }
    }

    fn maps<'t>(&self, member: impl Fn(&str) -> TypeRef<'t>, live: &Value, config: &Value) -> Option<Value> {
        let mut out = Map::new();
        zip_members(live.as_object(), config.as_object(), |name, live, config| {
            if let Some(value) = self.walk(member(name), live, config) {
                out.push_unique(name.clone(), value);
            }
        });
        (!out.is_empty()).then_some(Value::Object(out))
    }

    /// Live elements keep their places; the ones both have come in the configuration's order, and
    /// new ones where the configuration has them.
    fn lists(&self, list: ListType<'_>, live: &[Value], config: &[Value]) -> Option<Value> {
        let live = self.index(list, live);
        let config = self.index(list, config);
        let mut shared =
            config.order.iter().filter(|(step, _)| live.by_step.contains_key(step)).map(|(s, _)| s);
        let mut next_shared = shared.next();
        let mut taken: BTreeMap<&PathElement, ()> = BTreeMap::new();
        let mut out = Vec::with_capacity(live.order.len().max(config.order.len()));
        let (mut l, mut c) = (0, 0);
        while l < live.order.len() || c < config.order.len() {
            let from_live = live.order.get(l);
            let from_config = config.order.get(c);
            if let (Some((left, _)), Some((right, item))) = (from_live, from_config) {
                if left == right {
                    taken.insert(left, ());
                    out.extend(self.walk(list.element, live.unique(left), Some(item)));
                    (l, c) = (l + 1, c + 1);
                    next_shared = shared.next();
                    continue;
                }
                if config.by_step.contains_key(left) && next_shared.is_some_and(|s| s != left) {
                    // Both have it, but the configuration has another one first.
                    l += 1;
                    continue;
                }
            }
            if let Some((left, item)) = from_live {
                if !config.by_step.contains_key(left) {
                    out.push((*item).clone());
                    l += 1;
                    continue;
                }
                if taken.contains_key(left) {
                    l += 1;
                }
            }
            if let Some((right, item)) = from_config {
                taken.insert(right, ());
                out.extend(self.walk(list.element, live.unique(right), Some(item)));
                c += 1;
                if next_shared == Some(right) {
                    next_shared = shared.next();
                }
            }
        }
        (!out.is_empty()).then_some(Value::Array(out))
    }

    fn index<'v>(&self, list: ListType<'_>, items: &'v [Value]) -> Indexed<'v> {
        let mut out = Indexed { order: Vec::with_capacity(items.len()), by_step: BTreeMap::new() };
        for item in items {
            let Ok(step) = list.path_element(self.schema, item) else { continue };
            out.by_step.entry(step.clone()).and_modify(|found| *found = None).or_insert(Some(item));
            out.order.push((step, item));
        }
        out
    }
}

struct Indexed<'v> {
    order: Vec<(PathElement, &'v Value)>,
    /// `None` where several elements share the key: they are merged with nothing.
    by_step: BTreeMap<PathElement, Option<&'v Value>>,
}

impl<'v> Indexed<'v> {
    fn unique(&self, step: &PathElement) -> Option<&'v Value> {
        self.by_step.get(step).copied().flatten()
    }
}

/// `value` without the fields of `set`. What is emptied by it becomes null.
pub(super) fn remove(schema: &Schema, message: MessageId, value: &Value, set: &FieldSet) -> Value {
    let ty = Type::Message(message);
    without(schema, TypeRef::plain(schema, &ty), value, set)
}

fn without(schema: &Schema, ty: TypeRef<'_>, value: &Value, set: &FieldSet) -> Value {
    let atom = ty.atom(schema);
    match (&atom, value) {
        (Atom::Map(map), Value::Object(_)) if map.atomic => Value::Null,
        (Atom::Map(_) | Atom::Deduced, Value::Object(members)) => {
            let mut out = Map::with_capacity(members.len());
            for (name, value) in members {
                let node = set.node(&PathElement::Field(name.clone()));
                let kept = match node {
                    Some(node) if node.member => continue,
                    Some(node) if !node.children.is_empty() => {
                        let ty = match &atom {
                            Atom::Map(map) => map.member(name),
                            _ => TypeRef::deduced(),
                        };
                        without(schema, ty, value, &node.children)
                    }
                    _ => value.clone(),
                };
                out.push_unique(name.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Atom::List(list), Value::Array(items)) => {
            if *list.kind == ListKind::Atomic {
                return Value::Null;
            }
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let node = list.path_element(schema, item).ok().and_then(|step| set.node(&step));
                match node {
                    Some(node) if node.member => {}
                    Some(node) => out.push(without(schema, list.element, item, &node.children)),
                    None => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (_, scalar) => scalar.clone(),
    }
}
