//! The one tree: what every codec, patch, default and validation walks.
//!
//! Like `serde_json::Value`, with three differences that matter here: field names of the schema are
//! `&'static str` and cost no allocation, maps keep their order and are small vectors (objects
//! have few fields; the normal form needs Go's order), integers and floats are told apart.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, Index};

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name in a map: a field of the schema (static) or text from a document.
#[derive(Clone)]
pub enum Key {
    Static(&'static str),
    Owned(Box<str>),
}

impl Deref for Key {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Key::Static(s) => s,
            Key::Owned(s) => s,
        }
    }
}
impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        **self == **other
    }
}
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
impl From<&str> for Key {
    fn from(s: &str) -> Key {
        Key::Owned(s.into())
    }
}
impl From<String> for Key {
    fn from(s: String) -> Key {
        Key::Owned(s.into())
    }
}

/// Up to this many keys a map is searched from end to end; where more may come from outside,
/// [`SeenKeys`] is used.
const LINEAR_MAX: usize = 32;

/// Finds keys of a map that grows by pushing, in constant time once it is big.
#[derive(Default)]
pub(crate) struct SeenKeys {
    places: HashMap<Box<str>, usize>,
}

impl SeenKeys {
    /// Where `key` is in `map`, to which entries were only ever pushed since the last call.
    pub(crate) fn position(&mut self, map: &Map, key: &str) -> Option<usize> {
        if map.len() <= LINEAR_MAX {
            return map.position(key);
        }
        for i in self.places.len()..map.len() {
            self.places.insert((*map.entries[i].0).into(), i);
        }
        self.places.get(key).copied()
    }
}

/// A JSON object in document order. Look-ups are linear up to the size where maps of user data
/// (labels, ConfigMap data) stay small; keys are unique.
#[derive(Clone, Default)]
pub struct Map {
    entries: Vec<(Key, Value)>,
}

impl Map {
    pub const fn new() -> Map {
        Map { entries: Vec::new() }
    }
    pub fn with_capacity(n: usize) -> Map {
        Map { entries: Vec::with_capacity(n) }
    }
    /// Of repeated keys the last value stays, in the first one's place. Not quadratic, however many.
    pub fn from_entries(entries: Vec<(Key, Value)>) -> Map {
        let mut seen = SeenKeys::default();
        let mut map = Map::with_capacity(entries.len());
        for (key, value) in entries {
            match seen.position(&map, &key) {
                Some(i) => map.entries[i].1 = value,
                None => map.entries.push((key, value)),
            }
        }
        map
    }
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    fn position(&self, key: &str) -> Option<usize> {
        self.entries.iter().position(|(k, _)| **k == *key)
    }
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|i| &self.entries[i].1)
    }
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.position(key).map(|i| &mut self.entries[i].1)
    }
    /// Sets `key`, in place if it exists, else at the end. Returns what was there.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Some(i) => Some(std::mem::replace(&mut self.entries[i].1, value)),
            None => {
                self.entries.push((key, value));
                None
            }
        }
    }
    /// Sets a field of the schema without copying its name.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.insert(Key::Static(key), value);
    }
    /// Appends without looking for the key: the caller knows that it is not there.
    pub fn push_unique(&mut self, key: Key, value: Value) {
        self.entries.push((key, value));
    }
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).map(|i| self.entries.remove(i).1)
    }
    /// The value of `key`, put there first by `default` if absent.
    pub fn entry_or(&mut self, key: impl Into<Key>, default: impl FnOnce() -> Value) -> &mut Value {
        let key = key.into();
        let i = self.position(&key).unwrap_or_else(|| {
            self.entries.push((key, default()));
            self.entries.len() - 1
        });
        &mut self.entries[i].1
    }
    /// The map at `key`, made if it is absent or null.
    pub fn object_mut(&mut self, key: impl Into<Key>) -> &mut Map {
        let v = self.entry_or(key, || Value::Object(Map::new()));
        if !v.is_object() {
            *v = Value::Object(Map::new());
        }
        v.as_object_mut().expect("just made an object")
    }
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, &Value)> + ExactSizeIterator {
        self.entries.iter().map(|(k, v)| (k, v))
    }
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Key, &mut Value)> {
        self.entries.iter_mut().map(|(k, v)| (&*k, v))
    }
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().map(|(k, _)| k)
    }
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(_, v)| v)
    }
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.entries.iter_mut().map(|(_, v)| v)
    }
    pub fn retain(&mut self, mut keep: impl FnMut(&Key, &mut Value) -> bool) {
        self.entries.retain_mut(|(k, v)| keep(k, v));
    }
    /// The entries as they lie in memory, for codecs and the normal form.
    pub fn entries(&self) -> &[(Key, Value)] {
        &self.entries
    }
    pub fn entries_mut(&mut self) -> &mut Vec<(Key, Value)> {
        &mut self.entries
    }
    pub fn sort_by_key(&mut self) {
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
}

/// Order does not matter: a JSON object is a set of members.
impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        if self.len() != other.len() {
            return false;
        }
        // Both are mostly in the same order; big maps that are not are compared sorted, so that
        // nobody can make this quadratic.
        if self.entries.iter().zip(&other.entries).all(|(a, b)| a.0 == b.0) {
            return self.values().eq(other.values());
        }
        if self.len() <= LINEAR_MAX {
            return self.iter().all(|(k, v)| other.get(k) == Some(v));
        }
        let sorted = |map: &Map| {
            let mut order: Vec<usize> = (0..map.len()).collect();
            order.sort_by(|&a, &b| map.entries[a].0.cmp(&map.entries[b].0));
            order
        };
        let pairs = sorted(self).into_iter().zip(sorted(other));
        pairs.into_iter().all(|(a, b)| self.entries[a] == other.entries[b])
    }
}
impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
impl<K: Into<Key>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Map {
        Map::from_entries(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}
impl IntoIterator for Map {
    type Item = (Key, Value);
    type IntoIter = std::vec::IntoIter<(Key, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
impl<'a> IntoIterator for &'a Map {
    type Item = &'a (Key, Value);
    type IntoIter = std::slice::Iter<'a, (Key, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

/// A node of the tree.
#[derive(Clone, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Box<str>),
    Array(Vec<Value>),
    Object(Map),
}

/// What `Index` gives for a path that is not there.
static NULL: Value = Value::Null;

impl Value {
    pub fn object() -> Value {
        Value::Object(Map::new())
    }
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
    pub fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }
    pub fn is_array(&self) -> bool {
        matches!(self, Value::Array(_))
    }
    pub fn is_string(&self) -> bool {
        matches!(self, Value::String(_))
    }
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }
    /// Integers, and floats without a fraction.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(i) => Some(*i),
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 9.0e15 => Some(*f as i64),
            _ => None,
        }
    }
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }
    /// The text, or "" for anything else: for fields where Go would have the zero value.
    pub fn str_or_empty(&self) -> &str {
        self.as_str().unwrap_or("")
    }
    pub fn as_array(&self) -> Option<&Vec<Value>> {
        match self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }
    /// The elements, none for anything but an array.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(a) => a,
            _ => &[],
        }
    }
    pub fn items_mut(&mut self) -> &mut [Value] {
        match self {
            Value::Array(a) => a,
            _ => &mut [],
        }
    }
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Value::Object(m) => Some(m),
            _ => None,
        }
    }
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Object(m) => Some(m),
            _ => None,
        }
    }
    /// The members, none for anything but an object.
    pub fn members(&self) -> &[(Key, Value)] {
        match self {
            Value::Object(m) => m.entries(),
            _ => &[],
        }
    }
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object().and_then(|m| m.get(key))
    }
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut().and_then(|m| m.get_mut(key))
    }
    /// Follows field names from here; `None` where one is absent.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |v, key| v.get(key))
    }
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |v, key| v.get_mut(key))
    }
    /// Follows field names and makes the objects on the way.
    pub fn make(&mut self, path: &[&'static str]) -> &mut Map {
        if !self.is_object() {
            *self = Value::object();
        }
        let mut map = self.as_object_mut().expect("just made an object");
        for key in path {
            map = map.object_mut(Key::Static(key));
        }
        map
    }
    /// An RFC 6901 pointer.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |v, token| {
            let token = if token.contains('~') {
                Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
            } else {
                Cow::Borrowed(token)
            };
            match v {
                Value::Object(m) => m.get(&token),
                Value::Array(a) => token.parse::<usize>().ok().and_then(|i| a.get(i)),
                _ => None,
            }
        })
    }
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }
    pub fn kind_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Float(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}
impl Index<usize> for Value {
    type Output = Value;
    fn index(&self, i: usize) -> &Value {
        self.as_array().and_then(|a| a.get(i)).unwrap_or(&NULL)
    }
}
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => b.fmt(f),
            Value::Int(i) => i.fmt(f),
            Value::Float(x) => x.fmt(f),
            Value::String(s) => fmt::Debug::fmt(s, f),
            Value::Array(a) => f.debug_list().entries(a).finish(),
            Value::Object(m) => m.fmt(f),
        }
    }
}
/// Compact JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

macro_rules! from {
    ($($t:ty => |$x:ident| $e:expr),+ $(,)?) => {$(
        impl From<$t> for Value { fn from($x: $t) -> Value { $e } }
    )+};
}
from! {
    bool => |b| Value::Bool(b),
    i32 => |i| Value::Int(i.into()),
    i64 => |i| Value::Int(i),
    u16 => |i| Value::Int(i.into()),
    u32 => |i| Value::Int(i.into()),
    usize => |i| Value::Int(i as i64),
    f64 => |f| Value::Float(f),
    &str => |s| Value::String(s.into()),
    String => |s| Value::String(s.into()),
    Box<str> => |s| Value::String(s),
    Map => |m| Value::Object(m),
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Value {
        Value::Array(v.into_iter().map(Into::into).collect())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Value {
        v.map_or(Value::Null, Into::into)
    }
}
impl From<serde_json::Value> for Value {
    fn from(v: serde_json::Value) -> Value {
        match v {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(b) => Value::Bool(b),
            serde_json::Value::Number(n) => {
                n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int)
            }
            serde_json::Value::String(s) => Value::String(s.into()),
            serde_json::Value::Array(a) => Value::Array(a.into_iter().map(Into::into).collect()),
            serde_json::Value::Object(m) => {
                Value::Object(Map { entries: m.into_iter().map(|(k, v)| (k.into(), v.into())).collect() })
            }
        }
    }
}
impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}
impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => s.serialize_unit(),
            Value::Bool(b) => s.serialize_bool(*b),
            Value::Int(i) => s.serialize_i64(*i),
            Value::Float(f) => s.serialize_f64(*f),
            Value::String(x) => s.serialize_str(x),
            Value::Array(a) => s.collect_seq(a),
            Value::Object(m) => m.serialize(s),
        }
    }
}
impl Serialize for Map {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.entries.iter().map(|(k, v)| (&**k, v)))
    }
}

/// Lenient: of a repeated key the last value stays. `codec::json` reports repeats.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
                Ok(Value::Bool(b))
            }
            fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
                Ok(Value::Int(i))
            }
            fn visit_u64<E>(self, u: u64) -> Result<Value, E> {
                Ok(i64::try_from(u).map_or(Value::Float(u as f64), Value::Int))
            }
            fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
                Ok(Value::Float(f))
            }
            fn visit_str<E>(self, s: &str) -> Result<Value, E> {
                Ok(s.into())
            }
            fn visit_string<E>(self, s: String) -> Result<Value, E> {
                Ok(s.into())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut out = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1024));
                while let Some(v) = seq.next_element()? {
                    out.push(v);
                }
                Ok(Value::Array(out))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((k, v)) = access.next_entry::<String, Value>()? {
                    entries.push((Key::from(k), v));
                }
                Ok(Value::Object(Map::from_entries(entries)))
            }
        }
        d.deserialize_any(V)
    }
}
impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Map, D::Error> {
        match Value::deserialize(d)? {
            Value::Object(m) => Ok(m),
            other => Err(de::Error::custom(format!("expected an object, got {}", other.kind_name()))),
        }
    }
}

/// A `Value` written as JSON: `value!({"spec": {"replicas": 3}})`.
#[macro_export]
macro_rules! value {
    ($($json:tt)+) => { $crate::Value::from($crate::tree::json::json!($($json)+)) };
}
#[doc(hidden)]
pub use serde_json as json;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_maps_are_not_quadratic() {
        const MANY: usize = 20_000;
        let entry = |i: usize| (Key::from(format!("key-{i}")), Value::from(i));
        let up: Map = (0..MANY).map(entry).collect();
        let down: Map = (0..MANY).rev().chain([7]).map(entry).collect();
        assert_eq!(up.len(), MANY);
        assert_eq!(up, down);
        let text = serde_json::to_string(&down).unwrap();
        assert_eq!(serde_json::from_str::<Map>(&text).unwrap(), up);
        let parsed = crate::codec::json::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.value, Value::Object(up));
        let schema = crate::schema::builtin();
        let body = text.replace(":", ":\"").replace(",", "\",").replace('}', "\"}");
        let body = format!("{{\"data\":{body}}}");
        let message = schema.find("core/v1.ConfigMap").unwrap();
        let decoded = crate::codec::json::decode(schema, message, body.as_bytes()).unwrap();
        assert_eq!(decoded.value["data"].members().len(), MANY);
    }

    #[test]
    fn values_read_and_write_json() {
        let v: Value = serde_json::from_str(r#"{"a":[1,2.5,"x",null,true],"b":{"c":-1}}"#).unwrap();
        assert_eq!(v["a"][1], Value::Float(2.5));
        assert_eq!(v.pointer("/b/c").and_then(Value::as_i64), Some(-1));
        assert_eq!(v["nope"]["x"], Value::Null);
        assert_eq!(v.to_string(), r#"{"a":[1,2.5,"x",null,true],"b":{"c":-1}}"#);
        assert_eq!(v, value!({"b": {"c": -1}, "a": [1, 2.5, "x", null, true]}));
    }
}
