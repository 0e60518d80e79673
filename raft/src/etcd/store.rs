//! What stateless API servers need beside etcd's API.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trireme_store::Revision;

use super::cluster::member_status;
use super::pb::trireme::v1 as pb;
use super::{Backend, checkpoint, error};
use crate::replica::MemberChange;
use crate::types::MemberId;

pub(super) struct StoreService(pub(super) Arc<dyn Backend>);

#[tonic::async_trait]
impl pb::store_server::Store for StoreService {
    async fn propose(
        &self,
        request: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeResponse>, Status> {
        let outcomes = self.0.propose(request.into_inner().commands).await.map_err(error::status)?;
        let outcomes = outcomes.iter().map(|o| o.encode()).collect();
        Ok(Response::new(pb::ProposeResponse { outcomes }))
    }

    async fn barrier(&self, _: Request<pb::BarrierRequest>) -> Result<Response<pb::BarrierResponse>, Status> {
        let revision = self.0.barrier().await.map_err(error::status)?;
        Ok(Response::new(pb::BarrierResponse { revision: revision.0 }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let s = self.0.status().await.map_err(error::status)?;
        Ok(Response::new(pb::StatusResponse {
            cluster_id: s.cluster_id,
            member_id: s.member_id,
            leader_id: s.leader_id,
            term: s.term,
            last_log_index: s.last_log_index,
            applied_index: s.applied_index,
            revision: s.revision.0,
            compact_revision: s.compact_revision.0,
            db_size_bytes: s.db_size_bytes,
            db_size_in_use_bytes: s.db_size_in_use_bytes,
            is_learner: s.is_learner,
            errors: s.errors,
        }))
    }

    async fn times(&self, request: Request<pb::TimesRequest>) -> Result<Response<pb::TimesResponse>, Status> {
        // A member that lags would leave out the newest entries.
        self.0.barrier().await.map_err(error::status)?;
        let times = self.0.times(Revision(request.into_inner().from_revision)).await;
        let entry = |(time_ms, revision): (i64, Revision)| pb::TimeEntry { time_ms, revision: revision.0 };
        let entries = times.map_err(error::status)?.into_iter().map(entry).collect();
        Ok(Response::new(pb::TimesResponse { entries }))
    }

    async fn replace_member(
        &self,
        request: Request<pb::ReplaceMemberRequest>,
    ) -> Result<Response<pb::ReplaceMemberResponse>, Status> {
        let pb::ReplaceMemberRequest { old, new } = request.into_inner();
        let change = MemberChange::Replace { old: MemberId(old), new: MemberId(new) };
        self.0.change_members(change).await.map_err(|error| member_status(&error))?;
        Ok(Response::new(pb::ReplaceMemberResponse {}))
    }

    type CheckpointStream = checkpoint::Pieces;

    async fn checkpoint(
        &self,
        _: Request<pb::CheckpointRequest>,
    ) -> Result<Response<Self::CheckpointStream>, Status> {
        checkpoint::serve(&*self.0).await.map(Response::new)
    }
}
