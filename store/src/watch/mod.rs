//! Watches: who is told what, when and in which order.
//!
//! ```text
//!                 ┌──────── ring covers it ────────┐
//!   watch ──► CatchUp ──(chunks from the engine)──► Live ──► ended
//!                 ▲                                 │
//!                 └──── a snapshot was installed ───┘
//! ```
//!
//! A live watch has a queue of its own, of references into shared commits. A new or returning one
//! pulls from the engine's history at its own pace until the ring of recent commits covers the
//! rest; it takes its place in the hub under the same lock, so it misses and repeats nothing.

mod hub;
mod index;
mod replay;
mod stream;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::kv::{Event, EventKind, KeyRange, Revision, WatchRequest};
use crate::planted::{self, Bug};

pub use hub::WatchCounts;
pub(crate) use hub::{Hub, HubLimits};
pub(crate) use replay::{Chunk, replay};
pub(crate) use stream::{Source, WatchCursor};

/// All changes of one revision.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
    pub(crate) bytes: usize,
    charge: OnceLock<Charge>,
}

impl Commit {
    pub(crate) fn new(revision: Revision, events: Vec<Event>) -> Self {
        let bytes = events.iter().map(event_bytes).sum();
        Self { revision, events, bytes, charge: OnceLock::new() }
    }

    /// Counts its bytes in `held` from now on, until nobody holds it any more.
    fn charge(&self, held: &Arc<AtomicUsize>) {
        self.charge.get_or_init(|| {
            held.fetch_add(self.bytes, Ordering::Relaxed);
            Charge { bytes: self.bytes, held: held.clone() }
        });
    }
}

#[derive(Debug)]
struct Charge {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes of keys and values that an event holds.
pub(crate) fn event_bytes(event: &Event) -> usize {
    let previous = event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
    event.kv.key.len() + event.kv.value.len() + previous
}

/// What one watch wants to see.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) range: KeyRange,
    pub(crate) prev_kv: bool,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
}

impl Filter {
    pub(crate) fn new(request: &WatchRequest) -> Self {
        let mut range = request.range.clone();
        if range.start.is_empty() {
            // etcd: a watch without a key begins at the first one.
            range.start = bytes::Bytes::from_static(&[0]);
        }
        Self { range, prev_kv: request.prev_kv, no_put: request.no_put, no_delete: request.no_delete }
    }

    pub(crate) fn wants_kind(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.wants_kind(event.kind) && self.range.contains(&event.kv.key)
    }

    /// The event as this watch sees it.
    pub(crate) fn show(&self, event: &Event) -> Event {
        Event {
            kind: event.kind,
            kv: event.kv.clone(),
            prev_kv: match self.prev_kv {
                true if planted::is(Bug::PrevKvWrong) => Some(event.kv.clone()),
                true => event.prev_kv.clone(),
                false => None,
            },
        }
    }
}
