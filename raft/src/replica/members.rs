//! Who belongs to the cluster, and changes of it. All are done by the leader.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};

use super::bootstrap::node_of;
use super::{Inner, Replica};
use crate::types::{MemberId, TypeConfig};

#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Ask the leader.
    #[error("this member does not lead; the leader is {}", leader.map_or("not known".to_owned(), |id| id.to_string()))]
    NotLeading { leader: Option<MemberId> },
    #[error("the new member cannot be reached: {0}")]
    Unreachable(String),
    #[error("member {0} is not in the cluster")]
    Unknown(MemberId),
    #[error("there is no other voter")]
    NoOtherVoter,
    #[error("{0} in time")]
    TimedOut(String),
    #[error(
        "the new member understands feature level {found} at most and the cluster has agreed on {agreed}: upgrade it first"
    )]
    Older { found: u32, agreed: u32 },
    #[error("the change was refused: {0}")]
    Raft(String),
}

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for MemberError {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                Self::NotLeading { leader: to.leader_id }
            }
            error => Self::Raft(error.to_string()),
        }
    }
}

impl Replica {
    /// Adds the member that answers at `peer_address` as a learner, and waits until it has about
    /// caught up. It must have started with no `initial_members`.
    pub async fn add_learner(&self, peer_address: &str) -> Result<MemberId, MemberError> {
        self.inner.require_lead()?;
        let answer = self.inner.identify(peer_address).await.map_err(MemberError::Unreachable)?;
        let agreed = self.inner.store.applied().feature_level;
        if answer.feature_level < agreed {
            return Err(MemberError::Older { found: answer.feature_level, agreed });
        }
        let id = MemberId(answer.member);
        self.inner.raft.add_learner(id, node_of(&answer), true).await?;
        Ok(id)
    }

    /// Gives a learner a vote.
    pub async fn promote(&self, id: MemberId) -> Result<(), MemberError> {
        self.inner.require_member(id)?;
        self.inner.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await?;
        Ok(())
    }

    /// Puts learner `new` in the place of voter `old`, in one change: there is no moment with a
    /// quorum of fewer members.
    pub async fn replace(&self, old: MemberId, new: MemberId) -> Result<(), MemberError> {
        self.inner.require_member(old)?;
        self.inner.require_member(new)?;
        let mut voters = self.inner.voters();
        voters.remove(&old);
        voters.insert(new);
        self.inner.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await?;
        Ok(())
    }

    /// Takes a member out, whether it votes or learns.
    pub async fn remove(&self, id: MemberId) -> Result<(), MemberError> {
        self.inner.require_member(id)?;
        let gone = BTreeSet::from([id]);
        if self.inner.voters().contains(&id) {
            self.inner.raft.change_membership(ChangeMembers::RemoveVoters(gone), false).await?;
        } else {
            self.inner.raft.change_membership(ChangeMembers::RemoveNodes(gone), false).await?;
        }
        Ok(())
    }
}

impl Inner {
    fn require_lead(&self) -> Result<(), MemberError> {
        match self.leading_term() {
            Some(_) => Ok(()),
            None => Err(MemberError::NotLeading { leader: self.leader().map(|(leader, _)| leader) }),
        }
    }

    fn require_member(&self, id: MemberId) -> Result<(), MemberError> {
        self.require_lead()?;
        let metrics = self.raft.metrics();
        let known = metrics.borrow_watched().membership_config.membership().get_node(&id).is_some();
        if known { Ok(()) } else { Err(MemberError::Unknown(id)) }
    }

    pub(super) fn voters(&self) -> BTreeSet<MemberId> {
        self.raft.voter_ids().collect()
    }
}
