//! The store as a client of the simulated world has it: through one member at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use trireme_raft::Replica;
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

use super::network::{Host, Network};

/// A member's replica while it runs.
pub(super) type Slot = Arc<Mutex<Option<Replica>>>;

pub(super) struct SimKv {
    pub network: Network,
    /// Where the client is.
    pub from: Host,
    pub members: Vec<(Host, Slot)>,
    /// The member in use, counted on after every error.
    pub at: AtomicUsize,
    /// Before each call.
    pub think: Duration,
}

type Answer<T> = Result<T, Error>;

impl SimKv {
    /// Asks the member in use; `lost` is said of a call whose member ended meanwhile.
    async fn ask<T: Send + 'static>(
        &self,
        lost: Error,
        op: impl FnOnce(Replica) -> BoxFuture<'static, Answer<T>> + Send + 'static,
    ) -> Answer<T> {
        if !self.think.is_zero() {
            tokio::time::sleep(self.think).await;
        }
        let at = self.at.load(Ordering::Relaxed);
        let (to, slot) = self.members[at % self.members.len()].clone();
        let (reply, answer) = oneshot::channel();
        let reply = Arc::new(Mutex::new(Some(reply)));
        let refuse = reply.clone();
        let say = |reply: &Mutex<Option<oneshot::Sender<Answer<T>>>>, answer| {
            if let Some(reply) = reply.lock().take() {
                let _ = reply.send(answer);
            }
        };
        let (network, from) = (self.network.clone(), self.from);
        let job = move || {
            async move {
                let replica = slot.lock().clone();
                let answer = match replica {
                    Some(replica) => op(replica).await,
                    None => Err(Error::Unavailable("the member is starting".into())),
                };
                network.tell(to, from, 0, move || say(&reply, answer));
            }
            .boxed()
        };
        let refused = move || say(&refuse, Err(Error::Unavailable("nobody is there".into())));
        self.network.ask(from, to, job, refused);
        let answer = answer.await.unwrap_or(Err(lost));
        if answer.is_err() {
            let _ = self.at.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }
}

fn gone() -> Error {
    Error::Unavailable("the member has ended".into())
}

#[async_trait]
impl Kv for SimKv {
    async fn range(&self, request: RangeRequest) -> Answer<RangeResponse> {
        self.ask(gone(), |replica| async move { replica.range(request).await }.boxed()).await
    }

    async fn txn(&self, request: TxnRequest) -> Answer<TxnResponse> {
        self.ask(Error::OutcomeUnknown, |replica| async move { replica.txn(request).await }.boxed()).await
    }

    async fn watch(&self, request: WatchRequest) -> Answer<WatchStream> {
        let (items, stream) = mpsc::unbounded_channel();
        let (network, to) = (self.network.clone(), self.from);
        let from = self.members[self.at.load(Ordering::Relaxed) % self.members.len()].0;
        let follow = move |replica: Replica| {
            async move {
                let mut watch = replica.watch(request).await?;
                tokio::spawn(async move {
                    let mut not_before = 0;
                    while let Some(item) = watch.next().await {
                        let items = items.clone();
                        if items.is_closed() {
                            return;
                        }
                        not_before = network.tell(from, to, not_before, move || {
                            let _ = items.send(item);
                        });
                    }
                });
                Ok(())
            }
            .boxed()
        };
        self.ask(gone(), follow).await?;
        Ok(Box::pin(UnboundedReceiverStream::new(stream)))
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Answer<Revision> {
        let compact =
            move |replica: Replica| async move { replica.compact(revision, physical).await }.boxed();
        self.ask(Error::OutcomeUnknown, compact).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Answer<LeaseGrant> {
        let grant = move |replica: Replica| async move { replica.lease_grant(id, ttl_s).await }.boxed();
        self.ask(Error::OutcomeUnknown, grant).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Answer<Revision> {
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
