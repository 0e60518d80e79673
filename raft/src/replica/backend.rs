//! What the etcd face asks of a member.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use trireme_store::log::Outcome;
use trireme_store::{Error, KeyRange, KvHash, RangePage, RangeRequest, Revision, Store};

use super::metrics::role_of;
use super::proposals::stamp;
use super::{MemberChange, MemberError, Replica};
use crate::etcd::{Backend, MemberInfo, SnapshotSource, Standing};
use crate::metrics::Subject;
use crate::types::MemberId;

#[async_trait]
impl Backend for Replica {
    async fn propose(&self, commands: Vec<Bytes>) -> Result<Vec<Outcome>, Error> {
        let submit = |bytes: Bytes| async move {
            let proposal =
                stamp(bytes, self.inner.wall_ms()).map_err(|error| Error::Invalid(error.to_string()))?;
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

    async fn range_page(&self, request: RangeRequest, bytes_max: usize) -> Result<RangePage, Error> {
        self.read_far(move |store| store.range_page(&request, bytes_max)).await
    }

    async fn times(&self, from: Revision) -> Result<Vec<(i64, Revision)>, Error> {
        self.read_far(move |store| store.times(from)).await
    }

    async fn hash_kv(&self, revision: Revision) -> Result<KvHash, Error> {
        self.read_far(move |store| store.hash_kv(revision)).await
    }

    fn state_hash(&self) -> u128 {
        self.inner.store.applied().hash
    }

    fn has_room(&self) -> bool {
        self.inner.has_room()
    }

    async fn without_room(&self) -> Vec<u64> {
        let inner = &self.inner;
        let ask = |member: MemberInfo| async move {
            let full = if member.id == inner.member.0 {
                !inner.has_room()
            } else {
                // Who does not answer says nothing of its disk.
                inner.identify(&member.peer_address).await.is_ok_and(|answer| answer.full)
            };
            full.then_some(member.id)
        };
        join_all(self.members().into_iter().map(ask)).await.into_iter().flatten().collect()
    }

    async fn snapshot_source(&self) -> Result<SnapshotSource, Error> {
        self.inner.wait_caught_up().await?;
        Ok(SnapshotSource { store: self.inner.store.clone(), dir: self.inner.snapshots.etcd_file() })
    }

    fn metrics(&self) -> String {
        self.inner.render_metrics()
    }

    fn encoded(&self, range: &KeyRange, keys: usize, took: Duration) {
        let metrics = &self.inner.metrics;
        let took_ns = took.as_nanos() as u64;
        metrics.steps.encode.observe(took);
        if metrics.slow.is_slow(took_ns) {
            let (subject, role) = (Subject::of_range(range), role_of(&self.inner.raft));
            metrics.slow.read(&subject, role, keys, 0, &vec![("encode", took_ns)]);
        }
    }

    async fn move_leader(&self, target: u64) -> Result<(), Error> {
        match self.hand_over(Some(MemberId(target))).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        }
    }
}

impl Replica {
    /// A read that may take long, on a thread of its own, of a state that this member's clients
    /// have not left behind.
    async fn read_far<T: Send + 'static>(
        &self,
        read: impl FnOnce(Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.wait_caught_up().await?;
        let store = self.inner.store.clone();
        trireme_store::work::blocking(move || read(store))
            .await
            .map_err(|error| Error::Broken(format!("a read failed: {error}")))?
    }
}
