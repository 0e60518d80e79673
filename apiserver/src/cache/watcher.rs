//! A watcher: a cursor on a kind's ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use trireme_store::planted::{self, Bug};

use super::kind::{Interest, KindCache};
use super::{ChangeType, Entry, Event, Filter};

/// What the feed touches of a watcher.
pub(super) struct Slot {
    /// Position of the first event this watcher may need and has not read; `NONE` when there is
    /// none. Set under the kind's write lock, taken under its read lock.
    pending: AtomicU64,
    notify: Notify,
}

const NONE: u64 = u64::MAX;

impl Slot {
    pub(super) fn new(pending: Option<u64>) -> Slot {
        Slot { pending: AtomicU64::new(pending.unwrap_or(NONE)), notify: Notify::new() }
    }
    pub(super) fn wake(&self, position: u64) {
        if self.pending.fetch_min(position, Ordering::AcqRel) == NONE {
            self.notify.notify_one();
        }
    }
    pub(super) fn take(&self) -> Option<u64> {
        let position = self.pending.swap(NONE, Ordering::AcqRel);
        (position != NONE).then_some(position)
    }
    fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) != NONE
    }
}

/// Reads a kind's events through a filter. Slow watchers hold up nobody: they fall off the ring.
pub(crate) struct Watcher {
    kind: Arc<KindCache>,
    filter: Filter,
    slot: Arc<Slot>,
    id: u64,
    interest: Interest,
}

/// The events a watcher needs next are gone: the client lists again.
#[derive(Debug)]
pub(crate) struct WatcherEnd;

/// An event as a watcher sees it: the change, the object it shows, the event itself.
pub(crate) type Seen = (ChangeType, Arc<Entry>, Arc<Event>);

/// Events read at a time.
const READ_EVENTS_MAX: usize = 256;

impl Watcher {
    pub(super) fn new(
        kind: Arc<KindCache>,
        filter: Filter,
        slot: Arc<Slot>,
        id: u64,
        interest: Interest,
    ) -> Watcher {
        Watcher { kind, filter, slot, id, interest }
    }

    /// Waits until there may be something to read.
    pub(crate) async fn ready(&self) {
        while !self.slot.is_pending() {
            self.slot.notify.notified().await;
        }
    }

    /// The next events as this watcher sees them; empty when none are waiting.
    pub(crate) fn read(&self) -> Result<Vec<Seen>, WatcherEnd> {
        let mut events = self.kind.read(&self.slot, READ_EVENTS_MAX).ok_or(WatcherEnd)?;
        let by_labels = !self.filter.labels.is_everything();
        if planted::is(Bug::ApiWatchSkips) && by_labels {
            events.retain(|event| event.revision % 10 != 3);
        }
        if planted::is(Bug::ApiWatchSilent) && by_labels && events.iter().any(|e| e.revision % 50 == 7) {
            self.kind.unwatch(&self.interest, self.id);
        }
        Ok(events
            .into_iter()
            .filter_map(|event| {
                let (change, entry) = event.seen_through(self.kind.row, &self.filter)?;
                let entry = entry.clone();
                Some((change, entry, event))
            })
            .collect())
    }

    /// Whether events wait that were not read.
    pub(crate) fn is_pending(&self) -> bool {
        self.slot.is_pending()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.kind.unwatch(&self.interest, self.id);
    }
}
