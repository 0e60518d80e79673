//! The etcd v3 API of a member, over mutual TLS, for `etcdctl`, programs written for etcd, an
//! upstream kube-apiserver, and [`crate::Remote`].
//!
//! ```text
//!   TLS ──► guard ──► KV, Watch, Lease, Cluster, Maintenance, Auth ──► Backend (Kv and the member)
//!            │   └──► trireme.v1.Store (proposals, barriers) ───────────┘
//!            └ what the client's certificate lets it do goes with every request
//! ```
//!
//! Whoever holds a certificate of the store's client CA may do everything, unless the certificate
//! itself says less ([`access`]). Messages and codes are etcd's, since its clients match on them.

pub mod access;
mod auth;
mod calls;
mod checkpoint;
mod cluster;
pub(crate) mod convert;
pub(crate) mod error;
mod guard;
mod health;
mod http_paths;
mod kv;
mod lease;
mod maintenance;
pub(crate) mod pb;
mod range_stream;
mod serve;
mod snapshot;
mod store;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch as latest;
use tonic::Status;
use tonic::metadata::MetadataMap;
use trireme_store::log::Outcome;
use trireme_store::{Error, KeyRange, Kv, KvHash, RangePage, RangeRequest, Revision};

pub(crate) use cluster::MEMBER_DETAIL;
pub(crate) use maintenance::ETCD_VERSION;
pub use serve::{ServeConfig, serve};
pub use snapshot::Source as SnapshotSource;

use crate::replica::{MemberChange, MemberError};
use crate::types::MemberId;
use pb::etcdserverpb::ResponseHeader;

/// What the face asks of a member beside [`Kv`].
#[async_trait]
pub trait Backend: Kv {
    /// Proposes encoded commands; an outcome for each, in their order. Commands carry proposal
    /// ids, so that sending them again is safe.
    async fn propose(&self, commands: Vec<Bytes>) -> Result<Vec<Outcome>, Error>;

    /// How this member stands, from memory.
    fn standing(&self) -> Standing;

    /// Voters and learners as the last agreed membership has them.
    fn members(&self) -> Vec<MemberInfo>;

    /// Whether this member is in touch with a leader that has a quorum.
    fn has_leader(&self) -> latest::Receiver<bool>;

    /// Makes a change of who belongs to the cluster, here or at the leader; the member that it was
    /// about.
    async fn change_members(&self, change: MemberChange) -> Result<MemberId, MemberError>;

    /// One page of a range, of this member's state as it is, in the order of keys; the request
    /// names the revision. It ends at the request's limit or past `bytes_max`.
    async fn range_page(&self, request: RangeRequest, bytes_max: usize) -> Result<RangePage, Error>;

    /// A hash of this member's history up to `revision`, zero meaning all: the same at every member
    /// with the same compact revision.
    async fn hash_kv(&self, revision: Revision) -> Result<KvHash, Error>;

    /// The hash of this member's state: the same at every member that has applied as much.
    fn state_hash(&self) -> u128;

    /// Whether this member takes writes, as far as its disk goes.
    fn has_room(&self) -> bool;

    /// Members that refuse writes because their disks are full, as far as they can be asked.
    async fn without_room(&self) -> Vec<u64>;

    /// What a snapshot file is made of, of this member's state as it is.
    async fn snapshot_source(&self) -> Result<SnapshotSource, Error> {
        Err(Error::Unavailable("this backend gives no snapshots".into()))
    }

    /// The index of times from the last entry before `from` on, as [`trireme_store::Store::times`]
    /// gives it.
    async fn times(&self, from: Revision) -> Result<Vec<(i64, Revision)>, Error> {
        let _ = from;
        Err(Error::Unavailable("this backend keeps no index of times".into()))
    }

    /// What this member counts, in Prometheus' text format; empty where nothing is counted.
    fn metrics(&self) -> String {
        String::new()
    }

    /// Notes how long the answer to a read took to be made, which is this face's part of it.
    fn encoded(&self, _range: &KeyRange, _keys: usize, _took: Duration) {}

    /// Hands leadership to `target`; only the leader can.
    async fn move_leader(&self, target: u64) -> Result<(), Error>;
}

/// What every response header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub cluster_id: u64,
    pub member_id: u64,
    pub term: u64,
    /// The newest revision applied here and shown to watchers.
    pub revision: Revision,
}

/// A member as `member list` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    pub id: u64,
    pub name: String,
    /// `host:port`.
    pub peer_address: String,
    /// `host:port`.
    pub client_address: String,
    pub is_learner: bool,
}

/// The metadata key by which etcd's clients ask to be told when a member has no leader.
pub(crate) const HAS_LEADER: &str = "hasleader";
/// The highest revision the caller has seen, of [`crate::Remote`]: a member that is behind waits.
pub(crate) const SEEN_REVISION: &str = "trireme-seen-revision";
/// Of [`crate::Remote`]: every progress of its watches, as it comes.
pub(crate) const EAGER_PROGRESS: &str = "trireme-eager-progress";

/// The header of a response that shows `revision`.
fn header(backend: &dyn Backend, revision: Revision) -> ResponseHeader {
    let standing = backend.standing();
    ResponseHeader {
        cluster_id: standing.cluster_id,
        member_id: standing.member_id,
        revision: revision.0,
        raft_term: standing.term,
    }
}

/// The header of a response that shows the newest revision.
fn header_now(backend: &dyn Backend) -> ResponseHeader {
    header(backend, backend.standing().revision)
}

/// Refuses a call that asks for a leader while there is none.
fn check_leader(backend: &dyn Backend, metadata: &MetadataMap) -> Result<(), Status> {
    if wants_leader(metadata) && !*backend.has_leader().borrow() {
        return Err(error::status(Error::NoLeader));
    }
    Ok(())
}

fn wants_leader(metadata: &MetadataMap) -> bool {
    metadata.get(HAS_LEADER).is_some_and(|v| v == "true")
}
