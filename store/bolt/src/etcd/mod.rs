//! What etcd keeps in its database: every version of every key, leases, and how far it is.
//!
//! ```text
//!   key    revision (main ‖ '_' ‖ sub, and a 't' if the key was deleted) → mvccpb.KeyValue
//!   lease  id → leasepb.Lease
//!   meta   consistent_index, term, confState, scheduledCompactRev, finishedCompactRev
//!   alarm, auth, authRoles, authUsers, cluster, members, members_removed
//! ```
//!
//! Files are written so that etcd 3.4, 3.5 and 3.6 start from them: 3.4 knows neither `term` nor
//! `confState`; 3.5 takes both; 3.6 knows by them that the file has the form of 3.5, and brings it
//! to its own. `storageVersion` would tie a file to 3.6 and is left out.

mod read;
mod record;
mod write;

pub use read::{Changes, LiveKeys, Snapshot};
pub use record::{Change, KeyValue, Lease, Revision};
pub use write::{Position, SnapshotWriter};

const KEY: &[u8] = b"key";
const LEASE: &[u8] = b"lease";
const META: &[u8] = b"meta";
/// Buckets that etcd expects to be there, and that are empty in a file made here: who the members
/// are is decided where it is restored, and a store whose authentication is mutual TLS has no users.
const EMPTY: [&[u8]; 7] =
    [b"alarm", b"auth", b"authRoles", b"authUsers", b"cluster", b"members", b"members_removed"];

const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const TERM: &[u8] = b"term";
const CONF_STATE: &[u8] = b"confState";
const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
