//! What the etcd face asks of a member.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use trireme_store::Error;
use trireme_store::log::Outcome;

use super::proposals::stamp;
use super::{MemberChange, MemberError, Replica};
use crate::etcd::{Backend, MemberInfo, Standing};
use crate::types::MemberId;

#[async_trait]
impl Backend for Replica {
    async fn propose(&self, commands: Vec<Bytes>) -> Result<Vec<Outcome>, Error> {
        let submit = |bytes: Bytes| async move {
            let proposal = stamp(bytes).map_err(|error| Error::Invalid(error.to_string()))?;
            self.submit(proposal).await
        };
        let results = join_all(commands.into_iter().map(submit)).await;
        let answers = results.into_iter().map(|result| match result {
            // Not the store's answer: all of them may be sent again, here or at another member.
            Err(error @ (Error::OutcomeUnknown | Error::NoLeader | Error::Unavailable(_))) => Err(error),
            Err(error) => Ok(Outcome::Failed(error)),
            Ok(outcome) => Ok(outcome),
        });
        answers.collect()
    }

    fn standing(&self) -> Standing {
        Standing {
            cluster_id: self.inner.cluster_id,
            member_id: self.inner.member.0,
            term: self.inner.raft.metrics().borrow_watched().current_term,
            revision: self.inner.store.applied().revision,
        }
    }

    fn members(&self) -> Vec<MemberInfo> {
        let status = self.inner.status();
        let members = status.members.into_iter().map(|member| MemberInfo {
            id: member.id.0,
            name: member.node.name,
            peer_address: member.node.peer_address,
            client_address: member.node.client_address,
            is_learner: !member.votes,
        });
        members.collect()
    }

    fn has_leader(&self) -> watch::Receiver<bool> {
        self.inner.has_leader.subscribe()
    }

    async fn change_members(&self, change: MemberChange) -> Result<MemberId, MemberError> {
        Replica::change_members(self, change).await
    }

    async fn move_leader(&self, target: u64) -> Result<(), Error> {
        match self.hand_over(Some(MemberId(target))).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        }
    }
}
