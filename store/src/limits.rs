//! Every bound of the store, by name and with its unit. What happens past one is said beside it.

/// Bytes of one request's keys and values (etcd's `--max-request-bytes`); past it
/// [`TooLarge`](crate::Error::TooLarge).
pub const REQUEST_BYTES_MAX: usize = 3 * 512 * 1024;

/// Operations (or compares) of one transaction, nested ones included in their parent's budget
/// (etcd's `--max-txn-ops`); past it [`TooManyOps`](crate::Error::TooManyOps).
pub const TXN_OPS_MAX: usize = 128;

/// Bytes of keys and values in the answer to one transaction; past it `Invalid`, and nothing is
/// changed. It is made by every replica while it applies, and sent between members in one message;
/// a read of its own has neither limit.
pub const TXN_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest key in bytes; past it [`TooLarge`](crate::Error::TooLarge). Upstream's longest are
/// below 1 KiB.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Shortest lease in seconds; a shorter wish is lengthened, as etcd does.
pub const LEASE_TTL_MIN_S: i64 = 1;

/// Longest lease in seconds (etcd's); past it [`LeaseTtlTooLarge`](crate::Error::LeaseTtlTooLarge).
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// Leases that end in one expiry command; the rest follow in the next one.
pub const LEASE_EXPIRE_BATCH_MAX: usize = 256;

/// Longest fence scope in bytes; past it the transaction is `Invalid`.
pub const FENCE_SCOPE_BYTES_MAX: usize = 512;

/// Fence scopes in all. Past it those with the lowest epochs are forgotten, and every scope that is not
/// known has an epoch above theirs from then on: a leader whose scope is forgotten is fenced, even if
/// nobody has taken its place, and has to be elected again.
pub const FENCE_SCOPES_MAX: usize = 65_536;

/// Fence scopes that are forgotten at once.
pub const FENCE_SCOPES_FORGOTTEN: usize = FENCE_SCOPES_MAX / 8;

/// Proposals whose outcome is remembered. The oldest is forgotten first.
pub const DEDUP_ENTRIES_MAX: usize = 131_072;

/// Encoded bytes of remembered outcomes. The oldest is forgotten first.
pub const DEDUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Replicated milliseconds after which an outcome is forgotten.
pub const DEDUP_AGE_MS_MAX: i64 = 120_000;

/// Encoded bytes of one remembered outcome; a larger one is remembered without its content, and
/// the proposal sent again is answered [`OutcomeUnknown`](crate::Error::OutcomeUnknown).
pub const DEDUP_OUTCOME_BYTES_MAX: usize = 64 * 1024;

/// Proposers of which the highest forgotten sequence number is kept; the one that was quiet
/// longest is dropped.
pub const DEDUP_CLIENTS_MAX: usize = 4096;

/// Bytes of recently used keys that the writer keeps at hand; past it the first learnt go.
pub const RECENT_KEYS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Milliseconds between two entries of the index time → revision.
pub const TIME_INDEX_STEP_MS: i64 = 10_000;

/// Milliseconds that the index time → revision reaches back.
pub const TIME_INDEX_AGE_MS_MAX: i64 = 30 * 24 * 3600 * 1000;

/// Events held in the ring that new watchers catch up from; older ones are read from the engine.
pub const WATCH_RING_EVENTS_MAX: usize = 32_768;

/// Bytes of keys and values held in that ring.
pub const WATCH_RING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Events waiting for one watcher; past it the watch ends with
/// [`SlowWatcher`](crate::Error::SlowWatcher).
pub const WATCHER_EVENTS_MAX: usize = 32_768;

/// Bytes of keys and values waiting for one watcher; past it the same.
pub const WATCHER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of keys and values that the ring and all watchers' queues hold together, those that several
/// hold counted once. Past it the watchers that are furthest behind end with the same, until three
/// quarters of it are left.
pub const WATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Events in one item of a watch, unless one revision alone has more.
pub const WATCH_ITEM_EVENTS_MAX: usize = 512;

/// Bytes in one item of a watch, unless one revision alone has more.
pub const WATCH_ITEM_BYTES_MAX: usize = 1024 * 1024;

/// Changes looked at by one batch of the physical compaction. Small: a batch holds the engine's
/// writers up, and with them whatever is being applied.
pub const SCRUB_BATCH_CHANGES: usize = 200;

/// Rest after such a batch, in times of what it took: the cores and the disk belong to the writers. The
/// lower, where all would not be done within [`SCRUB_WITHIN_MS`] otherwise.
pub const SCRUB_REST_FACTORS: (u32, u32) = (3, 10);

/// Milliseconds for the physical part of one compaction: masters order the next one after five minutes.
pub const SCRUB_WITHIN_MS: u64 = 240_000;

/// Longest such rest in milliseconds, so that one batch that had to wait does not stop the work.
pub const SCRUB_REST_MS_MAX: u64 = 500;

/// Bytes that a compaction must have removed for their space to be given back at once: with less, it is
/// when enough has been written.
pub const GIVE_BACK_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// They must be at least one part of so many of what the state takes on the disk, since most of it may
/// have to be written anew.
pub const GIVE_BACK_PART: u64 = 4;

/// Least distance between the highest revision of an old state and the one at which a new cluster
/// made of it begins: what clients of the old one may have seen beyond the copy stays below.
pub const REBIRTH_REVISIONS_MIN: i64 = 1_000_000_000;

/// Added to that distance for each second since the old state's newest entry: more than a cluster can
/// make, and two new clusters made of one copy at different times share no revision.
pub const REBIRTH_REVISIONS_PER_S: i64 = 100_000;

/// Added to the version of every key of a new cluster, for the same reason.
pub const REBIRTH_VERSIONS: i64 = 1_000_000_000;

/// Added to the epoch of every fence of a new cluster, those that were never raised included.
pub const REBIRTH_EPOCHS: u64 = 1_000_000_000;

/// Time to live, in seconds, of a lease whose keys come from a point of the history at which it was
/// there and which has ended since: how long it had been is not known any more.
pub const REBIRTH_LEASE_TTL_S: i64 = 3600;
