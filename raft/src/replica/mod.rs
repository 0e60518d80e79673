//! A member of the cluster: the store, replicated.
//!
//! ```text
//!   Kv ── proposals ──► leader? a round ──► log ──► apply ──► outcome
//!     │                 other?  Peer.Propose ───────► …
//!     ├── reads ───────► one ReadIndex for all who wait ──► applied so far? ──► store
//!     └── watches, serializable reads ──► the store, once it has caught up
//! ```

mod agreed;
mod backend;
mod boots;
mod bootstrap;
mod config;
pub(crate) mod disk_check;
mod elections;
mod faults;
mod features;
mod joining;
mod joint;
mod kv;
mod leases;
mod liveness;
pub(crate) mod marks;
mod members;
mod metrics;
mod newcomer;
mod proposals;
mod reads;
mod rounds;
mod status;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures::{FutureExt, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;
use trireme_store::log::Outcome;
use trireme_store::planted::{self, Bug};
use trireme_store::{Error, Fault, Revision, Store, work};

pub use agreed::{AgreedBody, AgreedEntry};
pub use config::{Limits, OpenEngine, OpenLogDir, ReplicaConfig, Timing};
pub use faults::{ChaosFault, FAULT_LASTS_MAX};
pub use joining::Join;
pub use members::{MemberChange, MemberError};
pub use status::{Joining, PeerStatus, ReplicaStatus, Role};

use crate::identity::{DataDir, Identity, IdentityError};
use crate::log::{Log, LogConfig, OpenError};
use crate::machine::{Machine, Observer, Progress};
use crate::metrics::{Counted, Metrics};
use crate::peer::pb::peer_server::PeerServer;
use crate::peer::{Contact, Factory, PeerPort, PeerService, Peers, SnapshotDirs};
use crate::types::{MemberId, Membership, TypeConfig};
use faults::Faults;
use leases::Leases;
use marks::Marks;
use newcomer::Newcomer;
use proposals::Proposals;
use reads::Readers;
use rounds::Rounds;

/// Threads of the raft core and the peers' connections, apart from whatever else the process does.
const CORE_THREADS_MAX: usize = 2;
/// Tasks that have not ended by then are left behind when a member stops.
const SHUTDOWN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Entries in one message to a follower; bytes bound it before that.
const APPEND_ENTRIES_MAX: u64 = 4096;

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error("the state cannot be opened: {0}")]
    Store(String),
    #[error(
        "the data directory has an identity and no raft log: the log is gone, and with it this member's votes; it must be rebuilt under a new identity"
    )]
    LogMissing,
    #[error(
        "this member's state was found to differ from that of a majority, and again after a start; it must be rebuilt under a new identity"
    )]
    Diverged,
    /// The data must be built anew from the other members, under a new identity.
    #[error(
        "the data is damaged ({0}); it must be rebuilt under a new identity, from the other members or a backup"
    )]
    Damaged(String),
    #[error(
        "the state is of feature level {found}, and this version of trireme understands {known} at most: a newer one has written it"
    )]
    Newer { found: u32, known: u32 },
    #[error("raft cannot start: {0}")]
    Raft(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl StartError {
    fn of_state(fault: Fault) -> Self {
        match fault {
            Fault::Corrupt(what) => Self::Damaged(what),
            fault => Self::Store(fault.to_string()),
        }
    }

    /// Whether this member's copy of the cluster's data is lost or wrong. It must not go on with it;
    /// the others may have another.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::LogMissing | Self::Diverged => true,
            Self::Log(error) => error.is_damage(),
            _ => false,
        }
    }

    /// Whether starting again would end the same way, until somebody does something about the
    /// directory or the command line. A full disk, a directory that another process has not left
    /// yet and the like pass by themselves.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Identity(error) => match error {
                IdentityError::OtherCluster { .. }
                | IdentityError::Newer { .. }
                | IdentityError::Malformed { .. } => true,
                IdentityError::Locked { .. } | IdentityError::Io { .. } => false,
            },
            Self::Log(error) => !matches!(error, OpenError::Io(_)),
            Self::LogMissing | Self::Diverged | Self::Damaged(_) | Self::Newer { .. } => true,
            Self::Store(_) | Self::Raft(_) | Self::Io(_) => false,
        }
    }
}

/// A running member. Cheap to clone; [`Replica::shutdown`] ends it for all clones.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: ReplicaConfig,
    member: MemberId,
    cluster_id: u64,
    fresh: bool,
    raft: Raft<TypeConfig, Machine>,
    store: Store,
    log: Log,
    contact: Arc<Contact>,
    peers: Arc<Peers>,
    snapshots: Arc<SnapshotDirs>,
    progress: Arc<Progress>,
    proposals: Proposals,
    rounds: Rounds,
    readers: Readers,
    leases: Arc<Leases>,
    marks: Arc<Marks>,
    metrics: Arc<Metrics>,
    /// Starts of other members.
    seen: boots::Seen,
    newcomer: Arc<Newcomer>,
    /// What an operator plays on it.
    faults: Arc<Faults>,
    /// Proposals are kept back: leadership is changing hands.
    hold: watch::Sender<bool>,
    /// Everything that was acknowledged before this start has been applied.
    caught_up: watch::Sender<bool>,
    /// False once no leader was heard of for [`Timing::no_leader`].
    has_leader: watch::Sender<bool>,
    announced: AtomicI64,
    /// The cluster exists, and this member's data is new.
    elsewhere: AtomicBool,
    /// The term in which this member was first seen leading with a quorum behind it, and when.
    led: Mutex<Option<(u64, std::time::Instant)>>,
    problems: Mutex<Vec<String>>,
    /// Entries that it has, and of how many, while it comes into the cluster.
    joining: Mutex<Option<(u64, u64)>>,
    stop: CancellationToken,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    _dir: DataDir,
}

/// What applied entries tell the rest of the member.
struct Effects {
    data_dir: std::path::PathBuf,
    leases: Arc<Leases>,
    marks: Arc<Marks>,
    newcomer: Arc<Newcomer>,
    metrics: Arc<Metrics>,
}

impl Observer for Effects {
    fn applied(&self, outcomes: &[Outcome], txns: u64) {
        self.metrics.operations.applied(outcomes, txns);
        for outcome in outcomes {
            match outcome {
                Outcome::Granted(grant) => self.leases.granted(grant.id, grant.ttl_s),
                Outcome::Marked { own, agrees } => {
                    match agrees {
                        Some(true) => self.metrics.marks_agreed.inc(),
                        Some(false) => self.metrics.marks_differed.inc(),
                        None => {}
                    }
                    self.marks.note(*own, *agrees);
                }
                _ => {}
            }
        }
    }

    fn membership(&self, membership: &Membership) {
        self.newcomer.agreed(membership);
    }

    fn replaced(&self) {
        self.marks.clear();
    }

    fn damaged(&self, what: &str) {
        if let Err(error) = disk_check::note(&self.data_dir, what) {
            tracing::error!(%error, "that the state is damaged could not be noted");
        }
    }
}

/// On a few cores one thread is faster: a write passes a dozen tasks here, and each that goes on
/// in another thread is a wake-up.
fn core_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 4).clamp(1, CORE_THREADS_MAX)
}

/// The id of a cluster, from its name.
pub fn cluster_id(name: &str) -> u64 {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 1).max(1)
}

impl Replica {
    /// Opens the member's data and joins its cluster, serving the others on `peers`. Returns when
    /// the member runs, which is before it has a leader.
    pub async fn start(config: ReplicaConfig, peers: impl Into<PeerPort>) -> Result<Self, StartError> {
        let peers = peers.into();
        if work::is_simulated() {
            // Its world has a runtime for each member, and ends a member by dropping it.
            return Ok(Self { inner: Self::start_on(config, peers).await? });
        }
        upkeep::abort_on_panic();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(core_threads())
            .thread_name("raft-core")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let started = handle.spawn(Self::start_on(config, peers)).await;
        match started {
            Ok(Ok(inner)) => {
                *inner.runtime.lock() = Some(runtime);
                Ok(Self { inner })
            }
            failed => {
                runtime.shutdown_background();
                match failed {
                    Ok(Err(error)) => Err(error),
                    Err(error) => Err(StartError::Raft(error.to_string())),
                    Ok(Ok(_)) => unreachable!("handled above"),
                }
            }
        }
    }

    async fn start_on(config: ReplicaConfig, port: PeerPort) -> Result<Arc<Inner>, StartError> {
        let dir = DataDir::open(&config.data_dir, &config.cluster)?;
        if marks::is_diverged(&dir.path) {
            return Err(StartError::Diverged);
        }
        if let Some(what) = disk_check::noted(&dir.path) {
            return Err(StartError::Damaged(what));
        }
        let member = dir.identity.member;
        let cluster_id = cluster_id(&config.cluster);
        // The log is made before the identity is final: a directory with an identity and without
        // a log has lost it, and with it what this member voted and acknowledged. That the log
        // is behind the state is no loss: a snapshot was installed, and the core drops what it
        // covers from the log.
        let log = open_log(&config, cluster_id, &dir.identity)?;
        dir.settle()?;
        let engine = (config.open_engine)(&dir.path.join("state"))
            .map_err(|error| StartError::of_state(error.into()))?;
        let store = Store::open(engine).map_err(StartError::of_state)?;
        let applied = store.applied();
        if applied.feature_level > config.feature_level {
            return Err(StartError::Newer { found: applied.feature_level, known: config.feature_level });
        }
        let dirs = Arc::new(SnapshotDirs::open(dir.path.join("snapshots"))?);
        let stop = CancellationToken::new();
        let progress = Progress::new(applied.position.map_or(0, |position| position.index + 1));
        let leases = Arc::new(Leases::default());
        let marks = Arc::new(Marks::default());
        let membership = crate::machine::to_meta(&applied)?.last_membership;
        let is_blank = log.last().is_none() && applied.position.is_none();
        let newcomer = Arc::new(Newcomer::open(&dir.path, member, membership.membership(), is_blank)?);
        let metrics = Metrics::new(config.slow_request);
        let effects = Effects {
            data_dir: dir.path.clone(),
            leases: leases.clone(),
            marks: marks.clone(),
            newcomer: newcomer.clone(),
            metrics: metrics.clone(),
        };
        let machine = Machine::start(
            store.clone(),
            log.clone(),
            stop.clone(),
            progress.clone(),
            Arc::new(effects),
            metrics.clone(),
        )?;
        let network = match &port {
            PeerPort::Tls(_) => None,
            PeerPort::Simulated(network) => Some(network.clone()),
        };
        let faults = Arc::<Faults>::default();
        let connections = Peers::new(config.peer_tls.clone(), network, metrics.clone(), faults.cut.clone());
        let (proposals, queue) = Proposals::new();
        let seen = boots::Seen::open(&dir.path)?;
        let boot = boots::Boot {
            member,
            number: boots::count(&dir.path)?,
            incarnation: proposals.client(),
            last_index: log.last().map_or(0, |id| id.index).max(applied.position.map_or(0, |at| at.index)),
        };
        // Before it can vote: what it forgot may be a vote.
        let others = other_members(&config, member, &applied)?;
        let told = boots::tell_all(&connections, &config.cluster, others, &boot).await;
        let told = if planted::is(Bug::OldCopyGoesOn) { Ok(told.unwrap_or_default()) } else { told };
        let silent = told.map_err(|what| {
            // The way of all damage: the next start does not go on with it either.
            match disk_check::note(&dir.path, &what) {
                Ok(()) => StartError::Damaged(what),
                Err(error) => StartError::Io(error),
            }
        })?;
        let factory = Factory {
            peers: connections.clone(),
            store: store.clone(),
            dirs: dirs.clone(),
            cluster: cluster_id,
            cluster_name: config.cluster.clone(),
        };
        let raft_config = Arc::new(raft_config(&config)?);
        let raft = Raft::new(member, raft_config, factory, log.clone(), machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let (readers, reader_queue) = reads::readers();
        let (rounds, parts) = Rounds::new();
        let contact = Contact::new();
        let inner = Arc::new(Inner {
            member,
            cluster_id,
            fresh: dir.identity.fresh,
            raft,
            store,
            log,
            contact,
            peers: connections,
            snapshots: dirs.clone(),
            progress,
            proposals,
            rounds,
            readers,
            leases,
            marks,
            metrics,
            seen,
            newcomer,
            faults,
            hold: watch::Sender::new(false),
            caught_up: watch::Sender::new(false),
            has_leader: watch::Sender::new(true),
            announced: AtomicI64::new(0),
            elsewhere: AtomicBool::new(false),
            led: Mutex::default(),
            problems: Mutex::default(),
            joining: Mutex::default(),
            stop,
            runtime: Mutex::new(None),
            _dir: dir,
            config,
        });
        inner.serve_peers(port, dirs)?;
        tokio::spawn(inner.clone().run_proposals(queue));
        tokio::spawn(inner.clone().run_rounds(parts));
        tokio::spawn(inner.clone().run_readers(reader_queue));
        tokio::spawn(inner.clone().run_leases());
        tokio::spawn(inner.clone().run_elections());
        tokio::spawn(inner.clone().run_bootstrap());
        tokio::spawn(inner.clone().run_features());
        tokio::spawn(inner.clone().run_joining());
        tokio::spawn(inner.clone().run_joint());
        tokio::spawn(inner.clone().run_telling(boot, silent));
        inner.start_upkeep()?;
        Ok(inner)
    }

    /// This member's identity.
    pub fn member(&self) -> MemberId {
        self.inner.member
    }

    pub fn cluster_id(&self) -> u64 {
        self.inner.cluster_id
    }

    /// The state as this member has it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// True once everything that was acknowledged before this start has been applied.
    pub fn caught_up(&self) -> watch::Receiver<bool> {
        self.inner.caught_up.subscribe()
    }

    /// Stops. With `handover`, leadership is given to another member first, for which it waits a
    /// bounded time.
    pub async fn shutdown(&self, handover: bool) {
        if handover
            && self.inner.leading_term().is_some()
            && let Err(error) = self.hand_over(None).await
        {
            tracing::info!(%error, "leadership was not handed over");
        }
        self.inner.stop.cancel();
        self.inner.store.end_watches(Error::Unavailable("this member is stopping".into()));
        let inner = self.inner.clone();
        let runtime = self.inner.runtime.lock().take();
        if let Some(runtime) = runtime {
            // A core that waits for a disk that is full does not end by itself.
            let ended = runtime.handle().spawn(async move {
                let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, inner.raft.shutdown()).await;
            });
            let _ = ended.await;
            // Waits for the tasks, which hold the store and the log; a call into the disk that
            // hangs does not keep it from ending.
            let _ = work::blocking(move || runtime.shutdown_timeout(SHUTDOWN_TIMEOUT)).await;
        } else if work::is_simulated() {
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, inner.raft.shutdown()).await;
        }
        let store = self.inner.store.clone();
        let _ = work::blocking(move || store.flush()).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

/// Addresses of the other members, as far as this directory knows of them.
fn other_members(
    config: &ReplicaConfig,
    own: MemberId,
    applied: &trireme_store::Applied,
) -> Result<Vec<String>, StartError> {
    let membership = crate::machine::to_meta(applied)?.last_membership;
    let nodes = membership.nodes().filter(|(id, _)| **id != own);
    let mut addresses: Vec<String> = nodes.map(|(_, node)| node.peer_address.clone()).collect();
    if addresses.is_empty() {
        let named = config.initial_members.iter().filter(|(name, _)| **name != config.name);
        addresses = named.map(|(_, address)| address.clone()).collect();
    }
    Ok(addresses)
}

fn open_log(config: &ReplicaConfig, cluster: u64, identity: &Identity) -> Result<Log, StartError> {
    let log_config = LogConfig {
        segment_bytes: config.limits.log_segment_bytes,
        cache_bytes: config.limits.log_cache_bytes,
        reserve_bytes: config.limits.log_segment_bytes / 2,
        on_fatal: config.on_fatal.clone(),
        make: identity.fresh || planted::is(Bug::OldWipedVoter),
        ..LogConfig::new(cluster, identity.member.0)
    };
    Log::open((config.open_log)(&config.data_dir.join("log"))?, log_config).map_err(|error| match error {
        OpenError::Missing => StartError::LogMissing,
        error => StartError::Log(error),
    })
}

fn raft_config(config: &ReplicaConfig) -> Result<Config, StartError> {
    let timing = &config.timing;
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    let raft = Config {
        cluster_name: config.cluster.clone(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        enable_pre_vote: Some(true),
        // A restarted leader would serve reads from a state that is older than what it
        // acknowledged.
        enable_leader_restore: Some(false),
        broadcast_submitted_on_append: Some(true),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: APPEND_ENTRIES_MAX,
        replication_lag_threshold: 1000,
        // A snapshot is sent by its own clock.
        install_snapshot_timeout: 60_000,
        backoff: "10ms 20ms 40ms ...200ms".into(),
        ..Config::default()
    };
    raft.validate().map_err(|error| StartError::Raft(error.to_string()))
}

impl Inner {
    fn serve_peers(self: &Arc<Self>, port: PeerPort, dirs: Arc<SnapshotDirs>) -> Result<(), StartError> {
        let service = PeerService::new(
            self.config.cluster.clone(),
            self.cluster_id,
            self.member,
            self.raft.clone(),
            self.log.clone(),
            self.store.clone(),
            self.contact.clone(),
            dirs,
            Arc::new(status::ForPeers(Arc::downgrade(self))),
            self.metrics.clone(),
        );
        let service = PeerServer::new(service)
            .max_decoding_message_size(crate::peer::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(crate::peer::MESSAGE_BYTES_MAX);
        let listener = match port {
            PeerPort::Tls(listener) => listener,
            PeerPort::Simulated(network) => {
                network.serve(Arc::new(move |request| {
                    let mut service = service.clone();
                    async move { service.call(request).await.unwrap_or_else(|never| match never {}) }.boxed()
                }));
                return Ok(());
            }
        };
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (traffic, cut) = (self.peers.accepted(), self.faults.cut.clone());
        let incoming = self.config.peer_tls.incoming(listener);
        let incoming =
            incoming.map(move |accepted| accepted.map(|s| Counted::new(s, traffic.clone(), cut.clone())));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let server = tonic::transport::Server::builder()
                .tcp_nodelay(true)
                .initial_stream_window_size(8 * 1024 * 1024)
                .initial_connection_window_size(16 * 1024 * 1024)
                .add_service(service)
                .serve_with_incoming(incoming);
            // Dropped rather than drained: a member that stops closes its connections, which is
            // what tells the others.
            tokio::select! {
                result = server => if let Err(error) = result {
                    tracing::error!(%error, "the peer service ended");
                },
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }

    /// The leader and its peer address, where one is known.
    fn leader(&self) -> Option<(MemberId, String)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let node = metrics.membership_config.membership().get_node(&leader)?;
        Some((leader, node.peer_address.clone()))
    }

    /// The term in which this member leads now.
    fn leading_term(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.state.is_leader() && metrics.current_leader == Some(self.member))
            .then_some(metrics.current_term)
    }

    fn mark_caught_up(&self) {
        self.caught_up.send_if_modified(|caught_up| !std::mem::replace(caught_up, true));
    }

    /// Tells watchers how far they are, once for each revision.
    fn announce(&self, revision: Revision) {
        if self.announced.fetch_max(revision.0, Ordering::Relaxed) < revision.0 {
            self.store.announce_progress();
        }
    }

    fn problem(&self, what: String) {
        let mut problems = self.problems.lock();
        if !problems.contains(&what) {
            tracing::error!(problem = what, "this member has a problem");
            problems.push(what);
        }
    }

    fn solved(&self, about: &str) {
        self.problems.lock().retain(|problem| !problem.starts_with(about));
    }
}
