//! Physical compaction: removes versions that no read can reach any more, in small paced batches.
//!
//! It runs beside apply and is no part of what replicas agree on. A compaction filter of the engine
//! would ignore the views of running readers, and would not exist in the model.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::engine::{self, Batch, Engine, EngineError, View};
use crate::kv::Revision;
use crate::layout::{self, Version};
use crate::limits::{
    GIVE_BACK_BYTES_MIN, GIVE_BACK_PART, SCRUB_BATCH_CHANGES, SCRUB_REST_FACTORS, SCRUB_REST_MS_MAX,
    SCRUB_WITHIN_MS, TIME_INDEX_AGE_MS_MAX,
};
use crate::planted::{self, Bug};
use crate::work::{self, Next, Running, Sender, Worker};

/// Rest after what failed or is not done; then it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Who scrubs, and the way to it.
pub(crate) struct Scrubber {
    shared: Arc<Shared>,
    orders: Option<Sender<Orders>>,
    running: Option<Running>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    /// Held while a batch is read and written; an install holds it too, since a batch read from the
    /// old state must not be written to the new one.
    engine_is_same: Mutex<()>,
    done: watch::Sender<Revision>,
}

#[derive(Clone, Copy, Default)]
struct Orders {
    compact: Revision,
    time_ms: i64,
}

impl Scrubber {
    pub(crate) fn start(engine: Arc<dyn Engine>) -> Result<Self, EngineError> {
        let done = engine::read(&*engine, scrubbed)?;
        let engine_is_same = Mutex::default();
        let shared = Arc::new(Shared { engine, engine_is_same, done: watch::Sender::new(done) });
        let scrub =
            Scrub { shared: shared.clone(), orders: Orders::default(), removed: 0, giving_back: false };
        let (orders, running) = work::start("store-scrub", scrub)?;
        Ok(Self { shared, orders: Some(orders), running: Some(running) })
    }

    /// Everything below `compact` may go.
    pub(crate) fn order(&self, compact: Revision, time_ms: i64) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Orders { compact, time_ms });
        }
    }

    /// Tells up to where everything removable is gone.
    pub(crate) fn done(&self) -> watch::Receiver<Revision> {
        self.shared.done.subscribe()
    }

    /// Runs `install` while nothing is being scrubbed.
    pub(crate) fn paused<R>(&self, install: impl FnOnce() -> R) -> R {
        let _engine_is_same = self.shared.engine_is_same.lock();
        let result = install();
        if let Ok(done) = engine::read(&*self.shared.engine, scrubbed) {
            self.shared.done.send_replace(done);
        }
        result
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.orders = None;
        if self.running.take().is_some_and(|running| !running.join()) {
            tracing::error!("the scrubbing thread had panicked");
        }
    }
}

/// At work on the latest orders.
struct Scrub {
    shared: Arc<Shared>,
    orders: Orders,
    /// Bytes of what was removed and may still take its space.
    removed: u64,
    giving_back: bool,
}

impl Worker<Orders> for Scrub {
    fn work(&mut self, orders: Option<Orders>, more: &mut dyn FnMut() -> Option<Orders>) -> Next {
        self.orders = std::iter::from_fn(more).last().or(orders).unwrap_or(self.orders);
        if self.orders.compact <= *self.shared.done.borrow() {
            return self.give_back();
        }
        let began = Instant::now();
        match self.shared.step(self.orders) {
            Ok(removed) => {
                self.removed += removed;
                let left = self.orders.compact.0 - self.shared.done.borrow().0;
                Next::JobWithin(rest(began.elapsed(), left.max(0) as u64))
            }
            Err(error) => {
                tracing::warn!(%error, revision = self.orders.compact.0, "physical compaction waits");
                Next::JobWithin(RETRY)
            }
        }
    }
}

impl Scrub {
    /// After a compaction that removed much of the state: has the engine give the space back, which it
    /// would not do by itself while little is written, and least is when the disk is full.
    fn give_back(&mut self) -> Next {
        let engine = &*self.shared.engine;
        let worth = GIVE_BACK_BYTES_MIN.max(engine.size().disk_bytes / GIVE_BACK_PART);
        if !self.giving_back && self.removed < worth {
            return Next::Job;
        }
        let begun = self.giving_back;
        match engine.give_back(begun) {
            Ok(done) => {
                if !begun {
                    self.removed = 0;
                }
                self.giving_back = !done;
                if done { Next::Job } else { Next::JobWithin(RETRY) }
            }
            Err(error) => {
                tracing::warn!(%error, "the space of what was compacted is not given back yet");
                Next::JobWithin(RETRY)
            }
        }
    }
}

/// After a batch that took that long, with that many revisions left.
fn rest(took: Duration, left: u64) -> Duration {
    let (least, most) = SCRUB_REST_FACTORS;
    let batches = left.div_ceil(SCRUB_BATCH_CHANGES as u64).max(1);
    let in_time = Duration::from_millis(SCRUB_WITHIN_MS / batches);
    in_time.clamp(took * least, took * most).min(Duration::from_millis(SCRUB_REST_MS_MAX))
}

impl Shared {
    /// Removes a batch; how many bytes of versions it was.
    fn step(&self, orders: Orders) -> Result<u64, EngineError> {
        let _engine_is_same = self.engine_is_same.lock();
        let Plan { batch, next, removed } = engine::read(&*self.engine, |view| plan(view, orders))?;
        if !batch.is_empty() {
            self.engine.write(batch)?;
        }
        self.done.send_if_modified(|done| std::mem::replace(done, next) != next);
        Ok(removed)
    }
}

fn scrubbed(view: &dyn View) -> Result<Revision, EngineError> {
    let record = view.get(layout::SCRUBBED)?;
    record.map_or(Ok(Revision(0)), |record| layout::parse_number_record(&record).map(Revision))
}

struct Plan {
    batch: Batch,
    /// Up to which all is clean once the batch is written.
    next: Revision,
    /// Bytes of the versions that it removes.
    removed: u64,
}

/// The next batch.
///
/// A change at or below the compact revision makes older versions of its key unreachable. The
/// newest version stays unless it is a deletion; changes at the compact revision itself all stay,
/// since a watch may start there.
fn plan(view: &dyn View, orders: Orders) -> Result<Plan, EngineError> {
    let (from, compact) = (scrubbed(view)?, orders.compact);
    let mut batch = Batch::default();
    let mut keys: BTreeSet<Bytes> = BTreeSet::new();
    let mut cursor = view.cursor(&layout::revision_key(Revision(compact.0 + 1), 0));
    cursor.seek(&layout::revision_key(from, 0));
    let (mut seen, mut next, mut last) = (0, compact, Revision(0));
    while let Some((stored, key)) = cursor.item()? {
        let revision = layout::parse_revision_key(stored)?;
        if seen >= SCRUB_BATCH_CHANGES && revision != last {
            next = last;
            break;
        }
        (last, seen) = (revision, seen + 1);
        if revision < compact {
            batch.delete(&[stored]);
        }
        keys.insert(Bytes::copy_from_slice(key));
        cursor.next();
    }
    let mut versions = view.version_cursor();
    let (mut stored_key, mut removed) = (Vec::new(), 0);
    for key in keys {
        layout::version_key(&mut stored_key, &key, compact);
        versions.seek(&stored_key);
        let prefix = &stored_key[..stored_key.len() - 8];
        let mut newest = true;
        while let Some((stored, value)) = versions.item()? {
            let (of, revision) = layout::split_version(stored)?;
            if of != prefix {
                break;
            }
            let newest_of_all = newest && !planted::is(Bug::CompactionTakesLive);
            let keep = newest_of_all && (revision == compact || Version::parse(value)? != Version::Tombstone);
            if !keep {
                removed += (stored.len() + value.len()) as u64;
                batch.delete(&[stored]);
            }
            newest = false;
            versions.next();
        }
    }
    if next == compact {
        trim_times(view, orders.time_ms, &mut batch)?;
    }
    batch.put(&[layout::SCRUBBED], &[&layout::number_record(next.0)]);
    Ok(Plan { batch, next, removed })
}

/// Removes entries of the index time → revision that are too old.
fn trim_times(view: &dyn View, time_ms: i64, batch: &mut Batch) -> Result<(), EngineError> {
    let keep_from = time_ms.saturating_sub(TIME_INDEX_AGE_MS_MAX).max(0) as u64;
    let mut cursor = view.cursor(&layout::numbered(layout::TIMES, keep_from));
    cursor.seek(&[layout::TIMES]);
    while let Some((stored, _)) = cursor.item()? {
        batch.delete(&[stored]);
        cursor.next();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_are_long_where_there_is_time() {
        let ms = Duration::from_millis;
        let batches = |n: u64| n * SCRUB_BATCH_CHANGES as u64;
        assert_eq!(rest(ms(5), batches(10)), ms(50));
        // Twelve thousand batches within four minutes.
        assert_eq!(rest(ms(4), batches(12_000)), ms(20));
        assert_eq!(rest(ms(5), batches(1_000_000)), ms(15));
        assert_eq!(rest(Duration::from_secs(3), batches(10)), ms(SCRUB_REST_MS_MAX));
    }
}
