//! One conformance suite for every implementation of [`Kv`].
//!
//! Each case works under a prefix of its own and assumes nothing about revisions but their order,
//! so that cases run against a store that is in use. A case panics with what it saw.

mod keys;
mod leases;
mod txns;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use crate::kv::{
    DeleteRequest, Error, KeyRange, KeyValue, Kv, LeaseId, Op, OpResponse, PutRequest, RangeRequest,
    RangeResponse, Revision, TxnRequest, TxnResponse,
};

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs every case. Compacts, so history that others need must not matter.
pub async fn run(kv: Arc<dyn Kv>) {
    let suite = Suite { kv };
    suite.keys().await;
    suite.txns().await;
    suite.leases().await;
    suite.watches().await;
    suite.compaction().await;
    suite.cluster().await;
}

struct Suite {
    kv: Arc<dyn Kv>,
}

impl Suite {
    async fn put(&self, put: PutRequest) -> Result<(Revision, Option<KeyValue>), Error> {
        let response = self.txn(vec![Op::Put(put)]).await?;
        match &response.responses[..] {
            [OpResponse::Put { prev_kv }] => Ok((response.revision, prev_kv.clone())),
            other => panic!("a put was answered {other:?}"),
        }
    }

    async fn set(&self, key: &str, value: &str) -> Revision {
        let put = PutRequest::new(key.to_owned(), value.to_owned());
        self.put(put).await.unwrap_or_else(|e| panic!("put {key}: {e}")).0
    }

    async fn delete(&self, range: KeyRange, prev_kv: bool) -> (Revision, i64, Vec<KeyValue>) {
        let response = self.txn(vec![Op::Delete(DeleteRequest { range, prev_kv })]).await.expect("delete");
        match &response.responses[..] {
            [OpResponse::Delete { deleted, prev_kvs }] => (response.revision, *deleted, prev_kvs.clone()),
            other => panic!("a delete was answered {other:?}"),
        }
    }

    async fn txn(&self, success: Vec<Op>) -> Result<TxnResponse, Error> {
        self.kv.txn(TxnRequest { success, ..Default::default() }).await
    }

    async fn get(&self, key: &str) -> Option<KeyValue> {
        let response = self.kv.range(RangeRequest::new(KeyRange::key(key.to_owned()))).await;
        response.unwrap_or_else(|e| panic!("get {key}: {e}")).kvs.pop()
    }

    async fn list(&self, prefix: &str, change: impl FnOnce(&mut RangeRequest)) -> RangeResponse {
        let mut request = RangeRequest::new(KeyRange::prefix(prefix.to_owned()));
        change(&mut request);
        self.kv.range(request).await.unwrap_or_else(|e| panic!("list {prefix}: {e}"))
    }

    async fn now(&self) -> Revision {
        self.kv.barrier().await.expect("barrier")
    }

    async fn compaction(&self) {
        let first = self.set("compact/a", "1").await;
        let second = self.set("compact/a", "2").await;
        self.set("compact/gone", "1").await;
        let deleted = self.delete(KeyRange::key("compact/gone"), false).await.0;
        let at = |revision| {
            let mut request = RangeRequest::new(KeyRange::prefix("compact/"));
            request.revision = revision;
            self.kv.range(request)
        };
        assert_eq!(at(first).await.expect("before").kvs[0].value, "1");
        let future = Revision(self.now().await.0 + 1_000_000);
        assert!(matches!(at(future).await, Err(Error::FutureRevision { .. })));
        assert!(matches!(self.kv.compact(future, false).await, Err(Error::FutureRevision { .. })));
        self.kv.compact(second, false).await.expect("compact");
        assert_eq!(at(first).await, Err(Error::Compacted { compact_revision: second }));
        assert_eq!(at(second).await.expect("the compact revision itself can be read").kvs[0].value, "2");
        let again = self.kv.compact(second, false).await;
        assert_eq!(again, Err(Error::Compacted { compact_revision: second }));
        assert_eq!(self.kv.compact(first, false).await, Err(Error::Compacted { compact_revision: second }));
        self.kv.compact(deleted, true).await.expect("physical compaction");
        assert_eq!(self.list("compact/", |_| {}).await.kvs.len(), 1);
        assert_eq!(self.get("compact/a").await.expect("live keys stay").version, 2);
        assert_eq!(self.kv.status().await.expect("status").compact_revision, deleted);
        self.compacted_watch(first, deleted).await;
    }

    async fn cluster(&self) {
        let written = self.set("cluster/a", "1").await;
        assert!(self.now().await >= written, "a barrier covers what was acknowledged");
        let status = self.kv.status().await.expect("status");
        assert!(status.applied_index > 0 && status.term > 0 && status.leader_id != 0, "{status:?}");
        assert!(status.cluster_id != 0 && status.member_id != 0, "{status:?}");
        assert!(status.last_log_index >= status.applied_index, "{status:?}");
        assert_eq!(status.errors, Vec::<String>::new());
        // Readers at once share barriers; each still covers the write before it.
        let barriers = (0..32).map(|_| self.kv.barrier());
        for revision in futures::future::join_all(barriers).await {
            assert!(revision.expect("barrier") >= written);
        }
    }
}

/// A lease id that nobody else uses.
fn lease_id(n: i64) -> LeaseId {
    LeaseId(0x7e57_0000 + n)
}
