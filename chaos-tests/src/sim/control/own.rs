//! The store as an API server has it that runs in a member's process: it ends with the process, whatever
//! is still held of the server.

use async_trait::async_trait;
use trireme_raft::Replica;
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

use crate::sim::kv::Slot;

pub(super) struct OwnMember(pub(super) Slot);

impl OwnMember {
    fn replica(&self) -> Result<Replica, Error> {
        let replica = self.0.lock().clone();
        replica.ok_or_else(|| Error::Unavailable("the process has ended".into()))
    }
}

type Answer<T> = Result<T, Error>;

#[async_trait]
impl Kv for OwnMember {
    async fn range(&self, request: RangeRequest) -> Answer<RangeResponse> {
        self.replica()?.range(request).await
    }

    async fn txn(&self, request: TxnRequest) -> Answer<TxnResponse> {
        self.replica()?.txn(request).await
    }

    async fn watch(&self, request: WatchRequest) -> Answer<WatchStream> {
        self.replica()?.watch(request).await
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Answer<Revision> {
        self.replica()?.compact(revision, physical).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Answer<LeaseGrant> {
        self.replica()?.lease_grant(id, ttl_s).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Answer<Revision> {
        self.replica()?.lease_revoke(id).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Answer<i64> {
        self.replica()?.lease_keep_alive(id).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Answer<LeaseTimeToLive> {
        self.replica()?.lease_time_to_live(id, keys).await
    }

    async fn leases(&self) -> Answer<Vec<LeaseId>> {
        self.replica()?.leases().await
    }

    async fn barrier(&self) -> Answer<Revision> {
        self.replica()?.barrier().await
    }

    async fn status(&self) -> Answer<Status> {
        Kv::status(&self.replica()?).await
    }
}
