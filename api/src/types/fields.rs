//! Reading and filling messages as Go's structs are: what is absent has the zero value, a pointer
//! is set or not.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::{Key, Map, Value};

/// Field access with Go's zero values.
pub trait Fields {
    fn field(&self, name: &str) -> &Value;

    /// A pointer, message or list that is there (null is not).
    fn has(&self, name: &str) -> bool {
        !self.field(name).is_null()
    }
    fn opt(&self, name: &str) -> Option<&Value> {
        Some(self.field(name)).filter(|v| !v.is_null())
    }
    fn text(&self, name: &str) -> &str {
        self.field(name).str_or_empty()
    }
    fn opt_text(&self, name: &str) -> Option<&str> {
        self.field(name).as_str()
    }
    fn int(&self, name: &str) -> i64 {
        self.opt_int(name).unwrap_or(0)
    }
    fn opt_int(&self, name: &str) -> Option<i64> {
        self.field(name).as_i64()
    }
    fn flag(&self, name: &str) -> bool {
        self.opt_flag(name).unwrap_or(false)
    }
    fn opt_flag(&self, name: &str) -> Option<bool> {
        self.field(name).as_bool()
    }
    fn list(&self, name: &str) -> &[Value] {
        self.field(name).items()
    }
    /// The members of a map, in document order.
    fn pairs(&self, name: &str) -> &[(Key, Value)] {
        self.field(name).members()
    }
}

impl Fields for Value {
    fn field(&self, name: &str) -> &Value {
        &self[name]
    }
}

/// Go's zero value of any type but a pointer: "", 0, false, an empty list or map.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Int(i) => *i == 0,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(m) => m.is_empty(),
    }
}

/// Filling in what a client left out.
pub trait Fill {
    /// Sets a field that is not a pointer when it has its zero value.
    fn fill_zero(&mut self, name: &'static str, value: impl Into<Value>);
    /// Sets a pointer, or a field without a zero of its own, when it is absent.
    fn fill_absent(&mut self, name: &'static str, value: impl Into<Value>);
    /// Applies `f` to each element of a list.
    fn each(&mut self, name: &str, f: impl FnMut(&mut Value));
    /// Applies `f` to a message, where it is set.
    fn within(&mut self, name: &str, f: impl FnOnce(&mut Value));
    /// The message `name`, made if it is absent: for messages that are not pointers.
    fn message(&mut self, name: &'static str) -> &mut Value;
    /// Sets a field; the receiver becomes an object if it is not one.
    fn put(&mut self, name: &'static str, value: impl Into<Value>);
    fn drop_field(&mut self, name: &str) -> Option<Value>;
}

impl Fill for Value {
    fn fill_zero(&mut self, name: &'static str, value: impl Into<Value>) {
        if is_zero(&self[name]) {
            self.put(name, value);
        }
    }
    fn fill_absent(&mut self, name: &'static str, value: impl Into<Value>) {
        if self[name].is_null() {
            self.put(name, value);
        }
    }
    fn each(&mut self, name: &str, f: impl FnMut(&mut Value)) {
        if let Some(list) = self.get_mut(name) {
            list.items_mut().iter_mut().for_each(f);
        }
    }
    fn within(&mut self, name: &str, f: impl FnOnce(&mut Value)) {
        if let Some(v) = self.get_mut(name).filter(|v| !v.is_null()) {
            f(v);
        }
    }
    fn message(&mut self, name: &'static str) -> &mut Value {
        let map = self.make(&[]);
        let v = map.entry_or(Key::Static(name), Value::object);
        if v.is_null() {
            *v = Value::object();
        }
        v
    }
    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.make(&[]).set(name, value);
    }
    fn drop_field(&mut self, name: &str) -> Option<Value> {
        self.as_object_mut().and_then(|m| m.remove(name))
    }
}

/// A map with its keys in order, as Go prints one.
pub fn sorted(value: &Value) -> Value {
    let mut map = match value {
        Value::Object(m) => m.clone(),
        other => return other.clone(),
    };
    map.sort_by_key();
    Value::Object(map)
}

/// How upstream prints a struct of its internal types in an error: every field, in order.
pub fn struct_shown<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    let mut map = Map::with_capacity(N);
    for (name, value) in fields {
        map.push_unique(Key::Static(name), value);
    }
    Value::Object(map)
}

/// One `Invalid` per message.
pub fn invalid_each<M: Into<String>>(
    errs: &mut ErrorList,
    path: &Path<'_>,
    value: &str,
    messages: impl IntoIterator<Item = M>,
) {
    errs.extend(messages.into_iter().map(|m| FieldError::invalid(path, value, m)));
}

/// A value that must be one of `accepted`, listed in the error in that order.
pub fn one_of(errs: &mut ErrorList, path: &Path<'_>, value: &str, accepted: &[&str]) {
    if !accepted.contains(&value) {
        errs.push(FieldError::not_supported(path, value, accepted));
    }
}

/// Like [`one_of`], and `Required` where it is empty.
pub fn required_one_of(errs: &mut ErrorList, path: &Path<'_>, value: &str, accepted: &[&str]) {
    if value.is_empty() {
        errs.push(FieldError::required(path, ""));
    } else {
        one_of(errs, path, value, accepted);
    }
}

pub fn required_text(errs: &mut ErrorList, path: &Path<'_>, value: &str) {
    if value.is_empty() {
        errs.push(FieldError::required(path, ""));
    }
}

pub const IS_NEGATIVE: &str = "must be greater than or equal to 0";
pub const NOT_POSITIVE: &str = "must be greater than zero";
pub const IMMUTABLE: &str = "field is immutable";

pub fn non_negative(errs: &mut ErrorList, path: &Path<'_>, value: i64) {
    if value < 0 {
        errs.push(FieldError::invalid(path, value, IS_NEGATIVE));
    }
}

/// `field is immutable` where `new` and `old` differ. Absent and zero are alike, as they are to
/// upstream's semantic equality.
pub fn immutable(errs: &mut ErrorList, path: &Path<'_>, new: &Value, old: &Value) {
    if !same(new, old) {
        errs.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
    }
}

/// Upstream's semantic equality: empty and absent lists, maps and messages are alike.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            let half = |x: &Map, y: &Map| x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)));
            half(x, y) && half(y, x)
        }
        (Value::Null, other) | (other, Value::Null) => match other {
            Value::Array(a) => a.is_empty(),
            Value::Object(m) => m.iter().all(|(_, v)| same(v, &Value::Null)),
            Value::String(s) => s.is_empty(),
            Value::Null => true,
            _ => false,
        },
        _ => a == b,
    }
}
