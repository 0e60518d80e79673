//! From a key to the watches that want it, at a cost that follows the matches.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::kv::KeyRange;

pub(super) type WatchId = u64;

/// Watches by what they follow: a key, a prefix, or any other range.
#[derive(Default)]
pub(super) struct Index {
    keys: HashMap<Bytes, Vec<WatchId>>,
    /// Length of prefix → prefix → watches: an event asks once per length in use.
    prefixes: BTreeMap<usize, HashMap<Bytes, Vec<WatchId>>>,
    /// Ranges that are no prefix: rare, so asked one by one, those of equal bounds together.
    ranges: Vec<(KeyRange, Vec<WatchId>)>,
}

/// The prefix whose keys are exactly those of `range`; `None` if there is none.
fn as_prefix(range: &KeyRange) -> Option<Bytes> {
    if range.start[..] == [0] && range.end[..] == [0] {
        return Some(Bytes::new());
    }
    (KeyRange::prefix(range.start.clone()).end == range.end && range.end[..] != [0])
        .then(|| range.start.clone())
}

impl Index {
    pub(super) fn insert(&mut self, range: &KeyRange, id: WatchId) {
        if range.end.is_empty() {
            self.keys.entry(range.start.clone()).or_default().push(id);
        } else if let Some(prefix) = as_prefix(range) {
            self.prefixes.entry(prefix.len()).or_default().entry(prefix).or_default().push(id);
        } else if let Some((_, ids)) = self.ranges.iter_mut().find(|(known, _)| known == range) {
            ids.push(id);
        } else {
            self.ranges.push((range.clone(), vec![id]));
        }
    }

    pub(super) fn remove(&mut self, range: &KeyRange, id: WatchId) {
        let without = |ids: &mut Vec<WatchId>| {
            ids.retain(|other| *other != id);
            ids.is_empty()
        };
        if range.end.is_empty() {
            if self.keys.get_mut(&range.start).is_some_and(without) {
                self.keys.remove(&range.start);
            }
        } else if let Some(prefix) = as_prefix(range) {
            if let Some(of_length) = self.prefixes.get_mut(&prefix.len()) {
                if of_length.get_mut(&prefix).is_some_and(without) {
                    of_length.remove(&prefix);
                }
                if of_length.is_empty() {
                    self.prefixes.remove(&prefix.len());
                }
            }
        } else if let Some(at) = self.ranges.iter().position(|(known, _)| known == range)
            && without(&mut self.ranges[at].1)
        {
            self.ranges.swap_remove(at);
        }
    }

    /// Calls `tell` for every watch that follows `key`.
    pub(super) fn matches(&self, key: &[u8], mut tell: impl FnMut(WatchId)) {
        if let Some(ids) = self.keys.get(key) {
            ids.iter().for_each(|id| tell(*id));
        }
        for (len, of_length) in &self.prefixes {
            let Some(prefix) = key.get(..*len) else { break };
            if let Some(ids) = of_length.get(prefix) {
                ids.iter().for_each(|id| tell(*id));
            }
        }
        for (range, ids) in &self.ranges {
            if range.contains(key) {
                ids.iter().for_each(|id| tell(*id));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_scan_would_and_forgets_what_was_removed() {
        let range =
            |start: &'static str, end: &'static str| KeyRange { start: start.into(), end: end.into() };
        let ranges = [
            KeyRange::key("a"),
            KeyRange::key("ab"),
            KeyRange::prefix(""),
            KeyRange::prefix("a"),
            KeyRange::prefix("ab"),
            KeyRange::prefix(&b"\xff"[..]),
            range("a", "b\0"),
            range("b", "\0"),
            range("c", "a"),
        ];
        let mut index = Index::default();
        for (id, range) in ranges.iter().enumerate() {
            index.insert(range, id as u64);
        }
        for removed in 0..=ranges.len() {
            for key in ["a", "ab", "abc", "b", "b\0", "c", "\0", "zz"] {
                let mut found = Vec::new();
                index.matches(key.as_bytes(), |id| found.push(id as usize));
                found.sort_unstable();
                let expected: Vec<_> =
                    (removed..ranges.len()).filter(|i| ranges[*i].contains(key.as_bytes())).collect();
                assert_eq!(found, expected, "{key:?} after {removed} removals");
            }
            if let Some(range) = ranges.get(removed) {
                index.remove(range, removed as u64);
            }
        }
        assert!(index.keys.is_empty() && index.prefixes.is_empty() && index.ranges.is_empty());
    }
}
