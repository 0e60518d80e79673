//! The replicated machine: what every replica computes alike from the log.

mod counts;
mod dedup;
mod dump;
mod hash;
mod lost;
#[cfg(test)]
mod lost_holes_test;
#[cfg(all(test, feature = "rocksdb"))]
mod lost_test;
mod reborn;
mod run;
mod scan;
mod snapshot;
mod state;
mod txn;

use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::engine::{self, Engine, EngineError, Size};
use crate::fault::Fault;
use crate::history::{self, History, Overlay};
use crate::kv::{Error, LeaseId, RangeRequest, RangeResponse, Revision, WatchRequest, WatchStream};
use crate::layout;
use crate::log::{Entry, LogPosition, Outcome};
use crate::planted::{self, Bug};
use crate::scrub::Scrubber;
use crate::watch::{Chunk, Filter, Hub, HubLimits, Source, WatchCounts, WatchCursor, replay};
use counts::Counts;
use state::State;

pub use dump::{Dump, Versions};
pub use lost::{Gap, How, Lost, LostKey, Place};
pub use reborn::{Rebirth, Reborn};
pub use scan::{KvHash, RangePage};
pub use snapshot::{SNAPSHOT_FILE, SnapshotFile, SnapshotMeta};

/// How far the machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry applied; `None` in a new store.
    pub position: Option<LogPosition>,
    pub membership: Bytes,
    /// The entry that `membership` came from.
    pub membership_position: Option<LogPosition>,
    pub revision: Revision,
    pub compact_revision: Revision,
    /// Of the logical state: the same on every replica at one position.
    pub hash: u128,
    /// The newest leader's time applied, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub feature_level: u32,
}

/// What a sound disk held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskChecked {
    /// Read in all.
    pub bytes: u64,
    /// Live ones.
    pub keys: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    pub id: LeaseId,
    pub ttl_s: i64,
    /// Counts recorded renewals: what an expiry must name.
    pub generation: u64,
}

/// One writer (`apply`), many readers. Cheap to clone; the clones are one store, and when the last
/// is dropped its watches end with `None`.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn Engine>,
    writer: Mutex<Writer>,
    applied: RwLock<Applied>,
    durable: Mutex<Option<LogPosition>>,
    hub: Arc<Hub>,
    scrubber: Scrubber,
    counts: Counts,
}

struct Writer {
    state: State,
    overlay: Overlay,
    /// Why the state in memory may not be what is in the engine.
    stopped: Option<String>,
}

impl Store {
    /// Opens what the engine holds.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Fault> {
        Self::open_with(engine, HubLimits::default())
    }

    pub(crate) fn open_with(engine: Arc<dyn Engine>, limits: HubLimits) -> Result<Self, Fault> {
        let mut state = engine::read(&*engine, State::load)?;
        if planted::is(Bug::RevisionLowered) && state.compact_revision.0 > 0 {
            state.revision.0 -= 1;
        }
        let applied = state.applied();
        let scrubber = Scrubber::start(engine.clone())?;
        scrubber.order(applied.compact_revision, applied.time_ms);
        let inner = Inner {
            engine,
            writer: Mutex::new(Writer { state, overlay: Overlay::default(), stopped: None }),
            durable: Mutex::new(applied.position),
            hub: Arc::new(Hub::new(applied.revision, limits)),
            applied: RwLock::new(applied),
            scrubber,
            counts: Counts::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn applied(&self) -> Applied {
        self.inner.applied.read().clone()
    }

    pub fn revision(&self) -> Revision {
        self.inner.applied.read().revision
    }

    /// Applies a run of entries as one engine batch: all of it or, on an error, none. One outcome
    /// an entry, in order. Watchers are told after the batch is written. Blocks; calls are
    /// serialised.
    pub fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Outcome>, Fault> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let inner = &*self.inner;
        let writer = &mut *inner.writer.lock();
        if let Some(reason) = &writer.stopped {
            return Err(Fault::Stopped(reason.clone()));
        }
        let Writer { state, overlay, .. } = &mut *writer;
        let run = engine::read(&*inner.engine, |view| run::apply(state, overlay, view, entries));
        let written = run.and_then(|run| {
            inner.engine.write(run.batch)?;
            if planted::is(Bug::AppliedApart) {
                let mut apart = engine::Batch::default();
                state.save(&mut apart);
                inner.engine.write(apart)?;
            }
            Ok((run.commits, run.outcomes))
        });
        let (commits, outcomes) = match written {
            Ok(written) => written,
            Err(fault) => {
                writer.reload(&*inner.engine);
                return Err(fault);
            }
        };
        writer.overlay.written();
        let applied = writer.state.applied();
        let (compact_revision, time_ms) = (applied.compact_revision, applied.time_ms);
        let before = inner.applied.read().compact_revision;
        inner.hub.tell(commits, || *inner.applied.write() = applied);
        if compact_revision > before {
            inner.scrubber.order(compact_revision, time_ms);
        }
        Ok(outcomes)
    }

    /// Reads from this replica as it stands.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        request.check()?;
        // The revision before the view: what the view lacks of a later one is not looked at.
        let current = self.revision();
        engine::read(&*self.inner.engine, |view| {
            // And the compaction after it: had something been removed, it would show.
            let compact = self.inner.applied.read().compact_revision;
            let at = if request.revision.0 > 0 { request.revision } else { current };
            history::check_revision(at, current, compact)?;
            let mut history = History::new(view);
            let mut found = match counts::is_page(request) {
                true => self.inner.counts.page(&mut history, request, at, current)?,
                false => history::range(&mut history, &Overlay::default(), request, current)?,
            };
            if planted::is(Bug::RevisionBack) && current.0 % 5 == 0 {
                found.revision = Revision(current.0 - 1);
            }
            Ok(found)
        })
    }

    /// Follows changes from `request.start_revision` on, or from now on.
    pub fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        let compact = self.inner.applied.read().compact_revision;
        if request.start_revision.0 > 0 && request.start_revision < compact {
            return Err(Error::Compacted { compact_revision: compact });
        }
        let source = Arc::new(Past(Arc::downgrade(&self.inner)));
        Ok(Box::pin(WatchCursor::new(self.inner.hub.clone(), source, &request)))
    }

    /// Ends every watch with `error` (say, `NoLeader`), after the events it is still owed.
    pub fn end_watches(&self, error: Error) {
        self.inner.hub.end_all(error);
    }

    /// Sends every watch that asked for it `Progress` up to the present revision, after the events
    /// it is still owed.
    pub fn announce_progress(&self) {
        self.inner.hub.announce_progress();
    }

    /// Watches that follow the newest changes.
    pub fn live_watches(&self) -> usize {
        self.inner.hub.watches()
    }

    /// How much the watches hold, and what they were given. Looks at each of them.
    pub fn watch_counts(&self) -> WatchCounts {
        self.inner.hub.counts()
    }

    pub fn leases(&self) -> Result<Vec<LeaseRecord>, Error> {
        engine::read(&*self.inner.engine, |view| {
            let mut leases = Vec::new();
            let mut cursor = view.cursor(&[layout::LEASES + 1]);
            cursor.seek(&[layout::LEASES]);
            while let Some((key, value)) = cursor.item()? {
                let (id, _) = layout::parse_numbered(key)?;
                let (ttl_s, generation) = state::parse_lease(value)?;
                leases.push(LeaseRecord { id: LeaseId(id as i64), ttl_s, generation });
                cursor.next();
            }
            Ok(leases)
        })
    }

    pub fn lease(&self, id: LeaseId) -> Result<Option<LeaseRecord>, Error> {
        engine::read(&*self.inner.engine, |view| {
            let Some(stored) = view.get(&layout::numbered(layout::LEASES, id.0 as u64))? else {
                return Ok(None);
            };
            let (ttl_s, generation) = state::parse_lease(&stored)?;
            Ok(Some(LeaseRecord { id, ttl_s, generation }))
        })
    }

    /// The keys attached to a lease, sorted.
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Error> {
        let prefix = layout::numbered(layout::ATTACHED, id.0 as u64);
        engine::read(&*self.inner.engine, |view| {
            let mut keys = Vec::new();
            let mut cursor = view.cursor(&[layout::ATTACHED + 1]);
            cursor.seek(&prefix);
            while let Some((stored, _)) = cursor.item()? {
                let Some(key) = stored.strip_prefix(&prefix) else { break };
                keys.push(Bytes::copy_from_slice(key));
                cursor.next();
            }
            Ok(keys)
        })
    }

    /// The epoch of a leadership's scope; if it was never raised or is forgotten, that of all such: one
    /// above every epoch that was forgotten, or what a new cluster made of an old state begins with.
    pub fn fence_epoch(&self, scope: &str) -> Result<u64, Error> {
        let key = |scope: &str| [&[layout::FENCES], scope.as_bytes()].concat();
        engine::read(&*self.inner.engine, |view| {
            let stored = match view.get(&key(scope))? {
                None => view.get(&key(state::EVERY_SCOPE))?,
                stored => stored,
            };
            Ok(stored.map_or(Ok(0), |stored| layout::parse_number_record(&stored))? as u64)
        })
    }

    /// A revision that was the newest at `time_ms` or up to the index's step before; `None` when
    /// the index does not reach that far.
    pub fn revision_at(&self, time_ms: i64) -> Result<Option<Revision>, Error> {
        engine::read(&*self.inner.engine, |view| {
            let mut found = None;
            let end = layout::numbered(layout::TIMES, time_ms.max(0) as u64 + 1);
            let mut cursor = view.cursor(&end);
            cursor.seek(&[layout::TIMES]);
            while let Some((_, value)) = cursor.item()? {
                found = Some(Revision(layout::parse_number_record(value)?));
                cursor.next();
            }
            Ok(found)
        })
    }

    /// Makes everything applied before the call durable; the position that surely is.
    pub fn flush(&self) -> Result<Option<LogPosition>, Fault> {
        let position = self.inner.applied.read().position;
        self.inner.engine.flush()?;
        Ok(self.inner.note_durable(position))
    }

    /// The highest position known to be durable: the log may be purged up to it.
    pub fn durable(&self) -> Option<LogPosition> {
        *self.inner.durable.lock()
    }

    /// Waits until everything that a compaction to `revision` makes removable is removed.
    pub async fn scrubbed(&self, revision: Revision) -> Result<(), Error> {
        let mut done = self.inner.scrubber.done();
        let waited = done.wait_for(|done| *done >= revision).await;
        waited.map(|_| ()).map_err(|_| Error::Unavailable("the store is closing".into()))
    }

    /// Writes a snapshot into the new directory `dir`. May run beside `apply`; what it contains is
    /// in the answer.
    pub fn checkpoint(&self, dir: &Path) -> Result<SnapshotMeta, Fault> {
        let meta = snapshot::write(&*self.inner.engine, dir)?;
        self.inner.note_durable(meta.applied.position);
        Ok(meta)
    }

    /// Verifies the snapshot in `dir`: every file, and the hash of the state in it.
    pub fn check_snapshot(&self, dir: &Path) -> Result<SnapshotMeta, Fault> {
        snapshot::verify(&*self.inner.engine, dir)
    }

    /// Verifies the snapshot in `dir` and installs it.
    pub fn install(&self, dir: &Path) -> Result<Applied, Fault> {
        let meta = self.check_snapshot(dir)?;
        self.install_checked(dir, &meta)
    }

    /// Puts the snapshot in `dir`, which was verified, in the state's place; `dir` is consumed.
    /// Refuses one that is older than what was applied. Watches read on in its history. After
    /// [`Fault::NoSpace`] the state is as before, and the same can be tried again; when it fails
    /// for another reason than the snapshot ([`Fault::Snapshot`]), the store must be opened again.
    pub fn install_checked(&self, dir: &Path, meta: &SnapshotMeta) -> Result<Applied, Fault> {
        let inner = &*self.inner;
        let writer = &mut *inner.writer.lock();
        if meta.applied.position < writer.state.position {
            return Err(Fault::Snapshot("it is older than the state".into()));
        }
        if let Err(error) = inner.scrubber.paused(|| inner.engine.install(dir)) {
            if error == EngineError::NoSpace {
                return Err(Fault::NoSpace);
            }
            // The engine may come back with the old state or the new one: this one must not go on
            // making changes durable that the next start would not have.
            writer.stopped = Some(format!("a snapshot was not installed: {error}"));
            return Err(error.into());
        }
        if planted::is(Bug::SnapshotLosesKey) {
            inner.lose_a_key()?;
        }
        writer.reload(&*inner.engine);
        if let Some(reason) = &writer.stopped {
            return Err(Fault::Stopped(reason.clone()));
        }
        let applied = writer.state.applied();
        inner.note_durable(applied.position);
        if planted::is(Bug::SnapshotKeepsOld) {
            inner.hub.tell(Vec::new(), || *inner.applied.write() = applied.clone());
        } else {
            inner.hub.replaced(applied.revision, || *inner.applied.write() = applied.clone());
        }
        inner.scrubber.order(applied.compact_revision, applied.time_ms);
        Ok(applied)
    }

    /// Reads everything that is stored, from the disk, and computes the state's hash again. Writes a
    /// checkpoint into the new directory `dir`, which stays. `pace` is told of bytes as they are read,
    /// and may wait.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] when a block, a record or the hash is not what was written.
    pub fn check_disk(&self, dir: &Path, pace: &mut dyn FnMut(u64)) -> Result<DiskChecked, Fault> {
        self.inner.engine.checkpoint(dir)?;
        let mut checked = Err(EngineError::Io("the checkpoint was not read".into()));
        self.inner.engine.inspect_disk(dir, &mut |view| {
            checked = State::load(view).and_then(|mut state| state.verify(view, pace));
        })?;
        Ok(checked?)
    }

    /// Computes the state's hash again from everything stored. Reads the whole state.
    pub fn verify(&self) -> Result<(), Fault> {
        engine::read(&*self.inner.engine, |view| {
            Ok(State::load(view)?.verify(view, &mut |_| {}).map(drop)?)
        })
    }

    /// Bytes of everything stored before it is compressed; an estimate.
    pub fn raw_bytes(&self) -> u64 {
        self.inner.engine.raw_bytes()
    }

    pub fn size(&self) -> Size {
        self.inner.engine.size()
    }
}

impl Writer {
    /// Takes the state from the engine again after a run that was not written.
    fn reload(&mut self, engine: &dyn Engine) {
        self.overlay = Overlay::default();
        match engine::read(engine, State::load) {
            Ok(state) => (self.state, self.stopped) = (state, None),
            Err(error) => {
                tracing::error!(%error, "the state cannot be read back; the machine stops");
                self.stopped = Some(error.to_string());
            }
        }
    }
}

impl Inner {
    /// For [`Bug::SnapshotLosesKey`]: removes the first version that is stored.
    fn lose_a_key(&self) -> Result<(), EngineError> {
        let batch = engine::read(&*self.engine, |view| {
            let mut batch = engine::Batch::default();
            let mut cursor = view.version_cursor();
            cursor.seek(&[layout::VERSIONS]);
            if let Some((stored, _)) = cursor.item()? {
                batch.delete(&[stored]);
            }
            Ok::<_, EngineError>(batch)
        })?;
        self.engine.write(batch)
    }

    fn note_durable(&self, position: Option<LogPosition>) -> Option<LogPosition> {
        let mut durable = self.durable.lock();
        *durable = (*durable).max(position);
        *durable
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.hub.close();
    }
}

/// The store's history, for watches that catch up; does not keep the store open.
struct Past(Weak<Inner>);

impl Source for Past {
    fn chunk(&self, filter: &Filter, from: Revision) -> Option<Result<Chunk, Error>> {
        let inner = self.0.upgrade()?;
        let through = inner.applied.read().revision;
        Some(engine::read(&*inner.engine, |view| {
            let compact = inner.applied.read().compact_revision;
            if from < compact {
                return Err(Error::Compacted { compact_revision: compact });
            }
            let missed = planted::is(Bug::CompactedMissed) && from == compact && compact.0 > 0;
            let lost = i64::from(planted::is(Bug::WatchLosesResumed) || missed);
            let again = i64::from(planted::is(Bug::WatchDoubles) && from > compact);
            Ok(replay(view, filter, Revision(from.0 + lost - again), through, compact)?)
        }))
    }
}
