//! openraft's view of the store: apply on a thread of its own, snapshots by checkpoint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use trireme_store::log::{
    Command, CommandOp, DecodeError, Entry as StoreEntry, EntryBody, LogPosition, Outcome,
};
use trireme_store::planted::{self, Bug};
use trireme_store::work::{self, Next, Sender, Worker};
use trireme_store::{Fault, Store};

use crate::codec;
use crate::log::Log;
use crate::metrics::{Metrics, Run, now_ns};
use crate::types::{
    CommittedLeaderId, Entry, LogId, MemberId, MemberNode, Membership, Payload, SnapshotMeta,
    StoredMembership, TypeConfig, log_id,
};

/// Entries in one engine batch; the rest of a run goes into the next one.
const RUN_ENTRIES_MAX: usize = 4096;
/// Bytes of commands in one engine batch.
const RUN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Between two tries while the disk has no room for what must be applied.
const NO_SPACE_RETRY: Duration = Duration::from_millis(500);

/// The state at the time a follower needs it, or what was received from a leader.
pub(crate) enum SnapshotData {
    /// The sender takes a checkpoint when it sends: what it holds is at least what the
    /// description says.
    Live,
    Received(PathBuf),
}

pub(crate) type RaftSnapshot = Snapshot<CommittedLeaderId, MemberId, MemberNode, SnapshotData>;

/// What the rest of a member learns from applied entries.
pub(crate) trait Observer: Send + Sync + 'static {
    /// After a run was applied, on the apply thread: it must be quick. `txns` of its commands
    /// compared something or did several things.
    fn applied(&self, outcomes: &[Outcome], txns: u64);
    /// After a run with it was applied, or a snapshot was installed: who belongs to the cluster.
    fn membership(&self, membership: &Membership);
    /// The state was replaced by a snapshot.
    fn replaced(&self);
    /// The state is not what was written: nothing more is applied.
    fn damaged(&self, what: &str);
}

/// Shared between the machine and those who wait for it.
pub(crate) struct Progress {
    applied: watch::Sender<u64>,
    /// One past the highest index handed to apply; above `applied` while it is busy.
    handed: AtomicU64,
    waiting_for_space: AtomicBool,
}

impl Progress {
    pub(crate) fn new(applied: u64) -> Arc<Self> {
        Arc::new(Self {
            applied: watch::Sender::new(applied),
            handed: AtomicU64::new(applied),
            waiting_for_space: AtomicBool::new(false),
        })
    }

    /// One past the last index applied.
    pub(crate) fn next_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Whether entries were handed to apply and are not applied yet, for another reason than a
    /// full disk.
    pub(crate) fn busy(&self) -> bool {
        self.handed.load(Ordering::Relaxed) > self.next_index()
            && !self.waiting_for_space.load(Ordering::Relaxed)
    }

    pub(crate) fn waits_for_space(&self) -> bool {
        self.waiting_for_space.load(Ordering::Relaxed)
    }

    /// Returns once the entry at `index` is applied; `false` when the member ends before.
    pub(crate) async fn reached(&self, index: u64) -> bool {
        self.applied.subscribe().wait_for(|next| *next > index).await.is_ok()
    }
}

/// An entry to be applied, and who waits for its outcome.
type Handed = (Entry, Option<ApplyResponder<TypeConfig>>);

enum Job {
    /// `began_ns` is when it was first tried.
    Apply {
        run: Vec<Handed>,
        handed_ns: u64,
        began_ns: Option<u64>,
        done: oneshot::Sender<Result<(), Fault>>,
    },
    Install {
        dir: PathBuf,
        done: oneshot::Sender<Result<(), Fault>>,
    },
}

/// What to do about a full disk: it passes, so nothing that meets one may fail for good.
#[derive(Clone)]
struct Disk {
    log: Log,
    stop: CancellationToken,
}

impl Disk {
    /// Whether what came to `result` is to be done again in a while: the disk has no room for it, and
    /// the member goes on. `waits` keeps whether that was so before.
    fn lacks_room<T>(&self, what: &str, waits: &mut bool, result: &Result<T, Fault>) -> bool {
        let waited = std::mem::take(waits);
        if matches!(result, Err(Fault::NoSpace)) && !self.stop.is_cancelled() {
            if !waited {
                tracing::error!(what, "the disk is full; waiting");
            }
            self.log.give_reserve_back();
            *waits = true;
        } else if waited && result.is_ok() {
            tracing::info!(what, "there was room");
        }
        *waits
    }
}

pub(crate) struct Machine {
    store: Store,
    disk: Disk,
    jobs: Sender<Job>,
    progress: Arc<Progress>,
}

impl Machine {
    /// Starts what applies, over `store`. `stop` ends what waits for a disk with room, of which
    /// `log` has a reserve.
    pub(crate) fn start(
        store: Store,
        log: Log,
        stop: CancellationToken,
        progress: Arc<Progress>,
        observer: Arc<dyn Observer>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let disk = Disk { log, stop };
        let applier = Applier {
            store: store.clone(),
            disk: disk.clone(),
            progress: progress.clone(),
            observer,
            metrics,
            waiting: None,
            waits: false,
        };
        let (jobs, _) = work::start("raft-apply", applier)?;
        Ok(Self { store, disk, jobs, progress })
    }

    async fn run(&self, job: impl FnOnce(oneshot::Sender<Result<(), Fault>>) -> Job) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        let ended = || io::Error::other("what applies has ended");
        self.jobs.send(job(done)).map_err(|_| ended())?;
        match wait.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(ended()),
        }
    }

    fn snapshot(&self) -> io::Result<RaftSnapshot> {
        Ok(Snapshot { meta: snapshot_meta(&self.store)?, snapshot: SnapshotData::Live })
    }
}

/// What the store has applied, in openraft's terms.
pub(crate) fn snapshot_meta(store: &Store) -> io::Result<SnapshotMeta> {
    to_meta(&store.applied())
}

pub(crate) fn to_meta(applied: &trireme_store::Applied) -> io::Result<SnapshotMeta> {
    let membership = if applied.membership.is_empty() {
        Membership::default()
    } else {
        codec::decode_membership(applied.membership.clone())?
    };
    Ok(SnapshotMeta {
        last_log_id: applied.position.map(to_log_id),
        last_membership: StoredMembership::new(applied.membership_position.map(to_log_id), membership),
    })
}

fn to_log_id(position: LogPosition) -> LogId {
    log_id(position.term, position.index)
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let meta = snapshot_meta(&self.store)?;
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut ended = false;
        while !ended {
            let mut run = Vec::new();
            let mut bytes = 0;
            while run.len() < RUN_ENTRIES_MAX && bytes < RUN_BYTES_MAX {
                let Some(next) = entries.next().await else {
                    ended = true;
                    break;
                };
                let (entry, responder) = next?;
                bytes += codec::encoded_len(&entry);
                run.push((entry, responder));
            }
            if let Some((last, _)) = run.last() {
                self.progress.handed.store(last.log_id.index + 1, Ordering::Relaxed);
                let handed_ns = now_ns();
                self.run(|done| Job::Apply { run, handed_ns, began_ns: None, done }).await?;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // The description is taken here, in order with the applies that openraft knows of: one
        // taken later could be ahead of what it has been told is applied.
        let meta = snapshot_meta(&self.store);
        Builder { store: self.store.clone(), disk: self.disk.clone(), meta }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        match snapshot {
            SnapshotData::Received(dir) => self.run(|done| Job::Install { dir, done }).await,
            SnapshotData::Live => Err(io::Error::other("a live snapshot is nothing to install")),
        }
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(Some(self.snapshot()?).filter(|snapshot| snapshot.meta.last_log_id.is_some()))
    }
}

/// "Builds" a snapshot: makes what is applied durable, after which the log may be purged so far.
pub(crate) struct Builder {
    store: Store,
    disk: Disk,
    meta: io::Result<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let meta = std::mem::replace(&mut self.meta, Err(io::Error::other("built before")))?;
        let mut waits = false;
        let durable = loop {
            let store = self.store.clone();
            let flushed = work::syncing("raft-state", move || store.flush()).await?;
            if !self.disk.lacks_room("flushing the state", &mut waits, &flushed) {
                break flushed.map_err(io::Error::other)?;
            }
            tokio::select! {
                () = tokio::time::sleep(NO_SPACE_RETRY) => {}
                () = self.disk.stop.cancelled() => {}
            }
        };
        // Only what surely is on the disk may leave the log.
        if durable.map(|position| position.index) < meta.last_log_id.map(|id| id.index) {
            return Err(io::Error::other("the flush did not cover what was applied before it"));
        }
        Ok(Snapshot { meta, snapshot: SnapshotData::Live })
    }
}

/// For [`Bug::Diverges`].
fn diverge(entry: &mut StoreEntry) {
    if let EntryBody::Command(Command { op: CommandOp::Txn(txn), .. }) = &mut entry.body
        && entry.at.index.is_multiple_of(50)
    {
        for op in &mut txn.success {
            if let trireme_store::Op::Put(put) = op {
                put.value = bytes::Bytes::from_static(b"otherwise");
            }
        }
    }
}

struct Applier {
    store: Store,
    disk: Disk,
    progress: Arc<Progress>,
    observer: Arc<dyn Observer>,
    metrics: Arc<Metrics>,
    /// What the disk has no room for: it is tried again, and nothing passes it.
    waiting: Option<Job>,
    waits: bool,
}

impl Worker<Job> for Applier {
    fn work(&mut self, job: Option<Job>, _: &mut dyn FnMut() -> Option<Job>) -> Next {
        self.waiting = match self.waiting.take().or(job) {
            Some(Job::Apply { run, handed_ns, began_ns, done }) => {
                let began_ns = began_ns.unwrap_or_else(now_ns);
                let result = self.write(&run);
                let lacks_room = self.disk.lacks_room("applying what was agreed", &mut self.waits, &result);
                self.progress.waiting_for_space.store(lacks_room, Ordering::Relaxed);
                if lacks_room {
                    Some(Job::Apply { run, handed_ns, began_ns: Some(began_ns), done })
                } else {
                    let _ = done.send(result.map(|written| self.tell(run, written, [handed_ns, began_ns])));
                    None
                }
            }
            Some(Job::Install { dir, done }) => {
                self.metrics.snapshots_applying.set(1);
                let installed = self.install(&dir);
                if self.disk.lacks_room("installing a snapshot", &mut self.waits, &installed) {
                    Some(Job::Install { dir, done })
                } else {
                    self.metrics.snapshots_applying.set(0);
                    let _ = done.send(installed);
                    None
                }
            }
            None => None,
        };
        match self.waiting {
            Some(_) => Next::Pause(NO_SPACE_RETRY),
            None => Next::Job,
        }
    }
}

/// What came of a run, and how many transactions it had.
struct Written {
    outcomes: Vec<Outcome>,
    txns: u64,
}

impl Applier {
    /// Installs a snapshot that was verified when it came.
    fn install(&self, dir: &Path) -> Result<(), Fault> {
        let meta = trireme_store::SnapshotMeta::read(dir)?;
        match self.store.install_checked(dir, &meta) {
            Ok(applied) => {
                if let Some(position) = applied.position {
                    self.observer.replaced();
                    match to_meta(&applied) {
                        Ok(meta) => self.observer.membership(meta.last_membership.membership()),
                        Err(error) => return Err(Fault::Corrupt(error.to_string())),
                    }
                    self.progress.applied.send_replace(position.index + 1);
                }
                Ok(())
            }
            // It is older than the state, which so has all that it holds.
            Err(Fault::Snapshot(reason)) => {
                tracing::warn!(reason, "a snapshot was not installed");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    fn write(&self, run: &[Handed]) -> Result<Written, Fault> {
        let mut entries = to_store(run)?;
        if planted::is(Bug::Diverges) && self.disk.log.member() % 2 == 1 {
            entries.iter_mut().for_each(diverge);
        }
        let txns = entries.iter().filter(|entry| is_txn(entry)).count() as u64;
        let applied = self.store.apply(entries);
        if let Err(Fault::Corrupt(what)) = &applied {
            self.observer.damaged(what);
        }
        Ok(Written { outcomes: applied?, txns })
    }

    /// Has everybody know of a run that is applied.
    fn tell(&self, run: Vec<Handed>, Written { outcomes, txns }: Written, [handed_ns, began_ns]: [u64; 2]) {
        let first = run.first().map_or(0, |(entry, _)| entry.log_id.index);
        let next = run.last().map_or(0, |(entry, _)| entry.log_id.index + 1);
        let done_ns = now_ns();
        self.metrics.commit.observe_ns(done_ns - began_ns);
        self.metrics.steps.apply_wait.observe_ns(began_ns - handed_ns);
        if let Some(written) = self.disk.log.meter().frames.find(next - 1) {
            self.metrics.steps.quorum.observe_ns(handed_ns.saturating_sub(written.at_ns[2]));
        }
        if self.metrics.slow.is_slow(done_ns - began_ns) {
            self.metrics.slow_applies.inc();
        }
        self.metrics.applied.record(Run {
            first_index: first,
            next_index: next,
            at_ns: [handed_ns, began_ns, done_ns],
        });
        for (entry, _) in &run {
            if let Payload::Membership(membership) = &entry.payload {
                self.observer.membership(membership);
            }
        }
        self.observer.applied(&outcomes, txns);
        self.progress.applied.send_replace(next);
        for ((_, responder), outcome) in run.into_iter().zip(outcomes) {
            if let Some(responder) = responder {
                responder.send(Some(outcome));
            }
        }
    }
}

/// What etcd counts as a transaction: all but a plain put or deletion.
fn is_txn(entry: &StoreEntry) -> bool {
    let EntryBody::Command(command) = &entry.body else { return false };
    match &command.op {
        CommandOp::Txn(txn) => !txn.compare.is_empty() || txn.success.len() + txn.failure.len() != 1,
        _ => false,
    }
}

fn to_store(run: &[Handed]) -> Result<Vec<StoreEntry>, Fault> {
    run.iter().map(|(entry, _)| store_entry(entry).map_err(Fault::from)).collect()
}

/// An entry as the store takes it.
pub(crate) fn store_entry(entry: &Entry) -> Result<StoreEntry, DecodeError> {
    let at = LogPosition { term: entry.log_id.leader_id.term, node_id: 0, index: entry.log_id.index };
    let body = match &entry.payload {
        Payload::Blank => EntryBody::Blank,
        Payload::Membership(membership) => EntryBody::Membership(codec::encode_membership(membership)),
        Payload::Normal(proposal) => EntryBody::Command(match &proposal.command {
            Some(command) => Command::clone(command),
            None => Command::decode(proposal.bytes.clone())?,
        }),
    };
    Ok(StoreEntry { at, body })
}
