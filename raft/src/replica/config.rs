//! What a replica is told when it starts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trireme_store::engine::{Engine, EngineError};
use trireme_store::log::FEATURE_LEVEL;

use super::joining::Join;
use crate::log::{LogDir, OsDir};
use crate::tls::Tls;

/// Opens the state's engine in a directory of its own.
pub type OpenEngine = Arc<dyn Fn(&Path) -> Result<Arc<dyn Engine>, EngineError> + Send + Sync>;

/// Opens the directory of the raft log.
pub type OpenLogDir = Arc<dyn Fn(&Path) -> io::Result<Arc<dyn LogDir>> + Send + Sync>;

/// What a request may take before it is called slow; etcd's own threshold for applying one.
const SLOW_REQUEST: Duration = Duration::from_millis(100);

/// How a member runs. `Clone` so that a test can start it again.
#[derive(Clone)]
pub struct ReplicaConfig {
    /// Everything the member keeps. Made when it does not exist.
    pub data_dir: PathBuf,
    /// Name of the cluster: members of another one are refused, and so are their directories.
    pub cluster: String,
    /// What the operator calls this member; unique in the cluster.
    pub name: String,
    /// `host:port` at which the other members reach this one.
    pub peer_address: String,
    /// `host:port` at which clients reach its etcd service.
    pub client_address: String,
    /// Name → peer address of every member that a new cluster starts with, this one included.
    /// Looked at only while the data directory is new.
    pub initial_members: BTreeMap<String, String>,
    /// How it comes into a cluster that exists. With it or `initial_members` the member asks for a
    /// vote; without both it waits to be added, and to be promoted.
    pub join: Option<Join>,
    /// Certificates between members. Who has one of this CA may do anything: it must not be the
    /// CA of users.
    pub peer_tls: Tls,
    pub open_engine: OpenEngine,
    /// Opens the log's directory. Another than the operating system's in tests alone.
    pub open_log: OpenLogDir,
    pub limits: Limits,
    pub timing: Timing,
    /// Requests that take longer are told of in the log, with where their time went.
    pub slow_request: Duration,
    /// Highest feature level that this member understands. Lower than its version's in tests of
    /// upgrades alone.
    pub feature_level: u32,
    /// Called when the member must not go on: a failed disk, a panic, a diverged state. The
    /// default aborts the process, which is then started again.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

impl ReplicaConfig {
    pub fn new(
        data_dir: impl Into<PathBuf>,
        cluster: &str,
        name: &str,
        peer_tls: Tls,
        open_engine: OpenEngine,
    ) -> Self {
        Self {
            data_dir: data_dir.into(),
            cluster: cluster.into(),
            name: name.into(),
            peer_address: String::new(),
            client_address: String::new(),
            initial_members: BTreeMap::new(),
            join: None,
            peer_tls,
            open_engine,
            open_log: Arc::new(|path| Ok(Arc::new(OsDir::open(path)?))),
            limits: Limits::default(),
            timing: Timing::default(),
            slow_request: SLOW_REQUEST,
            feature_level: FEATURE_LEVEL,
            on_fatal: Arc::new(|reason| {
                tracing::error!(reason, "this member cannot go on; aborting");
                std::process::abort();
            }),
        }
    }
}

/// Bounds, each with what happens past it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Size of a segment of the log.
    pub log_segment_bytes: u64,
    /// Decoded entries kept in memory for replication and apply.
    pub log_cache_bytes: usize,
    /// The log is purged down to this, once the state on the disk contains the rest.
    pub log_keep_bytes: u64,
    /// Log written since the last flush of the state; past it the state is flushed.
    pub flush_log_bytes: u64,
    /// Proposals that wait or are under way; past it `TooManyRequests`.
    pub proposals_max: usize,
    /// Bytes of those proposals; past it the same.
    pub proposal_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_segment_bytes: 64 * 1024 * 1024,
            log_cache_bytes: 16 * 1024 * 1024,
            log_keep_bytes: 256 * 1024 * 1024,
            flush_log_bytes: 64 * 1024 * 1024,
            proposals_max: 16 * 1024,
            proposal_bytes_max: 128 * 1024 * 1024,
        }
    }
}

/// Clocks. The defaults suit members on one local network.
#[derive(Clone, Debug)]
pub struct Timing {
    pub heartbeat: Duration,
    pub election_min: Duration,
    /// Also the leader's lease: no vote is given before it ends.
    pub election_max: Duration,
    /// Added before an early election for each member that comes earlier in the order of ids, so
    /// that two do not ask at once.
    pub stagger: Duration,
    /// A request that was not answered by then fails.
    pub request: Duration,
    /// Without a word from a leader for this long, watches end and reads are refused.
    pub no_leader: Duration,
    /// A sync older than this: leadership is handed over, then the process ends.
    pub sync_stuck: Duration,
    /// Between two comparisons of the members' states, while something changes.
    pub mark: Duration,
    /// From the begin of a check of the whole state on the disk to the next one's.
    pub disk_check: Duration,
    /// Committed entries that are not applied for this long end the process.
    pub apply_stuck: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(40),
            election_min: Duration::from_millis(100),
            election_max: Duration::from_millis(200),
            stagger: Duration::from_millis(40),
            request: Duration::from_secs(5),
            no_leader: Duration::from_secs(2),
            sync_stuck: Duration::from_secs(1),
            mark: Duration::from_secs(10),
            disk_check: Duration::from_secs(40),
            apply_stuck: Duration::from_secs(30),
        }
    }
}
