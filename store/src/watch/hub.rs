//! The hub: takes each commit once and puts references to it into the queues of those who want it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::index::{Index, WatchId};
use super::{Commit, Filter, event_bytes};
use crate::kv::{Error, Revision, WatchItem};
use crate::limits::{
    WATCH_BYTES_MAX, WATCH_ITEM_BYTES_MAX, WATCH_ITEM_EVENTS_MAX, WATCH_RING_BYTES_MAX,
    WATCH_RING_EVENTS_MAX, WATCHER_BYTES_MAX, WATCHER_EVENTS_MAX,
};
use crate::planted::{self, Bug};

/// Bounds of the ring and of each queue; smaller ones are for tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubLimits {
    pub(crate) ring_events: usize,
    pub(crate) ring_bytes: usize,
    pub(crate) watcher_events: usize,
    pub(crate) watcher_bytes: usize,
    /// Of all together.
    pub(crate) held_bytes: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            ring_events: WATCH_RING_EVENTS_MAX,
            ring_bytes: WATCH_RING_BYTES_MAX,
            watcher_events: WATCHER_EVENTS_MAX,
            watcher_bytes: WATCHER_BYTES_MAX,
            held_bytes: WATCH_BYTES_MAX,
        }
    }
}

pub(crate) struct Hub {
    limits: HubLimits,
    inner: Mutex<Inner>,
    /// Bytes of the commits that the ring or a queue holds.
    held: Arc<AtomicUsize>,
    pub(super) totals: Arc<Totals>,
}

/// What has happened since the store was opened.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) events_sent: AtomicU64,
    slow_cancelled: AtomicU64,
}

/// How much the watches hold now, and what they were given so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Watches that follow the newest changes.
    pub live: usize,
    /// Recent changes that are kept for watches to begin with.
    pub ring_events: usize,
    pub ring_bytes: usize,
    /// What waits for readers of watches; bytes that several wait for count for each.
    pub queued_events: usize,
    pub queued_bytes: usize,
    /// Bytes that the ring and all queues hold, each counted once.
    pub held_bytes: usize,
    pub events_sent: u64,
    /// Watches that were ended since their readers were too slow.
    pub slow_cancelled: u64,
}

struct Inner {
    /// The newest revision told.
    revision: Revision,
    /// Recent commits, oldest first: every one above `floor`.
    ring: VecDeque<Arc<Commit>>,
    floor: Revision,
    ring_events: usize,
    ring_bytes: usize,
    watches: HashMap<WatchId, Arc<Watch>>,
    index: Index,
    next_id: WatchId,
    /// Counts the times that all watches were ended, with the last reason.
    ended: (u64, Option<Error>),
    closed: bool,
}

/// What a watch wants beside events.
#[derive(Clone, Copy)]
pub(super) struct Wishes {
    pub(super) progress_notify: bool,
    pub(super) without_leader: bool,
}

fn concerns(error: &Error, wishes: Wishes) -> bool {
    !(wishes.without_leader && *error == Error::NoLeader)
}

/// One live watch.
pub(super) struct Watch {
    id: WatchId,
    filter: Filter,
    wishes: Wishes,
    /// Commits below it are not of interest.
    min_revision: Revision,
    queue: Mutex<Queue>,
    pub(super) waker: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    /// A commit and the places of the wanted events in it.
    pending: VecDeque<(Arc<Commit>, Vec<u32>)>,
    events: usize,
    bytes: usize,
    progress: Option<Revision>,
    /// The watch has no place in the hub any more: this comes after what is pending.
    left: Option<Left>,
}

#[derive(Clone)]
pub(super) enum Left {
    Failed(Error),
    Closed,
    /// A snapshot took the state further: read on from this revision.
    CatchUp(Revision),
}

/// What a queue gives next.
pub(super) enum Taken {
    Item(WatchItem),
    Left(Left),
    Nothing,
}

impl Hub {
    pub(crate) fn new(revision: Revision, limits: HubLimits) -> Self {
        Self {
            limits,
            totals: Arc::default(),
            held: Arc::default(),
            inner: Mutex::new(Inner {
                revision,
                ring: VecDeque::new(),
                floor: revision,
                ring_events: 0,
                ring_bytes: 0,
                watches: HashMap::new(),
                index: Index::default(),
                next_id: 1,
                ended: (0, None),
                closed: false,
            }),
        }
    }

    /// Tells everyone. `publish` runs under the hub's lock before anyone is woken: a reader woken by
    /// an event never sees a state older than it.
    pub(crate) fn tell(&self, commits: Vec<Arc<Commit>>, publish: impl FnOnce()) {
        let mut woken: Vec<Arc<Watch>> = Vec::new();
        {
            let inner = &mut *self.inner.lock();
            publish();
            for commit in commits {
                commit.charge(&self.held);
                let mut slow = inner.tell_one(&commit, &self.limits, &mut woken);
                if self.held.load(Ordering::Relaxed) > self.limits.held_bytes {
                    slow += inner.end_furthest_behind(&self.held, self.limits.held_bytes / 4 * 3, &mut woken);
                }
                self.totals.slow_cancelled.fetch_add(slow as u64, Ordering::Relaxed);
                inner.keep(commit, &self.limits);
            }
        }
        for watch in woken {
            watch.waker.wake();
        }
    }

    /// Gives every watch that asked for it `Progress` up to the newest revision.
    pub(crate) fn announce_progress(&self) {
        let inner = self.inner.lock();
        for watch in inner.watches.values().filter(|watch| watch.wishes.progress_notify) {
            let ahead = i64::from(planted::is(Bug::ProgressTooFar));
            watch.queue.lock().progress = Some(Revision(inner.revision.0 + ahead));
            watch.waker.wake();
        }
    }

    /// Ends every watch that `error` concerns, those still catching up included, after what is pending.
    pub(crate) fn end_all(&self, error: Error) {
        let inner = &mut *self.inner.lock();
        inner.ended = (inner.ended.0 + 1, Some(error.clone()));
        inner.dismiss(|watch| concerns(&error, watch.wishes).then(|| Left::Failed(error.clone())));
    }

    /// Ends every stream with `None`.
    pub(crate) fn close(&self) {
        let inner = &mut *self.inner.lock();
        inner.closed = true;
        inner.dismiss(|_| Some(Left::Closed));
    }

    /// The state was replaced by a snapshot at `revision`, which `publish` makes visible: every
    /// watch reads on in its history.
    pub(crate) fn replaced(&self, revision: Revision, publish: impl FnOnce()) {
        let inner = &mut *self.inner.lock();
        publish();
        let next = Revision(inner.revision.0 + 1);
        inner.dismiss(|watch| Some(Left::CatchUp(next.max(watch.min_revision))));
        inner.ring.clear();
        (inner.ring_events, inner.ring_bytes) = (0, 0);
        (inner.revision, inner.floor) = (revision, revision);
    }

    pub(super) fn revision(&self) -> Revision {
        self.inner.lock().revision
    }

    /// How often all watches were ended: a watch that is not in the hub compares.
    pub(super) fn ended(&self) -> u64 {
        self.inner.lock().ended.0
    }

    /// Makes a watch live from `next` on, if the ring covers what happened since.
    pub(super) fn attach(
        &self,
        filter: &Filter,
        wishes: Wishes,
        next: Revision,
        ended_before: u64,
    ) -> Result<Option<Arc<Watch>>, Left> {
        let inner = &mut *self.inner.lock();
        if inner.closed {
            return Err(Left::Closed);
        }
        if inner.ended.0 != ended_before
            && let Some(error) = inner.ended.1.as_ref().filter(|error| concerns(error, wishes))
        {
            return Err(Left::Failed(error.clone()));
        }
        if next <= inner.floor {
            return Ok(None);
        }
        let id = inner.next_id;
        inner.next_id += 1;
        let mut queue = Queue::default();
        let from = inner.ring.partition_point(|commit| commit.revision < next);
        for commit in inner.ring.range(from..) {
            let events = commit.events.iter().enumerate();
            let places: Vec<u32> =
                events.filter(|(_, event)| filter.wants(event)).map(|(place, _)| place as u32).collect();
            if !places.is_empty() {
                queue.push(commit, places);
            }
        }
        // It may have been owed progress while it was catching up.
        queue.progress = wishes.progress_notify.then_some(inner.revision);
        let watch = Arc::new(Watch {
            id,
            filter: filter.clone(),
            wishes,
            min_revision: next,
            queue: Mutex::new(queue),
            waker: AtomicWaker::new(),
        });
        inner.index.insert(&filter.range, id);
        inner.watches.insert(id, watch.clone());
        Ok(Some(watch))
    }

    pub(super) fn detach(&self, watch: &Watch) {
        let inner = &mut *self.inner.lock();
        if inner.watches.remove(&watch.id).is_some() {
            inner.index.remove(&watch.filter.range, watch.id);
        }
    }

    /// Live watches.
    pub(crate) fn watches(&self) -> usize {
        self.inner.lock().watches.len()
    }

    pub(crate) fn counts(&self) -> WatchCounts {
        let (watches, ring_events, ring_bytes) = {
            let inner = self.inner.lock();
            let watches: Vec<_> = inner.watches.values().cloned().collect();
            (watches, inner.ring_events, inner.ring_bytes)
        };
        let mut counts = WatchCounts {
            live: watches.len(),
            ring_events,
            ring_bytes,
            held_bytes: self.held.load(Ordering::Relaxed),
            events_sent: self.totals.events_sent.load(Ordering::Relaxed),
            slow_cancelled: self.totals.slow_cancelled.load(Ordering::Relaxed),
            ..WatchCounts::default()
        };
        for watch in watches {
            let queue = watch.queue.lock();
            counts.queued_events += queue.events;
            counts.queued_bytes += queue.bytes;
        }
        counts
    }
}

impl Inner {
    /// Puts a commit into the queues of those who want it; how many were too slow for it.
    fn tell_one(&mut self, commit: &Arc<Commit>, limits: &HubLimits, woken: &mut Vec<Arc<Watch>>) -> usize {
        self.revision = commit.revision;
        if planted::is(Bug::WatchSkips) && commit.revision.0 % 7 == 0 {
            return 0;
        }
        let mut slow: Vec<Arc<Watch>> = Vec::new();
        let watches = &self.watches;
        // Its reader may take from a queue at any moment: what a watch gets of a commit goes there
        // at once, or a revision would be cut in two.
        let mut deliver = |watch: &Arc<Watch>, places: Vec<u32>| {
            let mut queue = watch.queue.lock();
            if queue.left.is_some() {
                return;
            }
            if queue.pending.is_empty() {
                woken.push(watch.clone());
            }
            queue.push(commit, places);
            // A revision is never cut, so one alone may be larger than the limit.
            let over = queue.events > limits.watcher_events || queue.bytes > limits.watcher_bytes;
            if over && queue.pending.len() > 1 {
                queue.end_slow();
                slow.push(watch.clone());
            }
        };
        let mut wanted: HashMap<WatchId, (&Arc<Watch>, Vec<u32>)> = HashMap::new();
        for (place, event) in commit.events.iter().enumerate() {
            self.index.matches(&event.kv.key, |id| {
                let Some(watch) = watches.get(&id) else { return };
                let early = commit.revision < watch.min_revision && !planted::is(Bug::WatchFutureEarly);
                if early || !watch.filter.wants_kind(event.kind) {
                    return;
                }
                if commit.events.len() == 1 {
                    deliver(watch, vec![0]);
                } else {
                    wanted.entry(id).or_insert_with(|| (watch, Vec::new())).1.push(place as u32);
                }
            });
        }
        for (watch, places) in wanted.into_values() {
            deliver(watch, places);
        }
        self.remove_slow(slow, woken)
    }

    /// Ends watches whose queues reach furthest back, until no more than `target` bytes are held; how
    /// many.
    fn end_furthest_behind(
        &mut self,
        held: &AtomicUsize,
        target: usize,
        woken: &mut Vec<Arc<Watch>>,
    ) -> usize {
        let since =
            |watch: &Arc<Watch>| watch.queue.lock().pending.front().map(|(commit, _)| commit.revision);
        let mut behind: Vec<(Revision, &Arc<Watch>)> =
            self.watches.values().filter_map(|watch| Some((since(watch)?, watch))).collect();
        behind.sort_unstable_by_key(|(since, watch)| (*since, watch.id));
        let mut slow = Vec::new();
        for (_, watch) in behind {
            if held.load(Ordering::Relaxed) <= target {
                break;
            }
            watch.queue.lock().end_slow();
            slow.push(watch.clone());
        }
        self.remove_slow(slow, woken)
    }

    fn remove_slow(&mut self, slow: Vec<Arc<Watch>>, woken: &mut Vec<Arc<Watch>>) -> usize {
        let cancelled = slow.len();
        for watch in slow {
            tracing::warn!(watch = watch.id, revision = self.revision.0, "a slow watcher was cancelled");
            self.watches.remove(&watch.id);
            self.index.remove(&watch.filter.range, watch.id);
            woken.push(watch);
        }
        cancelled
    }

    fn keep(&mut self, commit: Arc<Commit>, limits: &HubLimits) {
        self.ring_events += commit.events.len();
        self.ring_bytes += commit.bytes;
        self.ring.push_back(commit);
        while self.ring_events > limits.ring_events || self.ring_bytes > limits.ring_bytes {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_events -= oldest.events.len();
            self.ring_bytes -= oldest.bytes;
            self.floor = oldest.revision;
        }
    }

    /// Takes the watches out of the hub for which there is a reason.
    fn dismiss(&mut self, reason: impl Fn(&Watch) -> Option<Left>) {
        let mut gone = Vec::new();
        self.watches.retain(|_, watch| {
            let Some(left) = reason(watch) else { return true };
            watch.queue.lock().left = Some(left);
            watch.waker.wake();
            gone.push(watch.clone());
            false
        });
        if self.watches.is_empty() {
            // One by one they would be looked for in the long list of a prefix that many watch.
            return self.index.clear();
        }
        for watch in gone {
            self.index.remove(&watch.filter.range, watch.id);
        }
    }
}

impl Queue {
    fn push(&mut self, commit: &Arc<Commit>, places: Vec<u32>) {
        self.events += places.len();
        self.bytes += bytes_of(commit, &places);
        self.pending.push_back((commit.clone(), places));
    }

    /// Drops what waits; the watch is to begin again.
    fn end_slow(&mut self) {
        let left = Left::Failed(Error::SlowWatcher { buffered: self.events });
        *self = Queue { left: Some(left), ..Queue::default() };
    }
}

fn bytes_of(commit: &Commit, places: &[u32]) -> usize {
    places.iter().map(|place| event_bytes(&commit.events[*place as usize])).sum()
}

impl Watch {
    /// Takes what comes next: events before progress, and both before the end. Progress is given
    /// if it reaches `delivered`, below which nothing was asked for, and says more than was `told`.
    pub(super) fn take(&self, delivered: Revision, told: Revision) -> Taken {
        let queue = &mut *self.queue.lock();
        if planted::is(Bug::WatchReorders) && queue.pending.len() > 1 {
            queue.pending.swap(0, 1);
        }
        if !queue.pending.is_empty() {
            return Taken::Item(self.take_events(queue));
        }
        match (&queue.left, queue.progress.take()) {
            (Some(left), _) => Taken::Left(left.clone()),
            (None, Some(revision)) if revision >= delivered && revision > told => {
                Taken::Item(WatchItem::Progress { revision })
            }
            _ => Taken::Nothing,
        }
    }

    fn take_events(&self, queue: &mut Queue) -> WatchItem {
        let (mut events, mut bytes) = (Vec::new(), 0);
        let mut revision = Revision(0);
        if planted::is(Bug::WatchTears)
            && let Some((commit, places)) = queue.pending.front_mut().filter(|(_, places)| places.len() > 1)
        {
            let place = places.remove(0);
            let event = self.filter.show(&commit.events[place as usize]);
            (queue.events, queue.bytes) = (queue.events - 1, queue.bytes - bytes_of(commit, &[place]));
            return WatchItem::Events { revision: commit.revision, events: vec![event] };
        }
        while let Some((commit, places)) = queue.pending.front() {
            let more = bytes_of(commit, places);
            let full =
                events.len() + places.len() > WATCH_ITEM_EVENTS_MAX || bytes + more > WATCH_ITEM_BYTES_MAX;
            if full && !events.is_empty() {
                break;
            }
            bytes += more;
            revision = commit.revision;
            events.extend(places.iter().map(|place| self.filter.show(&commit.events[*place as usize])));
            queue.pending.pop_front();
        }
        queue.events -= events.len();
        queue.bytes -= bytes;
        WatchItem::Events { revision, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Event, EventKind, KeyRange, KeyValue, WatchRequest};

    const EVENTS: usize = 64;
    const COMMITS: i64 = 3000;

    fn commit(revision: Revision) -> Arc<Commit> {
        let event = |n: usize| Event {
            kind: EventKind::Put,
            kv: KeyValue { key: format!("k{n}").into(), mod_revision: revision, ..KeyValue::default() },
            prev_kv: None,
        };
        Arc::new(Commit::new(revision, (0..EVENTS).map(event).collect()))
    }

    #[test]
    fn a_reader_that_takes_while_a_commit_is_told_gets_it_whole() {
        let hub = Hub::new(Revision(0), HubLimits::default());
        let filter = Filter::new(&WatchRequest::new(KeyRange::prefix("k"), Revision(1)));
        let watch = hub
            .attach(&filter, Wishes { progress_notify: false, without_leader: false }, Revision(1), 0)
            .ok()
            .flatten()
            .expect("a live watch");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < EVENTS * COMMITS as usize {
                    match watch.take(Revision(0), Revision(0)) {
                        Taken::Item(WatchItem::Events { events, .. }) => {
                            assert_eq!(events.len() % EVENTS, 0, "a revision was cut");
                            seen += events.len();
                        }
                        Taken::Nothing => std::hint::spin_loop(),
                        _ => panic!("the watch ended"),
                    }
                }
            });
            for revision in 1..=COMMITS {
                // Within what a watcher may be behind.
                while watch.queue.lock().events > WATCHER_EVENTS_MAX / 2 && !reader.is_finished() {
                    std::thread::yield_now();
                }
                hub.tell(vec![commit(Revision(revision))], || {});
            }
        });
    }
}
