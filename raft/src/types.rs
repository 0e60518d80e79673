//! The types openraft is configured with.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_std;

/// Identity of a member: chosen at random when its data directory is made, and never used again,
/// so that a wiped disk cannot come back under a name that has voted.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl From<u64> for MemberId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How to reach a member; part of the replicated membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberNode {
    /// What the operator calls it.
    pub name: String,
    /// `host:port` of its peer service.
    pub peer_address: String,
    /// `host:port` of its etcd service.
    pub client_address: String,
}

/// One proposed command: its encoding, which is what the log and the peers carry, and, where it
/// is known, the decoded form, so that a leader does not decode what it encoded itself.
#[derive(Clone)]
pub struct Proposal {
    pub bytes: Bytes,
    pub command: Option<Arc<trireme_store::log::Command>>,
}

impl Proposal {
    /// A proposal read from the log or received from a peer.
    pub fn encoded(bytes: Bytes) -> Self {
        Self { bytes, command: None }
    }
}

impl PartialEq for Proposal {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets: a proposal shows its size alone.
        write!(f, "proposal of {} bytes", self.bytes.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave; `None` for entries that carry no command.
pub type Applied = Option<trireme_store::log::Outcome>;

openraft::declare_raft_types!(
    /// Standard Raft: one leader per term, so that a log id is (term, index).
    pub TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = MemberId,
        Node = MemberNode,
        LeaderId = leader_id_std::LeaderId<u64, MemberId>,
);

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, MemberId>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, MemberId, MemberNode>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<MemberId, MemberNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, MemberId, MemberNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, MemberId, MemberNode>;

/// A log id from its parts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::from(term), index)
}
