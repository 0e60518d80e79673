//! One object as the cache holds it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use trireme_api::Object;
use trireme_api::kinds::Kind;
use trireme_api::load::Loaded;

use crate::wire;

/// An object at one revision: what selectors need, and the bytes it is served in.
pub(crate) struct Entry {
    row: &'static Kind,
    /// What follows the kind's prefix: `default/a`, or `a`.
    pub(crate) key: Box<str>,
    pub(crate) revision: i64,
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the kind's selectable fields, in the row's order.
    pub(crate) fields: Box<[Box<str>]>,
    /// JSON of the storage version in normal form, beginning with kind and apiVersion.
    pub(crate) json: Bytes,
    /// Length of `{"kind":...,"apiVersion":...,`: lists leave it out of their items.
    head: usize,
    /// The tree, for as long as somebody uses it.
    object: Mutex<Weak<Object>>,
}

/// An object's key below its kind's prefix.
pub(crate) fn key_of(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Entry {
    /// From what is stored.
    pub(crate) fn load(
        row: &'static Kind,
        key: &str,
        stored: &[u8],
        revision: i64,
    ) -> Result<Entry, wire::LoadError> {
        Ok(Entry::new(row, key, wire::load(row, stored, revision)?, revision))
    }

    fn new(row: &'static Kind, key: &str, loaded: Loaded, revision: i64) -> Entry {
        let labels = loaded.labels().members().iter();
        Entry {
            row,
            key: key.into(),
            revision,
            labels: labels.map(|(k, v)| (Box::from(&**k), Box::from(v.str_or_empty()))).collect(),
            head: loaded.type_meta.max(1),
            fields: loaded.fields.into_iter().map(String::into_boxed_str).collect(),
            json: loaded.served,
            object: Mutex::new(Weak::new()),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(crate) fn name(&self) -> &str {
        self.key.rsplit_once('/').map_or(&self.key, |(_, name)| name)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }

    /// The tree, shared by all who hold it.
    pub(crate) fn object(&self) -> Arc<Object> {
        let mut shared = self.object.lock();
        if let Some(object) = shared.upgrade() {
            return object;
        }
        let value = wire::parse_served(self.row, &self.json);
        let object = Arc::new(Object(value));
        *shared = Arc::downgrade(&object);
        object
    }

    /// What a list writes after the opening brace of this item.
    pub(crate) fn list_item(&self) -> &[u8] {
        &self.json[self.head..]
    }

    /// The same object with another `resourceVersion`, as a deletion shows it.
    pub(crate) fn json_at(&self, revision: i64) -> Bytes {
        if revision == self.revision {
            return self.json.clone();
        }
        const FIELD: &[u8] = b"\"resourceVersion\":\"";
        // Quotes within strings are escaped, so the first match is the field itself.
        let Some(start) = self.json.windows(FIELD.len()).position(|w| w == FIELD).map(|i| i + FIELD.len())
        else {
            return self.json.clone();
        };
        let end = start + self.json[start..].iter().position(|b| *b == b'"').unwrap_or(0);
        let mut out = Vec::with_capacity(self.json.len() + 4);
        out.extend_from_slice(&self.json[..start]);
        out.extend_from_slice(revision.to_string().as_bytes());
        out.extend_from_slice(&self.json[end..]);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::{Value, kinds, value};

    #[test]
    fn the_tree_is_the_object_that_was_stored() {
        let (row, _) = kinds::find("", "v1", "pods").unwrap();
        let stored = value!({
            "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "n"},
            "status": {"conditions": [{"type": "X", "status": "True"}]},
        });
        let loaded = wire::load(row, stored.to_string().as_bytes(), 7).unwrap();
        let entry = Entry::new(row, "n/a", wire::load(row, stored.to_string().as_bytes(), 7).unwrap(), 7);
        assert_eq!(entry.object().0, loaded.object);
        assert_eq!(entry.object()["status"]["conditions"][0].get("lastProbeTime"), Some(&Value::Null));
    }

    #[test]
    fn an_entry_gives_its_bytes_for_lists_and_deletions() {
        let (row, _) = kinds::find("", "v1", "pods").unwrap();
        let stored = value!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "\"resourceVersion\":\"1\"", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"nodeName": "x"},
        });
        let e = Entry::load(row, "n/a", stored.to_string().as_bytes(), 7).unwrap();
        assert_eq!((e.namespace(), e.name(), e.label("a")), ("n", "a", Some("b")));
        assert_eq!(&*e.fields[0], "x");
        assert!(e.list_item().starts_with(b"\"metadata\":"));
        let deleted: Value = serde_json::from_slice(&e.json_at(12)).unwrap();
        assert_eq!(deleted["metadata"]["resourceVersion"], "12");
        assert_eq!(deleted["metadata"]["name"], "\"resourceVersion\":\"1\"");
        let held = e.object();
        assert!(Arc::ptr_eq(&held, &e.object()), "one tree for all who hold it");
    }
}
