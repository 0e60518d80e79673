//! What the log carries: positions, entries and commands.
//!
//! A command is all that replicas agree on. What it needs from outside (time, a lease's id) is
//! chosen by its proposer and travels in it.

mod encode;

use bytes::Bytes;

use crate::kv::{LeaseId, Op, Revision, TxnRequest};

pub use crate::codec::DecodeError;
pub use crate::outcome::Outcome;

/// Highest feature level that this version understands. It rises by one with each change of what a
/// log may carry, or of what comes of it; the change takes effect only where all members have agreed
/// on its level.
pub const FEATURE_LEVEL: u32 = 2;

/// From this level on, the outcome of every command that may change something is remembered, also
/// where it changed nothing: a refusal may have been told when the command comes a second time.
pub(crate) const REFUSALS_REMEMBERED: u32 = 2;

/// From this level on, fence scopes are forgotten where there are too many; before it no more are
/// taken.
pub(crate) const FENCES_FORGOTTEN: u32 = 2;

/// Identity of an entry in the log. Ordered by term, then proposer, then index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    pub term: u64,
    pub node_id: u64,
    pub index: u64,
}

/// An agreed entry, on its way to [`Store::apply`](crate::Store::apply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: LogPosition,
    pub body: EntryBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryBody {
    /// Changes only the applied position.
    Blank,
    /// The cluster's members, in an encoding that the store does not read.
    Membership(Bytes),
    Command(Command),
}

/// Identity of a proposal: one that is sent again is not done again.
///
/// `client` is drawn at random when a proposer starts; `seq` counts up from 1 in it. Client zero
/// means "do not remember".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    pub client: u64,
    pub seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub proposal: ProposalId,
    /// Milliseconds since the Unix epoch by the leader's clock; apply never lets it run backwards.
    pub time_ms: i64,
    pub op: CommandOp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOp {
    Txn(TxnRequest),
    /// Forgets history below the revision.
    Compact(Revision),
    /// `id` is chosen by the proposer and not zero.
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke(LeaseId),
    /// Records that a lease was renewed: expiries proposed before it lose.
    LeaseRenew(LeaseId),
    LeaseExpire(LeaseExpiry),
    Mark(Mark),
    /// The lowest feature level of all members. Never lowered.
    FeatureLevel(u32),
}

impl CommandOp {
    /// Whether this makes the state smaller, or lets something do so, and never larger: what is
    /// taken while the disk is full.
    pub fn frees_space(&self) -> bool {
        match self {
            Self::Txn(txn) => only_deletes(txn) == Some(true),
            Self::Compact(_) | Self::LeaseRevoke(_) | Self::LeaseRenew(_) | Self::LeaseExpire(_) => true,
            Self::LeaseGrant { .. } | Self::Mark(_) | Self::FeatureLevel(_) => false,
        }
    }
}

impl CommandOp {
    /// Whether it matters how often this is carried out.
    pub(crate) fn may_change(&self) -> bool {
        match self {
            Self::Txn(txn) => may_change(txn),
            Self::Compact(_) | Self::LeaseGrant { .. } | Self::LeaseRevoke(_) => true,
            // Each says what it holds for, a generation or a level, and is nothing the second time.
            Self::LeaseRenew(_) | Self::LeaseExpire(_) | Self::Mark(_) | Self::FeatureLevel(_) => false,
        }
    }
}

fn may_change(txn: &TxnRequest) -> bool {
    let changes = |op: &Op| match op {
        Op::Put(_) | Op::Delete(_) => true,
        Op::Range(_) => false,
        Op::Txn(txn) => may_change(txn),
    };
    !txn.raise_fences.is_empty() || txn.success.iter().chain(&txn.failure).any(changes)
}

/// Whether a transaction deletes something in some branch; `None` where it puts something.
fn only_deletes(txn: &TxnRequest) -> Option<bool> {
    let mut deletes = false;
    for op in txn.success.iter().chain(&txn.failure) {
        deletes |= match op {
            Op::Put(_) => return None,
            Op::Delete(_) => true,
            Op::Range(_) => false,
            Op::Txn(txn) => only_deletes(txn)?,
        };
    }
    Some(deletes)
}

/// Leases that the leader of `term` saw running out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseExpiry {
    /// Ignored in an entry of another term: a deposed leader's clock does not count.
    pub term: u64,
    /// Each with the renewal generation it was seen with; a renewal since then saves the lease.
    pub leases: Vec<(LeaseId, u64)>,
}

/// A point at which replicas compare their state.
///
/// Every replica notes its state hash when it applies a mark; the next mark carries what the
/// leader noted at the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub previous: Option<MarkedHash>,
}

/// The state hash just before the entry at `index` was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkedHash {
    pub index: u64,
    pub hash: u128,
}
