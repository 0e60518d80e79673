//! The objects of one collection, by namespace and name, with indexes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use trireme_api::Object;

use super::Change;

type IndexFn = fn(&Object) -> Vec<String>;

/// `<namespace>/<name>`, or `<name>` for what has no namespace.
pub fn key_of(object: &Object) -> String {
    match object.namespace() {
        "" => object.name().to_owned(),
        namespace => format!("{namespace}/{}", object.name()),
    }
}

/// Namespace ("" for none) and name of a key.
pub fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

/// What an informer knows. Reads never wait for the network.
#[derive(Default)]
pub struct Store {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<Arc<str>, Arc<Object>>,
    namespaces: HashMap<String, HashSet<Arc<str>>>,
    indexes: HashMap<&'static str, Index>,
}

struct Index {
    of: IndexFn,
    keys: HashMap<String, HashSet<Arc<str>>>,
}

impl Store {
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.inner.read().objects.get(key).cloned()
    }
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn list(&self) -> Vec<Arc<Object>> {
        self.inner.read().objects.values().cloned().collect()
    }
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        let inner = self.inner.read();
        inner.resolve(inner.namespaces.get(namespace))
    }
    /// The objects whose index function gave `value`. The index must have been added.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<Object>> {
        let inner = self.inner.read();
        inner.resolve(inner.indexes.get(index).and_then(|i| i.keys.get(value)))
    }
    /// How many objects [`Store::by_index`] would give.
    pub fn index_len(&self, index: &str, value: &str) -> usize {
        self.inner.read().indexes.get(index).and_then(|i| i.keys.get(value)).map_or(0, HashSet::len)
    }

    /// Adds an index by name; one that exists already is left as it is.
    pub fn add_index(&self, name: &'static str, of: IndexFn) {
        let mut inner = self.inner.write();
        if inner.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { of, keys: HashMap::new() };
        for (key, object) in &inner.objects {
            index.add(key, object);
        }
        inner.indexes.insert(name, index);
    }

    /// Takes in an object that was added or changed. Older than what is here: nothing happens.
    pub(super) fn upsert(&self, object: Arc<Object>) -> Option<Change> {
        self.inner.write().upsert(object)
    }

    /// Takes out an object that was deleted, unless a newer one has its name by now. The change
    /// holds the object's last state, as the event brought it.
    pub(super) fn remove(&self, last: &Arc<Object>) -> Option<Change> {
        let mut inner = self.inner.write();
        let key = key_of(last);
        let known = inner.objects.get(key.as_str())?;
        if older(last, known) {
            return None;
        }
        inner.take(&key);
        Some(Change { old: Some(last.clone()), new: None })
    }

    /// Everything there is now. Objects that are still here give no change at all when they are
    /// the same revision, so a list in the middle of things deletes nothing that was not deleted.
    pub(super) fn replace(&self, objects: Vec<Arc<Object>>) -> Vec<Change> {
        let mut inner = self.inner.write();
        let mut gone: HashSet<Arc<str>> = inner.objects.keys().cloned().collect();
        let mut changes = Vec::new();
        for object in objects {
            let key = key_of(&object);
            gone.remove(key.as_str());
            // Same name, other object: its watchers must hear that the first one went.
            let replaced = inner.objects.get(key.as_str()).is_some_and(|known| known.uid() != object.uid());
            if replaced && let Some(old) = inner.take(&key) {
                changes.push(Change { old: Some(old), new: None });
            }
            changes.extend(inner.upsert(object));
        }
        for key in gone {
            if let Some(old) = inner.take(&key) {
                changes.push(Change { old: Some(old), new: None });
            }
        }
        changes
    }
}

/// Whether `a` is an earlier revision than `b`. Revisions that are not numbers are not compared.
fn older(a: &Object, b: &Object) -> bool {
    match (a.resource_version().parse::<u64>(), b.resource_version().parse::<u64>()) {
        (Ok(a), Ok(b)) => a < b,
        _ => false,
    }
}

impl Inner {
    fn resolve(&self, keys: Option<&HashSet<Arc<str>>>) -> Vec<Arc<Object>> {
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    fn upsert(&mut self, object: Arc<Object>) -> Option<Change> {
        let key = key_of(&object);
        if let Some(known) = self.objects.get(key.as_str())
            && (known.resource_version() == object.resource_version() || older(&object, known))
        {
            return None;
        }
        let old = self.take(&key);
        let key: Arc<str> = key.into();
        if !object.namespace().is_empty() {
            self.namespaces.entry(object.namespace().to_owned()).or_default().insert(key.clone());
        }
        for index in self.indexes.values_mut() {
            index.add(&key, &object);
        }
        self.objects.insert(key, object.clone());
        Some(Change { old, new: Some(object) })
    }

    fn take(&mut self, key: &str) -> Option<Arc<Object>> {
        let (key, object) = self.objects.remove_entry(key)?;
        if let Some(keys) = self.namespaces.get_mut(object.namespace()) {
            keys.remove(&key);
            if keys.is_empty() {
                self.namespaces.remove(object.namespace());
            }
        }
        for index in self.indexes.values_mut() {
            index.remove(&key, &object);
        }
        Some(object)
    }
}

impl Index {
    fn add(&mut self, key: &Arc<str>, object: &Object) {
        for value in (self.of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
    fn remove(&mut self, key: &Arc<str>, object: &Object) {
        for value in (self.of)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn pod(name: &str, uid: &str, revision: u64, node: &str) -> Arc<Object> {
        Arc::new(Object(value!({
            "metadata": {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": revision.to_string()},
            "spec": {"nodeName": node},
        })))
    }

    /// `+name` came, `~name` changed, `-name` went.
    fn show(changes: impl IntoIterator<Item = Change>) -> Vec<String> {
        let mut out: Vec<String> = changes
            .into_iter()
            .map(|c| {
                let sign = match (&c.old, &c.new) {
                    (None, _) => '+',
                    (_, None) => '-',
                    _ => '~',
                };
                format!("{sign}{}", c.object().name())
            })
            .collect();
        out.sort();
        out
    }

    #[test]
    fn a_list_in_the_middle_tells_only_what_changed() {
        let store = Store::default();
        assert_eq!(
            show(store.replace(vec![pod("a", "1", 1, ""), pod("b", "2", 2, ""), pod("c", "3", 3, "")])),
            ["+a", "+b", "+c"]
        );
        assert_eq!(
            show(store.replace(vec![pod("a", "1", 1, ""), pod("b", "2", 9, ""), pod("c", "4", 8, "")])),
            ["+c", "-c", "~b"]
        );
        assert_eq!(show(store.replace(vec![pod("a", "1", 1, ""), pod("b", "2", 5, "")])), ["-c"]);
        assert_eq!(store.get("ns/b").unwrap().resource_version(), "9", "an older list does not go back");
    }

    #[test]
    fn late_events_change_nothing() {
        let store = Store::default();
        assert_eq!(show(store.upsert(pod("a", "1", 5, ""))), ["+a"]);
        assert_eq!(show(store.upsert(pod("a", "1", 4, ""))), Vec::<String>::new());
        assert_eq!(show(store.upsert(pod("a", "1", 5, ""))), Vec::<String>::new());
        assert_eq!(show(store.remove(&pod("a", "0", 3, ""))), Vec::<String>::new());
        assert_eq!(show(store.remove(&pod("a", "1", 6, ""))), ["-a"]);
        assert_eq!(show(store.remove(&pod("a", "1", 6, ""))), Vec::<String>::new());
    }

    #[test]
    fn indexes_follow() {
        let store = Store::default();
        store.upsert(pod("a", "1", 1, ""));
        store.add_index("node", super::super::indexes::node_name);
        let on = |node: &str| {
            show(store.by_index("node", node).into_iter().map(|o| Change { old: None, new: Some(o) }))
        };
        assert_eq!(on(""), ["+a"]);
        store.upsert(pod("a", "1", 2, "n1"));
        store.upsert(pod("b", "2", 3, "n1"));
        assert_eq!((on(""), on("n1")), (vec![], vec!["+a".to_owned(), "+b".to_owned()]));
        store.remove(&pod("a", "1", 4, "n1"));
        assert_eq!(on("n1"), ["+b"]);
        assert_eq!((store.index_len("node", "n1"), store.in_namespace("ns").len()), (1, 1));
    }
}
