//! `FieldsV1`: a set of fields as JSON.

use super::field_set::{FieldSet, PathElement};
use crate::tree::{Key, Map, Value};

/// Text in `fieldsV1` that is no path element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsV1Error {
    #[error("fieldsV1 must be an object")]
    NotAnObject,
    #[error("unknown path element {0:?}")]
    Element(String),
    #[error("fields are nested deeper than {FIELDS_DEPTH_MAX}")]
    TooDeep,
}

/// Levels of nesting that are read; more come from no schema.
pub const FIELDS_DEPTH_MAX: usize = 128;

impl PathElement {
    fn to_key(&self) -> Key {
        match self {
            PathElement::Field(name) => format!("f:{name}").into(),
            PathElement::Key(members) => {
                let mut map = Map::with_capacity(members.len());
                for (name, value) in members {
                    map.push_unique(name.clone(), value.clone());
                }
                format!("k:{}", Value::Object(map)).into()
            }
            PathElement::Value(value) => format!("v:{value}").into(),
            PathElement::Index(i) => format!("i:{i}").into(),
        }
    }

    fn from_key(text: &str) -> Result<PathElement, FieldsV1Error> {
        let unknown = || FieldsV1Error::Element(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "f" => Ok(PathElement::Field(rest.into())),
            "v" => serde_json::from_str(rest).map(PathElement::Value).map_err(|_| unknown()),
            "i" => rest.parse().map(PathElement::Index).map_err(|_| unknown()),
            "k" => {
                let map: Map = serde_json::from_str(rest).map_err(|_| unknown())?;
                let mut members: Vec<(Key, Value)> = map.into_iter().collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(PathElement::Key(members))
            }
            _ => Err(unknown()),
        }
    }
}

impl FieldSet {
    /// The value of `fieldsV1`.
    pub fn to_fields_v1(&self) -> Value {
        let mut map = Map::new();
        for (step, node) in self.nodes() {
            let mut below = Map::new();
            if node.member && !node.children.is_empty() {
                below.push_unique(Key::Static("."), Value::object());
            }
            if let Value::Object(children) = node.children.to_fields_v1() {
                children.into_iter().for_each(|(k, v)| below.push_unique(k, v));
            }
            map.push_unique(step.to_key(), Value::Object(below));
        }
        Value::Object(map)
    }

    /// Reads the value of `fieldsV1`; null is the empty set.
    pub fn from_fields_v1(fields: &Value) -> Result<FieldSet, FieldsV1Error> {
        let mut set = FieldSet::new();
        let mut path = Vec::new();
        if !fields.is_null() {
            read(fields, &mut path, &mut set)?;
        }
        Ok(set)
    }
}

fn read(fields: &Value, path: &mut Vec<PathElement>, out: &mut FieldSet) -> Result<(), FieldsV1Error> {
    let map = fields.as_object().ok_or(FieldsV1Error::NotAnObject)?;
    if path.len() > FIELDS_DEPTH_MAX {
        return Err(FieldsV1Error::TooDeep);
    }
    for (key, below) in map {
        if **key == *"." {
            out.insert(path);
            continue;
        }
        path.push(PathElement::from_key(key)?);
        if below.as_object().is_some_and(Map::is_empty) {
            out.insert(path);
        } else {
            read(below, path, out)?;
        }
        path.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn reads_and_writes() {
        let fields = value!({
            "f:metadata": {"f:finalizers": {".": {}, "v:\"x.example.com/a\"": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}},
                "f:list": {"i:3": {}},
            },
        });
        let set = FieldSet::from_fields_v1(&fields).unwrap();
        assert_eq!(set.to_fields_v1(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.finalizers",
                ".metadata.finalizers[=\"x.example.com/a\"]",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image",
                ".spec.list[3]",
            ]
        );
    }

    #[test]
    fn refuses_other_text() {
        for bad in
            [value!({"x:y": {}}), value!({"name": {}}), value!({"k:[]": {}}), value!({"i:x": {}}), value!([])]
        {
            assert!(FieldSet::from_fields_v1(&bad).is_err(), "{bad}");
        }
        let deep = (0..=FIELDS_DEPTH_MAX + 1).fold(Value::object(), |v, _| {
            let mut map = Map::new();
            map.insert("f:x", v);
            Value::Object(map)
        });
        assert_eq!(FieldSet::from_fields_v1(&deep), Err(FieldsV1Error::TooDeep));
    }

    #[test]
    fn sets_behave_as_sets() {
        let set = |v: Value| FieldSet::from_fields_v1(&v).unwrap();
        let a = set(value!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {}}));
        let b = set(value!({"f:a": {".": {}, "f:y": {}}, "f:c": {}}));
        assert_eq!(a.intersection(&b), set(value!({"f:a": {".": {}, "f:y": {}}})));
        assert_eq!(a.difference(&b), set(value!({"f:a": {"f:x": {}}, "f:b": {}})));
        assert_eq!(a.recursive_difference(&b), set(value!({"f:b": {}})));
        let mut union = a.clone();
        union.union_with(&b);
        assert_eq!(union, set(value!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {}, "f:c": {}})));
        assert!(a.contains(&[PathElement::Field("a".into()), PathElement::Field("x".into())]));
        assert!(
            FieldSet::of(&[&["spec", "replicas"]])
                .difference(&FieldSet::of(&[&["spec", "replicas"]]))
                .is_empty()
        );
    }
}
