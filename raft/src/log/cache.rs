//! Decoded entries at the end of the log, for replication and apply, which both read what was
//! just written.

use std::collections::VecDeque;

use crate::codec;
use crate::types::Entry;

/// A run of entries without gaps that ends with the log's last one, or nothing.
pub(super) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += codec::encoded_len(&entry);
        self.entries.push_back(entry);
    }

    /// Drops the oldest entries above the budget, but none from `written` on: an entry that is
    /// not in a file yet can be read nowhere else.
    pub(super) fn evict(&mut self, written: u64) {
        while self.bytes > self.bytes_max && self.first_index().is_some_and(|first| first < written) {
            let dropped = self.entries.pop_front().expect("checked above");
            self.bytes -= codec::encoded_len(&dropped);
        }
    }

    /// Drops the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.entries.back().is_some_and(|last| last.log_id.index >= index) {
            let dropped = self.entries.pop_back().expect("checked above");
            self.bytes -= codec::encoded_len(&dropped);
        }
    }

    /// Drops the entries up to and with `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.first_index().is_some_and(|first| first <= index) {
            let dropped = self.entries.pop_front().expect("checked above");
            self.bytes -= codec::encoded_len(&dropped);
        }
    }

    /// Clones entries of `from..to` in order until `budget` bytes are used up, at least one.
    /// `from` must lie in the cache.
    pub(super) fn read(&self, from: u64, to: u64, budget: &mut usize, out: &mut Vec<Entry>) {
        let Some(first) = self.first_index() else { return };
        let start = (from - first) as usize;
        let count = (to - from) as usize;
        for entry in self.entries.iter().skip(start).take(count) {
            let bytes = codec::encoded_len(entry);
            if bytes > *budget && !out.is_empty() {
                *budget = 0;
                return;
            }
            *budget = budget.saturating_sub(bytes);
            out.push(entry.clone());
        }
    }
}
