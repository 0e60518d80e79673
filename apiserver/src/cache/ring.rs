//! Events of one kind, shared by all who watch it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Entry, Filter};
use crate::limits;
use trireme_api::kinds::Kind;

/// One change of one object, with what it was before.
pub(crate) struct Event {
    pub(crate) revision: i64,
    pub(crate) new: Option<Arc<Entry>>,
    pub(crate) old: Option<Arc<Entry>>,
    /// Frames made for watchers, each once: by (change, encoding).
    encodings: Mutex<Vec<((ChangeType, u64), Bytes)>>,
}

/// How a change looks to one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeType {
    Added,
    Modified,
    Deleted,
}

impl ChangeType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ChangeType::Added => "ADDED",
            ChangeType::Modified => "MODIFIED",
            ChangeType::Deleted => "DELETED",
        }
    }
}

impl Event {
    pub(crate) fn new(revision: i64, new: Option<Arc<Entry>>, old: Option<Arc<Entry>>) -> Event {
        Event { revision, new, old, encodings: Mutex::new(Vec::new()) }
    }

    /// What a watcher with this filter sees, and the object it sees. An object that leaves the
    /// selection is a deletion of what it was, at the event's revision.
    pub(crate) fn seen_through(&self, row: &Kind, filter: &Filter) -> Option<(ChangeType, &Arc<Entry>)> {
        let new = self.new.as_ref().filter(|e| filter.matches(row, e));
        let old = self.old.as_ref().filter(|e| filter.matches(row, e));
        match (new, old) {
            (Some(new), None) => Some((ChangeType::Added, new)),
            (Some(new), Some(_)) => Some((ChangeType::Modified, new)),
            (None, Some(old)) => Some((ChangeType::Deleted, old)),
            (None, None) => None,
        }
    }

    /// The frame for (change, encoding), made by `make` when nobody needed it before.
    pub(crate) fn encoded<E>(
        &self,
        change: ChangeType,
        encoding: u64,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let mut encodings = self.encodings.lock();
        if let Some((_, bytes)) = encodings.iter().find(|(k, _)| *k == (change, encoding)) {
            return Ok(bytes.clone());
        }
        let bytes = make()?;
        if encodings.len() < limits::EVENT_ENCODINGS_MAX {
            encodings.push(((change, encoding), bytes.clone()));
        }
        Ok(bytes)
    }

    fn weight(&self) -> usize {
        self.new.as_ref().or(self.old.as_ref()).map_or(0, |e| e.json.len())
    }
}

/// The newest events, oldest first. Positions count from the kind's first event and do not change.
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Position of the first event held.
    base: u64,
    bytes: usize,
    /// Every event after this revision is held.
    start_revision: i64,
}

impl Ring {
    pub(super) fn new(start_revision: i64) -> Ring {
        Ring { events: VecDeque::new(), base: 0, bytes: 0, start_revision }
    }

    pub(super) fn start_revision(&self) -> i64 {
        self.start_revision
    }

    pub(super) fn end(&self) -> u64 {
        self.base + self.events.len() as u64
    }

    /// Appends; returns the event's position.
    pub(super) fn push(&mut self, event: Arc<Event>) -> u64 {
        let position = self.end();
        self.bytes += event.weight();
        self.events.push_back(event);
        while self.events.len() > limits::RING_EVENTS_MAX
            || (self.bytes > limits::RING_BYTES_MAX && self.events.len() > limits::RING_EVENTS_MIN)
        {
            let gone = self.events.pop_front().expect("the ring is not empty");
            self.bytes -= gone.weight();
            self.base += 1;
            self.start_revision = gone.revision;
        }
        position
    }

    /// Position of the first event after `revision`.
    pub(super) fn after(&self, revision: i64) -> u64 {
        self.base + self.events.partition_point(|e| e.revision <= revision) as u64
    }

    /// Up to `max` events from `position` on; `None` when they have fallen off.
    pub(super) fn read(&self, position: u64, max: usize) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let skip = usize::try_from(position.checked_sub(self.base)?).ok()?;
        Some(self.events.iter().skip(skip).take(max))
    }

    /// Starts anew at `revision` without what was missed; positions go on counting.
    pub(super) fn reset(&mut self, revision: i64) {
        self.base = self.end() + 1;
        self.events.clear();
        self.bytes = 0;
        self.start_revision = revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_forgets_the_oldest_and_says_so() {
        let mut ring = Ring::new(10);
        for i in 0..limits::RING_EVENTS_MAX as i64 + 5 {
            ring.push(Arc::new(Event::new(11 + i, None, None)));
        }
        assert_eq!(ring.start_revision(), 15);
        assert!(ring.read(4, 1).is_none(), "what fell off cannot be read");
        assert_eq!(ring.read(5, 1).unwrap().next().unwrap().revision, 16);
        assert_eq!(ring.after(16), 6);
        let end = ring.end();
        ring.reset(99);
        assert!(ring.read(end, 1).is_none(), "a watcher from before a reset must start again");
    }
}
