//! Every limit of the API server, by name and unit, and what happens past it.

use std::time::Duration;

/// Bytes of a request body; past it 413.
pub const REQUEST_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Of a body that is too large, so much more is read and dropped, so that the client gets to read
/// why; past either its stream is reset.
pub const REST_OF_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const REST_OF_BODY_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// Bytes of an answer from which gzip is worth its time, when the client accepts it.
pub const GZIP_BYTES_MIN: usize = 128 * 1024;
/// Reading requests handled at a time; past it 429 with `Retry-After: 1`.
pub const READS_IN_FLIGHT_MAX: usize = 400;
/// Writing requests handled at a time; past it 429 with `Retry-After: 1`.
pub const WRITES_IN_FLIGHT_MAX: usize = 200;
/// How long a request that is not a watch may take; past it 504.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a read waits for the cache to reach a revision that the store has already given out;
/// past it 504.
pub const CACHE_WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a read waits for a `resourceVersion` named by the client; past it 504
/// "Too large resource version".
pub const FUTURE_REVISION_TIMEOUT: Duration = Duration::from_secs(3);
/// A TLS handshake that takes longer is cut off.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; past it new ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Streams of one HTTP/2 connection; past it the client waits.
pub const HTTP2_STREAMS_MAX: u32 = 250;
/// Headers of one request, in bytes; past it the connection is refused by the HTTP layer.
pub const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// Events a kind's ring holds at least, whatever their size.
pub const RING_EVENTS_MIN: usize = 1024;
/// Events a kind's ring holds at most; a watcher that needs an older one gets 410.
pub const RING_EVENTS_MAX: usize = 65_536;
/// Bytes of served objects a kind's ring refers to at most, past `RING_EVENTS_MIN` events.
pub const RING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Encodings remembered on one event, one per version and format asked for; past it they are made
/// again each time.
pub const EVENT_ENCODINGS_MAX: usize = 16;
/// Bytes a watcher gathers into one write.
pub const WATCH_BATCH_BYTES_MAX: usize = 256 * 1024;
/// Time between two bookmarks of a watch that asked for them.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends between this and twice this.
pub const WATCH_TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// Time between two compactions; a revision can be read for at least this long, and at most for
/// twice this, as with upstream's API server.
pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Objects read from the store at a time when the cache fills.
pub const CACHE_FILL_PAGE_KEYS: i64 = 2000;
/// Objects of one page of a list from the store's history.
pub const HISTORY_PAGE_KEYS_MAX: i64 = 10_000;
/// Tries of an optimistic update that lost against others; past it 409.
pub const UPDATE_ATTEMPTS_MAX: u32 = 12;
/// Names tried for `generateName`; past it 409.
pub const GENERATE_NAME_ATTEMPTS_MAX: u32 = 8;
/// Tries to find a free cluster IP or node port; past it 500.
pub const ALLOCATION_ATTEMPTS_MAX: u32 = 64;
/// Objects removed at a time by a deletecollection.
pub const DELETE_COLLECTION_WORKERS: usize = 16;

/// Operations in one JSON patch; past it 413.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Between a failing `/readyz` and the end of listening, so that balancers notice.
pub const DRAIN_NOTICE: Duration = Duration::from_millis(1500);
/// Requests that still run after this are cut off at shutdown.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Lifetime of a service-account token when none is asked for, and the shortest accepted.
pub const TOKEN_SECONDS_DEFAULT: i64 = 3600;
pub const TOKEN_SECONDS_MIN: i64 = 600;
pub const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// Tokens that were found good are remembered for this long.
pub const TOKEN_CACHE_TTL: Duration = Duration::from_secs(10);
/// Tokens remembered at most; past it the memory starts anew.
pub const TOKEN_CACHE_ENTRIES_MAX: usize = 4096;

/// An Event ends so long after its last write, as with upstream's API server.
pub const EVENT_TTL_S: i64 = 3600;
/// Objects that end by themselves share a lease of the store for this long ...
pub const EXPIRY_LEASE_REUSE_S: i64 = 60;
/// ... and at most so many do: when it ends, all of them go in one transaction.
pub const EXPIRY_LEASE_KEYS_MAX: u32 = 1000;

/// Time between two looks for system namespaces that someone deleted; upstream's is a minute.
pub const SYSTEM_NAMESPACES_INTERVAL: Duration = Duration::from_secs(1);

/// Lease of each API server's own entry in the `kubernetes` endpoints.
pub const ENDPOINT_LEASE_TTL_S: i64 = 15;
