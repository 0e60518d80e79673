//! Drops old revisions: what was overwritten or deleted before the last round goes in the next.
//!
//! Every server has the task, one of them does the work: a round is a transaction on one key, and
//! who finds that another has changed it only learns from it when the last round was.

use std::sync::Arc;

use bytes::Bytes;
use trireme_store::{
    Compare, Error, KeyRange, Kv, Op, OpResponse, PutRequest, RangeRequest, Revision, TxnRequest,
};

use crate::limits::COMPACTION_INTERVAL;

/// The key that upstream's API server keeps for the same purpose.
const KEY: &str = "compact_rev_key";

/// Runs until it is ended with its server.
pub(crate) async fn run(kv: Arc<dyn Kv>) {
    let mut last = Revision(0);
    loop {
        tokio::time::sleep(COMPACTION_INTERVAL).await;
        match round(kv.as_ref(), last).await {
            Ok(revision) => last = revision,
            Err(error) => tracing::warn!(%error, "old revisions were not dropped; trying again later"),
        }
    }
}

/// One round, when the last one that this server knows of was at revision `last` (0: none).
/// Gives the revision of the newest round: its own, or another server's.
async fn round(kv: &dyn Kv, last: Revision) -> Result<Revision, Error> {
    let done = kv
        .txn(TxnRequest {
            compare: vec![Compare::mod_revision(KEY, last)],
            success: vec![Op::Put(PutRequest::new(KEY, Bytes::from(last.0.to_string())))],
            failure: vec![Op::Range(RangeRequest::new(KeyRange::key(KEY)))],
            ..TxnRequest::default()
        })
        .await?;
    if done.succeeded {
        if last > Revision(0) {
            match kv.compact(last, false).await {
                // Somebody else asked for as much.
                Ok(_) | Err(Error::Compacted { .. }) => {
                    tracing::debug!(revision = last.0, "old revisions were dropped");
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(done.revision);
    }
    match done.responses.first() {
        Some(OpResponse::Range(found)) => Ok(found.kvs.first().map_or(Revision(0), |kv| kv.mod_revision)),
        _ => Ok(Revision(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_store::{Local, Store};

    async fn put(kv: &dyn Kv, value: &str) -> Revision {
        let put = Op::Put(PutRequest::new("/registry/a", Bytes::from(value.to_owned())));
        kv.txn(TxnRequest { success: vec![put], ..TxnRequest::default() }).await.unwrap().revision
    }

    async fn readable(kv: &dyn Kv, revision: Revision) -> bool {
        let mut request = RangeRequest::new(KeyRange::key("/registry/a"));
        request.revision = revision;
        kv.range(request).await.is_ok()
    }

    #[tokio::test]
    async fn one_of_two_servers_drops_what_is_older_than_the_last_round() {
        let clock: trireme_store::Clock = Arc::new(|| 0);
        let store = Store::open(Arc::new(trireme_store::engine::Model::new())).unwrap();
        let kv = Local::new(store, clock).unwrap();
        let first = put(&kv, "1").await;
        let second = put(&kv, "2").await;

        let a = round(&kv, Revision(0)).await.unwrap();
        // The other server comes later and only learns of it: nothing is dropped twice as fast.
        let b = round(&kv, Revision(0)).await.unwrap();
        assert_eq!(a, b);
        assert!(readable(&kv, first).await, "the first round only marks");

        let third = put(&kv, "3").await;
        let a = round(&kv, a).await.unwrap();
        assert!(!readable(&kv, first).await);
        assert!(!readable(&kv, second).await);
        assert!(readable(&kv, third).await, "what was written since the round before stays");

        // A dies; B learns of A's last round, and the round after is B's.
        let learnt = round(&kv, b).await.unwrap();
        assert_eq!(learnt, a);
        let fourth = put(&kv, "4").await;
        assert!(round(&kv, learnt).await.unwrap() > fourth);
        assert!(!readable(&kv, third).await);
        assert!(readable(&kv, fourth).await);
    }
}
