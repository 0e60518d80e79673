//! `Kv`, the only way to state, and the types it speaks: etcd v3's semantics in Rust.
//!
//! Names and behaviour follow etcd's API documentation; where a rule is etcd's, the item says so.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

/// A point in the store's history. One per transaction that changed a key. Zero means "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// Identity of a lease; zero means "no lease".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// Number of writes since the key was created, counting from 1.
    pub version: i64,
    pub value: Bytes,
    pub lease: LeaseId,
}

/// The keys a request is about, by etcd's rule for `range_end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Bytes,
    /// Empty: `start` alone. `\0`: every key from `start` on. Otherwise exclusive.
    pub end: Bytes,
}

impl KeyRange {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: Bytes::new() }
    }

    /// Every key that starts with `prefix`; an empty prefix means every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        if start.is_empty() {
            return Self { start: Bytes::from_static(&[0]), end: Bytes::from_static(&[0]) };
        }
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                return Self { start, end: end.into() };
            }
        }
        Self { start, end: Bytes::from_static(&[0]) }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.end.is_empty() {
            return key == self.start;
        }
        key >= &self.start[..] && (self.end[..] == [0] || key < &self.end[..])
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    #[default]
    None,
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// A read of keys at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    pub range: KeyRange,
    /// Most keys to return; zero means all.
    pub limit: i64,
    /// Zero or less: the newest.
    pub revision: Revision,
    pub sort_order: SortOrder,
    pub sort_target: SortTarget,
    /// Answer from this replica at once, without asking whether newer writes exist.
    pub serializable: bool,
    pub keys_only: bool,
    pub count_only: bool,
    pub min_mod_revision: Revision,
    pub max_mod_revision: Revision,
    pub min_create_revision: Revision,
    pub max_create_revision: Revision,
}

impl RangeRequest {
    /// A linearizable read of `range` at the newest revision.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            revision: Revision(0),
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            serializable: false,
            keys_only: false,
            count_only: false,
            min_mod_revision: Revision(0),
            max_mod_revision: Revision(0),
            min_create_revision: Revision(0),
            max_create_revision: Revision(0),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's revision when this was answered (not the revision read at).
    pub revision: Revision,
    pub kvs: Vec<KeyValue>,
    /// More keys exist past `limit`.
    pub more: bool,
    /// Keys in the range, whatever `limit` says.
    pub count: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRequest {
    pub key: Bytes,
    pub value: Bytes,
    pub lease: LeaseId,
    pub prev_kv: bool,
    /// Keep the stored value; the key must exist.
    pub ignore_value: bool,
    /// Keep the stored lease; the key must exist.
    pub ignore_lease: bool,
}

impl PutRequest {
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            lease: LeaseId(0),
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    pub range: KeyRange,
    pub prev_kv: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    Version(i64),
    Create(Revision),
    Mod(Revision),
    Value(Bytes),
    Lease(LeaseId),
}

/// One condition of a transaction. Over a range it must hold for every key in it; a key that does
/// not exist compares as version, revisions and lease zero, and its value compares false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub range: KeyRange,
    pub result: CompareResult,
    pub target: CompareTarget,
}

impl Compare {
    /// `mod_revision(key) == revision`; zero means "the key does not exist".
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self { range: KeyRange::key(key), result: CompareResult::Equal, target: CompareTarget::Mod(revision) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRequest),
    Txn(TxnRequest),
}

/// Compare, then do one of two lists of operations, atomically and at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
    /// Leadership epochs that must still hold when this is applied, beside the compares: see
    /// [`Fence`]. A mismatch fails the whole transaction with [`Error::Fenced`].
    pub fences: Vec<Fence>,
    /// Scopes whose epoch this transaction raises when its `success` branch runs.
    pub raise_fences: Vec<String>,
}

/// "The leader of `scope` is still the one that was given `epoch`": checked at apply, so that a
/// write of a leader that was deposed never lands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// `<namespace>/<lease name>`.
    pub scope: String,
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResponse {
    Range(RangeResponse),
    Put { prev_kv: Option<KeyValue> },
    Delete { deleted: i64, prev_kvs: Vec<KeyValue> },
    Txn(TxnResponse),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// The transaction's own revision if it changed a key, else the newest.
    pub revision: Revision,
    pub succeeded: bool,
    pub responses: Vec<OpResponse>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// For a deletion: the key and, in `mod_revision`, the revision that deleted it.
    pub kv: KeyValue,
    /// The version before, when asked for and not compacted.
    pub prev_kv: Option<KeyValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    pub range: KeyRange,
    /// First revision of interest; zero: from now on.
    pub start_revision: Revision,
    pub prev_kv: bool,
    pub no_put: bool,
    pub no_delete: bool,
    /// Send progress while nothing happens in the range.
    pub progress_notify: bool,
    /// Go on where no leader is heard of, and what others agree on does not come.
    pub without_leader: bool,
}

impl WatchRequest {
    pub fn new(range: KeyRange, start_revision: Revision) -> Self {
        Self {
            range,
            start_revision,
            prev_kv: false,
            no_put: false,
            no_delete: false,
            progress_notify: false,
            without_leader: false,
        }
    }
}

/// What a watch delivers. Ordered, each event once, all events of one revision in one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Non-empty, sorted by revision; `revision` is that of the last event.
    Events { revision: Revision, events: Vec<Event> },
    /// Every event up to and with `revision` has been delivered.
    Progress { revision: Revision },
}

/// Ends with an `Err` when the watch is cancelled ([`Error::Compacted`], [`Error::SlowWatcher`],
/// [`Error::NoLeader`], [`Error::Unavailable`]), with `None` when the store closes.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchItem, Error>> + Send>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrant {
    pub revision: Revision,
    pub id: LeaseId,
    /// Seconds.
    pub ttl_s: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseTimeToLive {
    pub revision: Revision,
    pub id: LeaseId,
    /// Seconds left; -1 when the lease does not exist.
    pub ttl_s: i64,
    pub granted_ttl_s: i64,
    /// Only when asked for.
    pub keys: Vec<Bytes>,
}

/// How this replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub cluster_id: u64,
    pub member_id: u64,
    /// Zero while no leader is known.
    pub leader_id: u64,
    pub term: u64,
    pub last_log_index: u64,
    pub applied_index: u64,
    pub revision: Revision,
    pub compact_revision: Revision,
    /// Bytes on disk of the state.
    pub db_size_bytes: u64,
    /// Bytes of live data within it.
    pub db_size_in_use_bytes: u64,
    pub is_learner: bool,
    /// What is wrong, in words, one problem an item.
    pub errors: Vec<String>,
}

/// Named by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Read at a newer revision, or list again.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted { compact_revision: Revision },
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision { current: Revision },
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// The request itself is wrong; repeating it gives the same answer.
    #[error("{0}")]
    Invalid(String),
    /// A leader that was deposed tried to write; it must stop leading.
    #[error("write fenced: {scope} is now at epoch {current}")]
    Fenced { scope: String, current: u64 },
    /// Not done and safe to repeat, here or at another member.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// Not done and safe to repeat later: a limit on work in flight was reached.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// Not done; writes resume by themselves when there is room.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// Not done: this replica cannot serve (starting, stopping, rebuilding, behind).
    #[error("etcdserver: {0}")]
    Unavailable(String),
    /// **May or may not have been done.** Never to be reported as a failure of the write.
    #[error("etcdserver: request timed out, outcome unknown")]
    OutcomeUnknown,
    /// The watcher fell too far behind and was cancelled; start again from the last revision seen.
    #[error("watcher is too slow: more than {buffered} events waiting")]
    SlowWatcher { buffered: usize },
    /// This replica must not go on serving.
    #[error("store is broken: {0}")]
    Broken(String),
}

/// The only way to state. Implemented by [`crate::Local`] (no replication), by `raft::Replica`
/// (a member of the cluster) and by `raft::Remote` (a client of any members); one test suite runs
/// against all of them.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// Reads keys. Linearizable unless `serializable` is set or a past revision is named.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error>;

    /// Compares and writes atomically. With [`Error::OutcomeUnknown`] it may have happened.
    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error>;

    /// Follows changes. Returns once the watch is registered.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error>;

    /// Forgets history below `revision`; with `physical` waits until the member that is asked has removed
    /// it, too: its engine gives the space back from then on.
    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error>;

    /// Grants a lease; `id` zero lets the store choose.
    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error>;

    /// Ends a lease and deletes its keys.
    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error>;

    /// Renews a lease; its remaining time in seconds.
    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error>;

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error>;

    async fn leases(&self) -> Result<Vec<LeaseId>, Error>;

    /// A revision that covers every write acknowledged anywhere before this call. Concurrent
    /// callers share one round trip.
    async fn barrier(&self) -> Result<Revision, Error>;

    async fn status(&self) -> Result<Status, Error>;
}
