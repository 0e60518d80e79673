//! The replicated machine: what every replica computes alike from the log.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{Engine, Size};
use crate::fault::Fault;
use crate::kv::{Error, LeaseId, RangeRequest, RangeResponse, Revision, WatchRequest, WatchStream};
use crate::log::{Entry, LogPosition, Outcome};

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
    /// The newest leader's time applied.
    pub time_ms: i64,
    pub feature_level: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    pub id: LeaseId,
    pub ttl_s: i64,
    /// Counts recorded renewals: what an expiry must name.
    pub generation: u64,
}

/// A snapshot's description; it also lies in the snapshot's directory as the file `SNAPSHOT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub applied: Applied,
    /// Every file but `SNAPSHOT` itself, by name.
    pub files: Vec<SnapshotFile>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFile {
    pub name: String,
    pub len: u64,
    pub crc32c: u32,
}

/// One writer (`apply`), many readers. Cheap to clone; the clones are one store.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
}

impl Store {
    /// Opens what the engine holds.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Fault> { Err(Fault::Stopped("not built yet".into())) }
    pub fn applied(&self) -> Applied { Applied::default() }
    /// Applies a run of entries as one engine batch: all of it or, on an error, none. An outcome
    /// for each entry, in order. Watchers are told after the batch is written.
    /// Blocks; calls are serialised.
    pub fn apply(&self, run: Vec<Entry>) -> Result<Vec<Outcome>, Fault> { Err(Fault::Stopped("not built yet".into())) }
    /// Reads from this replica as it stands.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> { Err(Error::Broken("not built yet".into())) }
    pub fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> { Err(Error::Broken("not built yet".into())) }
    /// Ends every watch with `error` (e.g. `NoLeader`).
    pub fn end_watches(&self, error: Error) { let _ = error; }
    /// Sends every watch that asked for it `Progress` up to the present revision (after the events
    /// it is still owed).
    pub fn announce_progress(&self) {}
    pub fn leases(&self) -> Result<Vec<LeaseRecord>, Error> { Err(Error::Broken("not built yet".into())) }
    pub fn lease(&self, id: LeaseId) -> Result<Option<LeaseRecord>, Error> { Err(Error::Broken("not built yet".into())) }
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Error> { Err(Error::Broken("not built yet".into())) }
    pub fn fence_epoch(&self, scope: &str) -> Result<u64, Error> { Err(Error::Broken("not built yet".into())) }
    /// The newest revision that existed at `time_ms`, to the granularity of the index.
    pub fn revision_at(&self, time_ms: i64) -> Result<Option<Revision>, Error> { Err(Error::Broken("not built yet".into())) }
    /// Makes everything applied before the call durable; the position that surely is.
    pub fn flush(&self) -> Result<Option<LogPosition>, Fault> { Err(Fault::Stopped("not built yet".into())) }
    /// The position of the last flush known to be complete (the log may be purged up to it).
    pub fn durable(&self) -> Option<LogPosition> { None }
    /// Writes a snapshot into the new directory `dir`. May run beside `apply`.
    pub fn checkpoint(&self, dir: &Path) -> Result<SnapshotMeta, Fault> { Err(Fault::Stopped("not built yet".into())) }
    /// Verifies the snapshot in `dir` and puts it in the state's place; `dir` is consumed.
    pub fn install(&self, dir: &Path) -> Result<Applied, Fault> { Err(Fault::Stopped("not built yet".into())) }
    pub fn size(&self) -> Size { self.engine.size() }
}
