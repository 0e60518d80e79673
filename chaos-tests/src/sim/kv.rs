//! The store as a client of the simulated world has it: through one member at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use trireme_raft::Replica;
use trireme_raft::etcd::Backend;
use trireme_store::log::{Command, CommandOp, FEATURE_LEVEL, Outcome, ProposalId};
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

use super::remote::{self, Here, Lost, Remotes};

/// How long a write that is repeated is tried, over all members.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// After which another member is asked. Shorter than in `raft/src/remote`: ways are cut for seconds here.
const ATTEMPT_MAX: Duration = Duration::from_millis(100);

/// A member's replica while it runs.
pub(super) type Slot = remote::Slot<Replica>;

pub(super) struct SimKv {
    pub members: Remotes<Replica>,
    /// Before each call.
    pub think: Duration,
    /// Where writes are repeated, and not only given up.
    pub repeats: Option<Repeats>,
    /// Counts the answers that say that there is no room.
    pub no_space: Arc<AtomicU64>,
}

type Answer<T> = Result<T, Error>;

/// Names the writes of one client, as [`trireme_raft::Remote`] does: one goes to member after member under
/// its name until it is answered, while those before may still hold it.
pub(super) struct Repeats {
    client: u64,
    written: AtomicU64,
}

impl Repeats {
    /// The `n`th client of a world. Members draw names for themselves that lack the highest bit.
    pub(super) fn new(n: usize) -> Repeats {
        Repeats { client: 1 << 63 | n as u64, written: AtomicU64::new(0) }
    }

    /// A command with the next name; members give it their time.
    fn name(&self, op: CommandOp) -> Bytes {
        let seq = self.written.fetch_add(1, Ordering::Relaxed) + 1;
        Command { proposal: ProposalId { client: self.client, seq }, time_ms: 0, op }.encode()
    }
}

impl SimKv {
    /// Has `op` done once, by whichever member answers first.
    async fn propose(&self, repeats: &Repeats, op: CommandOp) -> Answer<Outcome> {
        let command = repeats.name(op);
        let deadline = Instant::now() + WRITE_MAX;
        let mut unknown = false;
        loop {
            let (at, command) = (self.members.current(), command.clone());
            let propose = move |replica: Replica| {
                async move {
                    // Before all have agreed to remember what they refuse, a refusal does not last.
                    if unknown && replica.status().feature_level < FEATURE_LEVEL {
                        return Err(Error::Broken("what became of it may be forgotten".into()));
                    }
                    let outcomes = Backend::propose(&replica, vec![command]).await?;
                    let none = || Error::Broken("no outcome came back".into());
                    outcomes.into_iter().next().ok_or_else(none)?.into_result()
                }
                .boxed()
            };
            // A member that is not waited for any more does not hear of it.
            let attempt = timeout(self.think + ATTEMPT_MAX, self.ask(Error::OutcomeUnknown, propose));
            let error = match attempt.await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(error)) => error,
                Err(_) => {
                    self.members.leave(at);
                    Error::OutcomeUnknown
                }
            };
            match &error {
                Error::OutcomeUnknown => unknown = true,
                Error::NoLeader | Error::Unavailable(_) => {}
                // Who has no room for it knows nothing of those before.
                Error::NoSpace | Error::TooManyRequests if unknown => return Err(Error::OutcomeUnknown),
                _ => return Err(error),
            }
            if Instant::now() >= deadline {
                return Err(if unknown { Error::OutcomeUnknown } else { error });
            }
        }
    }

    /// Asks the member in use; `lost` is said of a call whose member ended meanwhile.
    async fn ask<T: Send + 'static>(
        &self,
        lost: Error,
        op: impl FnOnce(Replica) -> BoxFuture<'static, Answer<T>> + Send + 'static,
    ) -> Answer<T> {
        self.ask_from_here(lost, |replica, _| op(replica)).await
    }

    async fn ask_from_here<T: Send + 'static>(
        &self,
        lost: Error,
        op: impl FnOnce(Replica, Here) -> BoxFuture<'static, Answer<T>> + Send + 'static,
    ) -> Answer<T> {
        if !self.think.is_zero() {
            tokio::time::sleep(self.think).await;
        }
        let at = self.members.current();
        let op = move |replica: Option<Replica>, here| match replica {
            Some(replica) => op(replica, here),
            None => async { Err(Error::Unavailable("the member is starting".into())) }.boxed(),
        };
        let answer = match self.members.ask(at, op).await {
            Ok(answer) => answer,
            Err(Lost::Nobody) => Err(Error::Unavailable("nobody is there".into())),
            Err(Lost::Broken) => Err(lost),
        };
        if answer.is_err() {
            self.members.leave(at);
        }
        if matches!(answer, Err(Error::NoSpace)) {
            self.no_space.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

fn gone() -> Error {
    Error::Unavailable("the member has ended".into())
}

/// An outcome of another kind than the command's.
fn odd(outcome: &Outcome) -> Error {
    Error::Broken(format!("the outcome is of another kind than the command: {outcome:?}"))
}

#[async_trait]
impl Kv for SimKv {
    async fn range(&self, request: RangeRequest) -> Answer<RangeResponse> {
        self.ask(gone(), |replica| async move { replica.range(request).await }.boxed()).await
    }

    async fn txn(&self, request: TxnRequest) -> Answer<TxnResponse> {
        if let Some(repeats) = &self.repeats {
            return match self.propose(repeats, CommandOp::Txn(request)).await? {
                Outcome::Txn(done) => Ok(done),
                other => Err(odd(&other)),
            };
        }
        self.ask(Error::OutcomeUnknown, |replica| async move { replica.txn(request).await }.boxed()).await
    }

    async fn watch(&self, request: WatchRequest) -> Answer<WatchStream> {
        let (items, stream) = mpsc::unbounded_channel();
        let follow = move |replica: Replica, here: Here| {
            async move {
                here.send_on(replica.watch(request).await?, items);
                Ok(())
            }
            .boxed()
        };
        self.ask_from_here(gone(), follow).await?;
        Ok(Box::pin(UnboundedReceiverStream::new(stream)))
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Answer<Revision> {
        let compact =
            move |replica: Replica| async move { replica.compact(revision, physical).await }.boxed();
        self.ask(Error::OutcomeUnknown, compact).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Answer<LeaseGrant> {
        if let Some(repeats) = &self.repeats {
            return match self.propose(repeats, CommandOp::LeaseGrant { id, ttl_s }).await? {
                Outcome::Granted(grant) => Ok(grant),
                other => Err(odd(&other)),
            };
        }
        let grant = move |replica: Replica| async move { replica.lease_grant(id, ttl_s).await }.boxed();
        self.ask(Error::OutcomeUnknown, grant).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Answer<Revision> {
        if let Some(repeats) = &self.repeats {
            return match self.propose(repeats, CommandOp::LeaseRevoke(id)).await? {
                Outcome::Revoked(revision) => Ok(revision),
                other => Err(odd(&other)),
            };
        }
        let revoke = move |replica: Replica| async move { replica.lease_revoke(id).await }.boxed();
        self.ask(Error::OutcomeUnknown, revoke).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Answer<i64> {
        self.ask(gone(), move |replica| async move { replica.lease_keep_alive(id).await }.boxed()).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Answer<LeaseTimeToLive> {
        let ask = move |replica: Replica| async move { replica.lease_time_to_live(id, keys).await }.boxed();
        self.ask(gone(), ask).await
    }

    async fn leases(&self) -> Answer<Vec<LeaseId>> {
        self.ask(gone(), |replica| async move { replica.leases().await }.boxed()).await
    }

    async fn barrier(&self) -> Answer<Revision> {
        self.ask(gone(), |replica| async move { replica.barrier().await }.boxed()).await
    }

    async fn status(&self) -> Answer<Status> {
        self.ask(gone(), |replica| async move { Kv::status(&replica).await }.boxed()).await
    }
}
