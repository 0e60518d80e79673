//! Range, Put, DeleteRange, Txn, Compact.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use trireme_store as store;
use trireme_store::{Error, Op, OpResponse, Revision};

use super::access::Access;
use super::pb::etcdserverpb as pb;
use super::{Backend, SEEN_REVISION, check_leader, convert, error, header, range_stream};

/// How long a member that is behind the caller tries to catch up before it says so.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
const CATCH_UP_POLL: Duration = Duration::from_millis(2);

pub(super) struct KvService(pub(super) Arc<dyn Backend>);

impl KvService {
    async fn catch_up(&self, metadata: &MetadataMap) -> Result<(), Error> {
        let seen = metadata.get(SEEN_REVISION).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let Some(seen) = seen.map(Revision) else { return Ok(()) };
        let mut waited = Duration::ZERO;
        while self.0.standing().revision < seen {
            if waited >= CATCH_UP_MAX {
                return Err(Error::Unavailable(format!("this member is behind revision {seen}")));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
            waited += CATCH_UP_POLL;
        }
        Ok(())
    }

    /// A transaction of one operation: what a plain put or delete is.
    async fn single(&self, op: Op) -> Result<(Revision, OpResponse), Error> {
        let request = store::TxnRequest { success: vec![op], ..Default::default() };
        let mut response = self.0.txn(request).await?;
        match response.responses.pop() {
            Some(one) => Ok((response.revision, one)),
            None => Err(Error::Broken("a transaction of one operation gave no response".into())),
        }
    }
}

#[tonic::async_trait]
impl pb::kv_server::Kv for KvService {
    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let access = Access::of(&request);
        check_leader(&*self.0, request.metadata())?;
        if request.get_ref().serializable {
            self.catch_up(request.metadata()).await.map_err(error::status)?;
        }
        let wanted = convert::range_request_from(request.into_inner()).map_err(error::status)?;
        access.may_read(&wanted.range)?;
        range_stream::check(&wanted)?;
        Ok(Response::new(Box::pin(range_stream::parts(self.0.clone(), wanted))))
    }

    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let access = Access::of(&request);
        check_leader(&*self.0, request.metadata())?;
        if request.get_ref().serializable {
            self.catch_up(request.metadata()).await.map_err(error::status)?;
        }
        let wanted = convert::range_request_from(request.into_inner()).map_err(error::status)?;
        access.may_read(&wanted.range)?;
        let range = wanted.range.clone();
        let found = self.0.range(wanted).await.map_err(error::status)?;
        let header = header(&*self.0, found.revision);
        let (keys, began) = (found.kvs.len(), Instant::now());
        let response = convert::range_response(found, Some(header));
        self.0.encoded(&range, keys, began.elapsed());
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        let put = convert::put_request_from(request.into_inner()).map_err(error::status)?;
        access.may_put(&put)?;
        let (revision, done) = self.single(Op::Put(put)).await.map_err(error::status)?;
        let prev_kv = match done {
            OpResponse::Put { prev_kv } => prev_kv.map(convert::key_value),
            _ => None,
        };
        Ok(Response::new(pb::PutResponse { header: Some(header(&*self.0, revision)), prev_kv }))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        let delete = convert::delete_request_from(request.into_inner()).map_err(error::status)?;
        access.may_write(&delete.range)?;
        let (revision, done) = self.single(Op::Delete(delete)).await.map_err(error::status)?;
        let (deleted, prev_kvs) = match done {
            OpResponse::Delete { deleted, prev_kvs } => (deleted, prev_kvs),
            _ => (0, Vec::new()),
        };
        Ok(Response::new(pb::DeleteRangeResponse {
            header: Some(header(&*self.0, revision)),
            deleted,
            prev_kvs: prev_kvs.into_iter().map(convert::key_value).collect(),
        }))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        let wanted = convert::txn_request_from(request.into_inner()).map_err(error::status)?;
        access.may_txn(&wanted)?;
        let done = self.0.txn(wanted).await.map_err(error::status)?;
        let header = header(&*self.0, done.revision);
        Ok(Response::new(convert::txn_response(done, header)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        let now = self.0.compact(Revision(revision), physical).await.map_err(error::status)?;
        Ok(Response::new(pb::CompactionResponse { header: Some(header(&*self.0, now)) }))
    }
}
