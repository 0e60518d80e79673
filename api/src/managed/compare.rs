//! What a value owns, and what changed between two: one walk each.

use std::collections::BTreeMap;

use super::field_set::{FieldSet, Node, PathElement};
use super::types::{Atom, ListType, MapType, TypeRef, zip_members};
use crate::schema::{ListKind, MessageId, Schema, Type};
use crate::tree::{Map, Value};

/// The fields that differ between an old and a new object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Comparison {
    /// Without what lies in or below `ignored`.
    pub(super) fn exclude(&mut self, ignored: &FieldSet) {
        if !ignored.is_empty() {
            for set in [&mut self.added, &mut self.modified, &mut self.removed] {
                *set = set.recursive_difference(ignored);
            }
        }
    }
    /// Added or modified.
    pub(super) fn written(&self) -> FieldSet {
        let mut set = self.added.clone();
        set.union_with(&self.modified);
        set
    }
}

/// The fields an object sets: what an applied configuration owns.
pub fn set_of(schema: &Schema, message: MessageId, value: &Value) -> FieldSet {
    let ty = Type::Message(message);
    let mut node = Node::default();
    collect(schema, TypeRef::plain(schema, &ty), value, &mut node);
    node.children
}

fn collect(schema: &Schema, ty: TypeRef<'_>, value: &Value, out: &mut Node) {
    match (ty.atom(schema), value) {
        (Atom::Map(MapType { atomic: true, .. }), _) => out.member = true,
        (Atom::Map(map), Value::Object(members)) => {
            for (name, value) in members {
                let mut below = Node::default();
                collect(schema, map.member(name), value, &mut below);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                below.member |= empty || !map.declares(name);
                out.children.attach(PathElement::Field(name.clone()), below);
            }
        }
        (Atom::Deduced, Value::Object(members)) => {
            for (name, value) in members {
                let mut below = Node::default();
                collect(schema, TypeRef::deduced(), value, &mut below);
                below.member = true;
                out.children.attach(PathElement::Field(name.clone()), below);
            }
        }
        (Atom::List(ListType { kind: ListKind::Atomic, .. }), _) => out.member = true,
        (Atom::List(list), Value::Array(items)) => {
            for item in items {
                if let Ok(step) = list.path_element(schema, item) {
                    let mut below = Node::default();
                    collect(schema, list.element, item, &mut below);
                    below.member = true;
                    out.children.attach(step, below);
                }
            }
        }
        (Atom::Map(_) | Atom::List(_), _) => {}
        (Atom::Scalar(_) | Atom::Deduced, _) => out.member = true,
    }
}

/// What changed from `old` to `new`.
pub fn compare(schema: &Schema, message: MessageId, old: &Value, new: &Value) -> Comparison {
    let ty = Type::Message(message);
    let difference = Compare { schema }.walk(TypeRef::plain(schema, &ty), Some(old), Some(new));
    Comparison {
        added: difference.added.children,
        modified: difference.modified.children,
        removed: difference.removed.children,
    }
}

/// The same as [`Comparison`], below one path.
#[derive(Default)]
struct Difference {
    added: Node,
    modified: Node,
    removed: Node,
}

impl Difference {
    fn attach(&mut self, step: PathElement, below: Difference) {
        self.added.children.attach(step.clone(), below.added);
        self.modified.children.attach(step.clone(), below.modified);
        self.removed.children.attach(step, below.removed);
    }
}

struct Compare<'a> {
    schema: &'a Schema,
}

impl Compare<'_> {
    fn walk(&self, ty: TypeRef<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
        let object = |v: Option<&Value>| v.and_then(Value::as_object).is_some_and(|m| !m.is_empty());
        let list = |v: Option<&Value>| !v.map_or(&[][..], Value::items).is_empty();
        let mut out = match ty.atom(self.schema) {
            Atom::Map(map) if !map.atomic && (object(old) || object(new)) => {
                self.maps(|name| map.member(name), old, new)
            }
            Atom::Deduced if both_maps(old, new) && (object(old) || object(new)) => {
                self.maps(|_| TypeRef::deduced(), old, new)
            }
            Atom::List(of) if *of.kind != ListKind::Atomic && (list(old) || list(new)) => {
                self.lists(of, old, new)
            }
            _ => {
                let mut out = Difference::default();
                match (old, new) {
                    (None, _) => out.added.member = true,
                    (_, None) => out.removed.member = true,
                    (Some(old), Some(new)) => out.modified.member = !same(old, new),
                }
                return out;
            }
        };
        // A parent that appears or goes is told besides what is below it.
        out.added.member |= old.is_none();
        out.removed.member |= new.is_none();
        out
    }

    fn maps<'t>(
        &self,
        member: impl Fn(&str) -> TypeRef<'t>,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Difference {
        let mut out = Difference::default();
        let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
        zip_members(old, new, |name, old, new| {
            let below = self.walk(member(name), old, new);
            out.attach(PathElement::Field(name.clone()), below);
        });
        out
    }

    fn lists(&self, list: ListType<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
        let mut pairs: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for item in old.map_or(&[][..], Value::items) {
            if let Ok(step) = list.path_element(self.schema, item) {
                pairs.entry(step).or_default().0.push(item);
            }
        }
        for item in new.map_or(&[][..], Value::items) {
            if let Ok(step) = list.path_element(self.schema, item) {
                pairs.entry(step).or_default().1.push(item);
            }
        }
        let mut out = Difference::default();
        for (step, (old, new)) in pairs {
            let below = match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => self.walk(list.element, old.first().copied(), new.first().copied()),
                // Elements that share a key are owned together.
                ([_, _, ..], [_, _, ..]) => {
                    let mut below = Difference::default();
                    below.modified.member = old != new;
                    below
                }
                ([_, _, ..], _) => {
                    let mut below = match new.first() {
                        Some(new) => self.walk(list.element, None, Some(new)),
                        None => Difference::default(),
                    };
                    below.removed.member = true;
                    below
                }
                (_, _) => {
                    let mut below = match old.first() {
                        Some(old) => self.walk(list.element, Some(old), None),
                        None => Difference::default(),
                    };
                    below.added.member = true;
                    below
                }
            };
            out.attach(step, below);
        }
        out
    }
}

fn both_maps(old: Option<&Value>, new: Option<&Value>) -> bool {
    [old, new].into_iter().flatten().all(|v| v.is_object() || v.is_null())
}

/// Equal as JSON: `1` and `1.0` are one number.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(i), Value::Float(f)) | (Value::Float(f), Value::Int(i)) => *i as f64 == *f,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let mut equal = a.len() == b.len();
            if equal {
                zip_members(Some(a), Some(b), |_, a, b| {
                    equal &= matches!((a, b), (Some(a), Some(b)) if same(a, b));
                });
            }
            equal
        }
        (a, b) => a == b,
    }
}
