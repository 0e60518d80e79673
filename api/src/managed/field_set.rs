//! Sets of fields, as a trie of path elements.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::types::{Atom, TypeRef};
use crate::schema::Schema;
use crate::tree::{Key, Value};

/// One step from a value to a part of it.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// `f:name`: a member of an object.
    Field(Key),
    /// `k:{"name":"c"}`: the element of a keyed list with these members, sorted by name.
    Key(Vec<(Key, Value)>),
    /// `v:"x"`: this element of a set.
    Value(Value),
    /// `i:0`: an element by place; only old data has these.
    Index(i64),
}

/// What is known below one path element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// The path that ends here is in the set.
    pub member: bool,
    pub children: FieldSet,
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

impl PathElement {
    fn rank(&self) -> u8 {
        match self {
            PathElement::Field(_) => 0,
            PathElement::Key(_) => 1,
            PathElement::Value(_) => 2,
            PathElement::Index(_) => 3,
        }
    }
}

/// A total order of scalars (and, by their text, of the rest).
fn compare_values(a: &Value, b: &Value) -> Ordering {
    let rank = |v: &Value| match v {
        Value::Int(_) | Value::Float(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &PathElement) -> Ordering {
        match (self, other) {
            (PathElement::Field(a), PathElement::Field(b)) => a.cmp(b),
            (PathElement::Key(a), PathElement::Key(b)) => {
                for ((name_a, a), (name_b, b)) in a.iter().zip(b) {
                    let order = name_a.cmp(name_b).then_with(|| compare_values(a, b));
                    if order.is_ne() {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            (PathElement::Value(a), PathElement::Value(b)) => compare_values(a, b),
            (PathElement::Index(a), PathElement::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}
impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &PathElement) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for PathElement {
    fn eq(&self, other: &PathElement) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for PathElement {}

/// `.spec`, `[name="c"]`, `[="x"]`: as conflicts and errors name paths.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(members) => {
                f.write_str("[")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{name}={value}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            PathElement::Value(value) => write!(f, "[={value}]"),
            PathElement::Index(i) => write!(f, "[{i}]"),
        }
    }
}

impl Node {
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
    fn merge(&mut self, other: &Node) {
        self.member |= other.member;
        self.children.union_with(&other.children);
    }
}

impl FieldSet {
    pub const fn new() -> FieldSet {
        FieldSet { nodes: BTreeMap::new() }
    }
    /// A set of field names only: `FieldSet::of(&[&["spec", "replicas"]])`.
    pub fn of(paths: &[&[&'static str]]) -> FieldSet {
        let mut set = FieldSet::new();
        for path in paths {
            let steps: Vec<PathElement> =
                path.iter().map(|name| PathElement::Field(Key::Static(name))).collect();
            set.insert(&steps);
        }
        set
    }
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    pub fn nodes(&self) -> impl Iterator<Item = (&PathElement, &Node)> {
        self.nodes.iter()
    }
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut set = self;
        for step in parents {
            set = &mut set.nodes.entry(step.clone()).or_default().children;
        }
        set.nodes.entry(last.clone()).or_default().member = true;
    }
    /// Hangs `node` below `step`, if there is anything in it. The step must be new.
    pub(super) fn attach(&mut self, step: PathElement, node: Node) {
        if !node.is_empty() {
            self.nodes.insert(step, node);
        }
    }
    pub fn node(&self, step: &PathElement) -> Option<&Node> {
        self.nodes.get(step)
    }
    pub fn contains(&self, path: &[PathElement]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut set = self;
        for step in parents {
            match set.nodes.get(step) {
                Some(node) => set = &node.children,
                None => return false,
            }
        }
        set.nodes.get(last).is_some_and(|n| n.member)
    }

    pub fn union_with(&mut self, other: &FieldSet) {
        for (step, node) in &other.nodes {
            self.nodes.entry(step.clone()).or_default().merge(node);
        }
    }
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::new();
        for (step, a) in &self.nodes {
            if let Some(b) = other.nodes.get(step) {
                let children = a.children.intersection(&b.children);
                out.attach(step.clone(), Node { member: a.member && b.member, children });
            }
        }
        out
    }
    /// What is here and not in `other`. A path stays even where `other` has its parent.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.subtract(other, false)
    }
    /// What is here and neither in `other` nor below something in it.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        self.subtract(other, true)
    }
    fn subtract(&self, other: &FieldSet, below: bool) -> FieldSet {
        if other.is_empty() {
            return self.clone();
        }
        let mut out = FieldSet::new();
        for (step, a) in &self.nodes {
            match other.nodes.get(step) {
                None => out.attach(step.clone(), a.clone()),
                Some(b) if b.member && below => {}
                Some(b) => {
                    let children = a.children.subtract(&b.children, below);
                    out.attach(step.clone(), Node { member: a.member && !b.member, children });
                }
            }
        }
        out
    }
    /// With every named field of a struct that something lies below made a member itself.
    pub(super) fn with_named_parents(&self, schema: &Schema, ty: Option<TypeRef<'_>>) -> FieldSet {
        let atom = ty.map(|ty| ty.atom(schema));
        let mut out = FieldSet::new();
        for (step, node) in &self.nodes {
            let (below, named) = match (step, &atom) {
                (PathElement::Field(name), Some(Atom::Map(map))) => {
                    (Some(map.member(name)), map.declares(name) && !node.children.is_empty())
                }
                (PathElement::Key(_), Some(Atom::List(list))) => (Some(list.element), false),
                _ => (None, false),
            };
            let children = node.children.with_named_parents(schema, below);
            out.attach(step.clone(), Node { member: node.member || named, children });
        }
        out
    }
    /// The paths as text: at each level the members first, then what lies below.
    pub fn paths(&self) -> Vec<String> {
        fn walk(set: &FieldSet, prefix: &str, out: &mut Vec<String>) {
            for (step, _) in set.nodes.iter().filter(|(_, n)| n.member) {
                out.push(format!("{prefix}{step}"));
            }
            for (step, node) in set.nodes.iter().filter(|(_, n)| !n.children.is_empty()) {
                walk(&node.children, &format!("{prefix}{step}"), out);
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }
}
