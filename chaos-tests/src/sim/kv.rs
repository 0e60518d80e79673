//! The store as a client of the simulated world has it: through one member at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use trireme_raft::Replica;
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

use super::remote::{self, Here, Lost, Remotes};

/// A member's replica while it runs.
pub(super) type Slot = remote::Slot<Replica>;

pub(super) struct SimKv {
    pub members: Remotes<Replica>,
    /// Before each call.
    pub think: Duration,
    /// Counts the answers that say that there is no room.
    pub no_space: Arc<AtomicU64>,
}

type Answer<T> = Result<T, Error>;

impl SimKv {
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
