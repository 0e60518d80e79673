//! The raft log: made for appending, truncating and dropping its oldest part, and for nothing
//! else.
//!
//! ```text
//!   append ──► cache (readable at once) ──► writer thread: one write, one fdatasync per group
//!                                              │              └─► IOFlushed, votes, truncations
//!                                              ▼
//!   0000000000000001.log  0000000000000002.log  0000000000000003.log (prepared: zeros)
//!   header · frame · frame · …                  └─ preparer thread: makes it ahead, unlinks old
//! ```
//!
//! **Invariant**: what was reported durable is never dropped on recovery. A tail torn by a crash
//! is cut; damage before it makes [`Log::open`] fail, since a member that truncates what it
//! acknowledged could help to elect a leader that lacks it.

mod cache;
mod check;
mod file;
mod frame;
mod prepare;
mod recover;
mod sim_file;
mod state;
mod storage;
mod writer;

#[cfg(test)]
mod check_test;
#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod suite_test;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trireme_store::work::{self, Running, Sender};

pub use file::{LogDir, LogFile, OsDir};
pub use sim_file::{Astray, Change, SimDir};

use crate::types::{LogId, Vote};
use prepare::{Job, Preparer, Room};
pub(crate) use state::Meter;
use state::Shared;
use writer::{Op, Writer};

/// How a log is laid out and what it belongs to.
#[derive(Clone)]
pub struct LogConfig {
    pub cluster: u64,
    pub member: u64,
    /// Size of a segment. A log is dropped segment by segment.
    pub segment_bytes: u64,
    /// Decoded entries kept for replication and apply.
    pub cache_bytes: usize,
    /// Makes the log where there is none; otherwise that is [`OpenError::Missing`].
    pub make: bool,
    /// Kept free for the time when the disk is full.
    pub reserve_bytes: u64,
    /// Called when a write or a sync failed: what reached the disk is then unknown, and the
    /// process must not go on. The default aborts.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

impl LogConfig {
    pub fn new(cluster: u64, member: u64) -> Self {
        Self {
            cluster,
            member,
            segment_bytes: 64 * 1024 * 1024,
            cache_bytes: 16 * 1024 * 1024,
            make: true,
            reserve_bytes: 32 * 1024 * 1024,
            on_fatal: Arc::new(|reason| {
                tracing::error!(reason, "the raft log failed; aborting");
                std::process::abort();
            }),
        }
    }
}

/// How far the last segment may be used while the disk refuses the next one: by entries that were
/// under way at the leader when it began to refuse writes, by proposals that free space, and by
/// their entries. The rest is for votes.
const APPENDS_16THS: u32 = 12;
const FREEING_PROPOSALS_16THS: u32 = 14;
const FREEING_APPENDS_16THS: u32 = 15;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the raft log is of cluster {found:016x}, not {expected:016x}")]
    OtherCluster { found: u64, expected: u64 },
    #[error("the raft log is of member {found:016x}, not {expected:016x}")]
    OtherMember { found: u64, expected: u64 },
    #[error("the raft log has format {found}, and this version of trireme knows formats up to {known}")]
    Newer { found: u32, known: u32 },
    /// Something that had reached the disk is no longer what was written.
    #[error(
        "the raft log is damaged in segment {segment} at byte {offset}: {reason}; this member must be rebuilt from the others"
    )]
    Damaged { segment: u64, offset: u64, reason: String },
    #[error("there is no raft log")]
    Missing,
    #[error("the raft log cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl OpenError {
    /// Whether what was in the log is lost.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing)
    }
}

/// A durable log. Cheap to clone; the threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    ops: Arc<OpSender>,
    dir: Arc<dyn LogDir>,
}

struct OpSender {
    ops: Sender<Op>,
    prepare: Sender<Job>,
    room: Arc<Room>,
    running: parking_lot::Mutex<Vec<Running>>,
}

impl Drop for OpSender {
    fn drop(&mut self) {
        let _ = self.ops.send(Op::Stop);
        // A writer that waits for a segment which the disk refuses must not keep a member from
        // stopping: what it has not written was not acknowledged.
        if self.room.full.load(Ordering::Relaxed) {
            let _ = self.prepare.send(Job::Stop);
        }
        for running in self.running.lock().drain(..) {
            running.join();
        }
    }
}

impl Log {
    /// Opens the log in `dir`, or makes one. Cuts a tail that was torn by a crash.
    pub fn open(dir: Arc<dyn LogDir>, config: LogConfig) -> Result<Self, OpenError> {
        let recovered = recover::recover(dir.as_ref(), &config)?;
        let room = Arc::<Room>::default();
        let (preparer, preparing) = Preparer::start(dir.clone(), config.clone(), room.clone())?;
        let prepare = preparer.jobs();
        let shared = Arc::new(Shared::new(recovered.state, config, room.clone()));
        let writer = Writer::new(shared.clone(), preparer, recovered.tail);
        let (ops, writing) = work::start("raft-log", writer)?;
        let ops = OpSender { ops, prepare, room, running: parking_lot::Mutex::new(vec![writing, preparing]) };
        Ok(Self { shared, ops: Arc::new(ops), dir })
    }

    /// False while the disk is full: what makes the state grow must not be proposed.
    pub fn has_room(&self) -> bool {
        !self.shared.room.full.load(Ordering::Relaxed) && !self.is_told_full()
    }

    /// Takes the disk for full from now on, for so long; zero ends that. Nothing on it changes.
    pub fn tell_full(&self, lasts: Duration) {
        let until = if lasts.is_zero() { 0 } else { self.shared.now_ms() + lasts.as_millis() as u64 };
        self.shared.told_full_until_ms.store(until, Ordering::Relaxed);
    }

    /// Whether it was told so.
    pub fn is_told_full(&self) -> bool {
        let until = self.shared.told_full_until_ms.load(Ordering::Relaxed);
        until != 0 && self.shared.now_ms() < until
    }

    /// Whether what frees space may be proposed.
    pub fn has_room_to_free(&self) -> bool {
        self.has_room_up_to(FREEING_PROPOSALS_16THS)
    }

    /// Whether a leader's entries may be appended; `frees` says that none of them makes the state
    /// grow. An append that the present segment cannot take would wait for the disk, and votes
    /// behind it: it is the leader that has to wait.
    pub fn takes_appends(&self, frees: bool) -> bool {
        self.has_room_up_to(if frees { FREEING_APPENDS_16THS } else { APPENDS_16THS })
    }

    fn has_room_up_to(&self, used_16ths: u32) -> bool {
        self.has_room()
            || self.shared.room.next_is_made.load(Ordering::Relaxed)
            || self.shared.tail_used_16ths.load(Ordering::Relaxed) < used_16ths
    }

    /// Says that somebody found the disk full: the reserve is given back to it, and there is no
    /// room until it can be had again.
    pub fn give_reserve_back(&self) {
        let _ = self.ops.prepare.send(Job::Release);
    }

    /// The sync that is running now, by when it began on the log's own clock.
    pub fn sync_began(&self) -> Option<u64> {
        Some(self.shared.sync_started_ms.load(Ordering::Relaxed)).filter(|began| *began != 0)
    }

    /// How long the sync that is running now has been running.
    pub fn sync_age(&self) -> Option<Duration> {
        let began = self.sync_began()?;
        Some(Duration::from_millis(self.shared.now_ms().saturating_sub(began)))
    }

    /// Bytes of the log's files.
    pub fn size_bytes(&self) -> u64 {
        self.shared.state.lock().size_bytes()
    }

    /// The highest position at or below `limit` that can be purged while at least `keep_bytes` of
    /// the log stay.
    pub fn purge_target(&self, limit: u64, keep_bytes: u64) -> Option<u64> {
        self.shared.state.lock().purge_target(limit, keep_bytes)
    }

    /// The last position, the purged one included.
    pub fn last(&self) -> Option<LogId> {
        self.shared.state.lock().last
    }

    /// The committed position as it was last recorded.
    pub fn committed(&self) -> Option<LogId> {
        self.shared.state.lock().committed
    }

    /// Some of the entries from `from` up to `to`, in order; none only where there are none.
    pub(crate) fn read(&self, from: u64, to: u64) -> io::Result<Vec<crate::types::Entry>> {
        self.shared.read(from, to, usize::MAX)
    }

    /// The same, about `budget` bytes of them, one at least. They begin later where the log was
    /// purged.
    pub(crate) fn read_some(
        &self,
        from: u64,
        to: u64,
        budget: usize,
    ) -> io::Result<Vec<crate::types::Entry>> {
        self.shared.read(from, to, budget)
    }

    /// The vote as it was last recorded.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.state.lock().vote
    }

    /// Frames and syncs written since the start.
    pub fn sync_count(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// Bytes written since the log was opened.
    pub fn written_bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// How long the disk takes.
    /// Whose log it is.
    pub(crate) fn member(&self) -> u64 {
        self.shared.config.member
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    /// Bytes that can still be written to the log's disk.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        self.dir.free_bytes()
    }

    fn send(&self, op: Op) -> io::Result<()> {
        self.ops.ops.send(op).map_err(|_| io::Error::other("the raft log's writer has ended"))
    }
}
