//! The members of an object while it is patched: found by name without walking large ones.

use std::collections::HashMap;

use crate::tree::{Key, Map, Value};

/// Members past which names are indexed.
const SMALL: usize = 32;

/// A map under change. Removed members leave a gap until the end.
pub(super) struct Members {
    entries: Vec<Option<(Key, Value)>>,
    /// Places by name; `None` while there are few.
    index: Option<HashMap<String, usize>>,
}

impl Members {
    pub(super) fn of(map: Map) -> Members {
        let entries: Vec<Option<(Key, Value)>> = map.into_iter().map(Some).collect();
        let mut members = Members { entries, index: None };
        members.index_if_large();
        members
    }

    fn index_if_large(&mut self) {
        if self.index.is_none() && self.entries.len() > SMALL {
            let named = self.entries.iter().enumerate();
            self.index = Some(named.filter_map(|(i, e)| Some((e.as_ref()?.0.to_string(), i))).collect());
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.entries.iter().position(|e| e.as_ref().is_some_and(|(k, _)| **k == *name)),
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let i = self.position(name)?;
        self.entries[i].as_mut().map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(i) = self.position(name) {
            self.entries[i] = None;
            self.index.as_mut().map(|index| index.remove(name));
        }
    }

    /// Appends a member that is not there.
    pub(super) fn push(&mut self, key: Key, value: Value) {
        if let Some(index) = &mut self.index {
            index.insert(key.to_string(), self.entries.len());
        }
        self.entries.push(Some((key, value)));
        self.index_if_large();
    }

    pub(super) fn into_map(self) -> Map {
        let mut map = Map::with_capacity(self.entries.len());
        self.entries.into_iter().flatten().for_each(|(key, value)| map.push_unique(key, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_maps_behave_alike() {
        for size in [3, SMALL, 200] {
            let names: Vec<String> = (0..size).map(|i| format!("k{i}")).collect();
            let mut members = Members::of(Map::new());
            for (i, name) in names.iter().enumerate() {
                members.push(name.as_str().into(), i.into());
            }
            members.remove("k1");
            assert!(members.get_mut("k1").is_none());
            members.push("k1".into(), true.into());
            *members.get_mut("k0").unwrap() = Value::Null;
            members.remove("none");
            let map = members.into_map();
            assert_eq!(map.len(), size);
            assert_eq!(map.get("k1"), Some(&Value::Bool(true)));
            assert_eq!(map.get("k0"), Some(&Value::Null));
            assert_eq!(map.keys().last().unwrap().as_ref(), "k1");
        }
    }
}
