//! The one normal form: what Go would emit after reading an object into its types.
//!
//! Fields in Go's order, keys of maps sorted, zero values that may vanish gone, those that may not
//! there (`resources: {}`, `status: {}`, `containers: null`), quantities and times canonical,
//! unknown fields dropped. Normalizing twice changes nothing.

use crate::quantity::Quantity;
use crate::schema::{Field, Message, MessageId, Schema, SchemaOr, Type};
use crate::time;
use crate::tree::{Key, Map, Value};

/// Brings `value`, a `message`, into the normal form. Values whose type is not their field's are
/// left alone: decoding has refused them, and what is built in process is tested.
pub fn normalize(schema: &Schema, id: MessageId, value: &mut Value) {
    if !value.is_object() {
        *value = Value::object();
    }
    if let Value::Object(map) = value {
        let message = schema.message(id);
        Normalizer { schema, keep_empty: stored_as_json(message) }.message(message, map);
    }
}

/// The normal form of a custom resource: Go holds it as maps, so every key is sorted; only its
/// metadata has a type.
pub fn normalize_custom(value: &mut Value) {
    let schema = crate::schema::builtin();
    if let (Some(id), Some(metadata)) = (schema.find("meta/v1.ObjectMeta"), value.get_mut("metadata")) {
        normalize(schema, id, metadata);
    }
    sort_keys(value);
}

fn sort_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            sort_map(map);
            map.values_mut().for_each(sort_keys);
        }
        Value::Array(list) => list.iter_mut().for_each(sort_keys),
        _ => {}
    }
}

/// An empty list that may not vanish is nil for kinds that upstream stores as protobuf, which
/// cannot tell the two apart; for those it stores as JSON it stays.
fn stored_as_json(message: &Message) -> bool {
    message.name.starts_with("apiextensions/") || message.name.starts_with("apiregistration/")
}

struct Normalizer<'a> {
    schema: &'a Schema,
    keep_empty: bool,
}

impl Normalizer<'_> {
    fn message(&self, message: &Message, map: &mut Map) {
        let entries = map.entries_mut();
        let mut expected = 0;
        let mut sorted = true;
        // One bit per field. Only messages of custom resources could have more fields than that,
        // and of theirs none has to appear.
        let bit = |index: usize| 1u128.checked_shl(index as u32).unwrap_or(0);
        let mut present = 0u128;
        entries.retain_mut(|(key, value)| {
            let Some(index) = message.index_from(expected, key) else {
                sorted &= !message.preserve_unknown;
                return message.preserve_unknown;
            };
            let field = &message.fields[index];
            if matches!(key, Key::Owned(_)) {
                *key = Key::Static(field.json);
            }
            if !self.field(field, value) {
                return false;
            }
            sorted &= index >= expected;
            expected = index + 1;
            present |= bit(index);
            true
        });
        if !sorted {
            let place = |key: &Key| message.index.get(&**key).copied().unwrap_or(usize::MAX);
            entries.sort_by(|a, b| place(&a.0).cmp(&place(&b.0)).then_with(|| a.0.cmp(&b.0)));
        }
        for &index in &message.always {
            if present & bit(index) == 0 {
                let at = (present & bit(index).wrapping_sub(1)).count_ones() as usize;
                let field = &message.fields[index];
                entries.insert(at, (Key::Static(field.json), self.absent(field)));
                present |= bit(index);
            }
        }
    }

    /// What Go emits for a field that nothing set and that may not vanish.
    fn absent(&self, field: &Field) -> Value {
        if field.pointer {
            return Value::Null;
        }
        match &field.ty {
            Type::Message(id) => {
                let mut map = Map::new();
                self.message(self.schema.message(*id), &mut map);
                Value::Object(map)
            }
            Type::Bool => Value::Bool(false),
            Type::Int32 | Type::Int64 | Type::IntOrString => Value::Int(0),
            Type::Float => Value::Int(0),
            Type::String => Value::from(""),
            Type::Quantity => Value::from("0"),
            Type::Duration => Value::from("0s"),
            _ => Value::Null,
        }
    }

    /// Normalizes a field's value; false if the field is to go (it comes back as
    /// [`Self::absent`] where it may not vanish).
    fn field(&self, field: &Field, value: &mut Value) -> bool {
        if value.is_null() {
            return false;
        }
        self.value(&field.ty, value);
        let zero = match (&field.ty, &*value) {
            (Type::List(_), Value::Array(list)) => {
                list.is_empty() && (field.omitempty || !(self.keep_empty || field.json == "items"))
            }
            (Type::Map(_), Value::Object(map)) => map.is_empty() && field.omitempty,
            _ if field.pointer || field.is_struct() => false,
            (_, Value::String(s)) => s.is_empty() && field.omitempty,
            (_, Value::Bool(b)) => !b && field.omitempty,
            (_, Value::Int(i)) => *i == 0 && field.omitempty,
            (_, Value::Float(f)) => *f == 0.0 && field.omitempty,
            _ => false,
        };
        !zero
    }

    fn value(&self, ty: &Type, value: &mut Value) {
        match (ty, &mut *value) {
            (Type::Message(id), Value::Object(map)) => self.message(self.schema.message(*id), map),
            (Type::List(item), Value::Array(_))
                if matches!(**item, Type::String | Type::Int32 | Type::Int64 | Type::Bool) => {}
            (Type::List(item), Value::Array(list)) => list.iter_mut().for_each(|v| self.element(item, v)),
            (Type::Map(item), Value::Object(map)) => {
                sort_map(map);
                for v in map.values_mut() {
                    self.element(item, v);
                }
            }
            (Type::Quantity, v) => quantity(v),
            (Type::Time, Value::String(s)) => {
                if !is_canonical_time(s)
                    && let Ok(moment) = time::parse_time(s)
                {
                    *value = moment.to_time().into();
                }
            }
            (Type::SchemaOr(other, id), v) => match (other, v) {
                (_, Value::Object(map)) => self.message(self.schema.message(*id), map),
                (SchemaOr::Schemas, Value::Array(list)) => {
                    for v in list {
                        self.element(&Type::Message(*id), v);
                    }
                }
                _ => {}
            },
            (Type::Int32 | Type::Int64, Value::Float(f)) if f.fract() == 0.0 => {
                *value = Value::Int(*f as i64)
            }
            _ => {}
        }
    }

    /// An element of a list or map: nil is its zero value.
    fn element(&self, ty: &Type, value: &mut Value) {
        if value.is_null() {
            *value = match ty {
                Type::String | Type::Bytes => Value::from(""),
                Type::Quantity => Value::from("0"),
                Type::Message(_) => Value::object(),
                _ => return,
            };
        }
        self.value(ty, value);
    }
}

fn sort_map(map: &mut Map) {
    if !map.entries().is_sorted_by(|a, b| a.0 < b.0) {
        map.sort_by_key();
    }
}

fn quantity(value: &mut Value) {
    let canonical = match &*value {
        Value::String(s) => match s.parse::<Quantity>() {
            Ok(q) => q.to_string(),
            Err(_) => return,
        },
        Value::Int(_) | Value::Float(_) => match Quantity::from_value(value) {
            Ok(q) => q.to_string(),
            Err(_) => return,
        },
        _ => return,
    };
    if *value != canonical.as_str() {
        *value = canonical.into();
    }
}

/// `2026-01-02T03:04:05Z`.
fn is_canonical_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use crate::value;

    fn check(message: &str, input: Value, expected: &str) {
        let schema = builtin();
        let id = schema.find(message).unwrap();
        let mut value = input;
        normalize(schema, id, &mut value);
        assert_eq!(value.to_string(), expected);
        normalize(schema, id, &mut value);
        assert_eq!(value.to_string(), expected, "twice");
    }

    #[test]
    fn a_pod_has_gos_form() {
        check(
            "core/v1.Pod",
            value!({
                "spec": {
                    "nodeSelector": {"b": "1", "a": "2"},
                    "hostNetwork": false,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}, "args": [], "name": "a"}],
                    "nonsense": 1,
                },
                "apiVersion": "v1",
                "metadata": {"name": "x", "creationTimestamp": null, "labels": {}},
                "kind": "Pod",
            }),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}],"terminationGracePeriodSeconds":0,"nodeSelector":{"a":"2","b":"1"}},"status":{}}"#,
        );
    }

    #[test]
    fn what_may_not_vanish_appears() {
        check(
            "apps/v1.Deployment",
            value!({"kind": "Deployment"}),
            r#"{"kind":"Deployment","metadata":{},"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"strategy":{}},"status":{}}"#,
        );
        check("rbac/v1.ClusterRole", value!({"rules": []}), r#"{"metadata":{},"rules":null}"#);
        check(
            "core/v1.Event",
            value!({}),
            r#"{"metadata":{},"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""}"#,
        );
    }

    #[test]
    fn custom_resources_are_sorted() {
        let mut v = value!({"spec": {"b": 1, "a": [{"d": 1, "c": 0}]}, "metadata": {"name": "a", "labels": {}, "generation": 0}, "kind": "K"});
        normalize_custom(&mut v);
        assert_eq!(
            v.to_string(),
            r#"{"kind":"K","metadata":{"name":"a"},"spec":{"a":[{"c":0,"d":1}],"b":1}}"#
        );
    }

    #[test]
    fn no_message_has_too_many_fields() {
        assert!(builtin().messages.iter().all(|m| m.fields.len() < 128));
    }
}
