//! `Kv` over the replicated store.

use async_trait::async_trait;
use trireme_store::log::{CommandOp, Outcome};
use trireme_store::planted::{self, Bug};
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

use super::metrics::role_of;
use super::{Inner, Replica};
use crate::metrics::{Subject, now_ns};
use crate::types::Proposal;

impl Inner {
    /// Waits until what a compaction makes removable is gone from this member's disk.
    async fn scrubbed(&self, revision: Revision) -> Result<(), Error> {
        tokio::select! {
            scrubbed = self.store.scrubbed(revision) => scrubbed,
            () = self.stop.cancelled() => Err(Error::Unavailable("this member is stopping".into())),
        }
    }

    /// Waits until this member has applied what was acknowledged before it started: before that
    /// it would answer with a past that its clients have left behind.
    pub(super) async fn wait_caught_up(&self) -> Result<(), Error> {
        if *self.caught_up.borrow() {
            return Ok(());
        }
        let mut caught_up = self.caught_up.subscribe();
        let wait = tokio::time::timeout(self.config.timing.request, caught_up.wait_for(|is| *is));
        match wait.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Unavailable("this member has not caught up since it started".into())),
        }
    }
}

/// Reads of one key are answered where they are asked; others may take long and get a thread.
async fn read(inner: &Inner, request: RangeRequest) -> Result<RangeResponse, Error> {
    if request.range.end.is_empty() {
        return inner.store.range(&request);
    }
    let store = inner.store.clone();
    trireme_store::work::blocking(move || store.range(&request))
        .await
        .map_err(|error| Error::Broken(format!("a read failed: {error}")))?
}

fn unexpected(outcome: Outcome) -> Error {
    Error::Broken(format!("the store answered a command with {outcome:?}"))
}

impl Replica {
    /// Proposes commands that carry their ids already, as remote clients send them.
    pub(crate) async fn submit(&self, proposal: Proposal) -> Result<Outcome, Error> {
        self.inner.submit(proposal).await
    }
}

#[async_trait]
impl Kv for Replica {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let inner = &self.inner;
        let began_ns = now_ns();
        let range = request.range.clone();
        if request.serializable {
            inner.wait_caught_up().await?;
        } else if request.revision.0 <= 0 || request.revision > inner.store.applied().revision {
            inner.barrier().await?;
        } else {
            inner.wait_caught_up().await?;
        }
        let waited_ns = now_ns();
        let found = read(inner, request).await?;
        let ended_ns = now_ns();
        let metrics = &inner.metrics;
        metrics.operations.ranges.inc();
        metrics.steps.read.observe_ns(ended_ns - waited_ns);
        metrics.reads.observe_ns(ended_ns - began_ns);
        if metrics.slow.is_slow(ended_ns - began_ns) {
            let bytes = found.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            let steps = vec![("barrier", waited_ns - began_ns), ("read", ended_ns - waited_ns)];
            let (subject, role) = (Subject::of_range(&range), role_of(&inner.raft));
            metrics.slow.read(&subject, role, found.kvs.len(), bytes, &steps);
        }
        Ok(found)
    }

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        match self.inner.propose(CommandOp::Txn(request)).await? {
            Outcome::Txn(response) if planted::is(Bug::RefusedAndDone) && response.revision.0 % 20 == 0 => {
                Err(Error::Unavailable("refused".into()))
            }
            Outcome::Txn(response) => Ok(response),
            other => Err(unexpected(other)),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        self.inner.wait_caught_up().await?;
        if !request.without_leader && !*self.inner.has_leader.borrow() {
            return Err(Error::NoLeader);
        }
        self.inner.store.watch(request)
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error> {
        match self.inner.propose(CommandOp::Compact(revision)).await? {
            Outcome::Compacted(now) => {
                // Reads at old revisions are served without asking the leader: this member must
                // have dropped them too before it says so.
                let _ = self.inner.barrier().await;
                if physical {
                    self.inner.scrubbed(revision).await?;
                }
                Ok(now)
            }
            other => Err(unexpected(other)),
        }
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error> {
        let id = if id.0 == 0 { LeaseId((rand::random::<i64>() & i64::MAX).max(1)) } else { id };
        match self.inner.propose(CommandOp::LeaseGrant { id, ttl_s }).await? {
            Outcome::Granted(grant) => Ok(grant),
            other => Err(unexpected(other)),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        match self.inner.propose(CommandOp::LeaseRevoke(id)).await? {
            Outcome::Revoked(revision) => Ok(revision),
            other => Err(unexpected(other)),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error> {
        Ok(self.inner.ask_about_lease(id, true).await?.ttl_s)
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error> {
        let revision = self.inner.barrier().await?;
        let gone = LeaseTimeToLive { revision, id, ttl_s: -1, ..LeaseTimeToLive::default() };
        let answer = match self.inner.ask_about_lease(id, false).await {
            Ok(answer) => answer,
            Err(Error::LeaseNotFound) => return Ok(gone),
            Err(error) => return Err(error),
        };
        let keys = if keys { self.inner.store.lease_keys(id)? } else { Vec::new() };
        Ok(LeaseTimeToLive { ttl_s: answer.ttl_s, granted_ttl_s: answer.granted_ttl_s, keys, ..gone })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        self.inner.barrier().await?;
        Ok(self.inner.store.leases()?.into_iter().map(|lease| lease.id).collect())
    }

    async fn barrier(&self) -> Result<Revision, Error> {
        self.inner.barrier().await
    }

    async fn status(&self) -> Result<Status, Error> {
        Ok(self.inner.kv_status())
    }
}
