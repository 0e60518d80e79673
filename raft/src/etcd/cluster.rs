//! Who the members are and how this one stands.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::pb::etcdserverpb as pb;
use super::{Backend, check_leader, error, header_now};

/// The etcd release whose API this is: clients turn features on by it (kube-apiserver its
/// consistent reads from cache).
const ETCD_VERSION: &str = "3.6.0";

pub(super) struct ClusterService(pub(super) Arc<dyn Backend>);

#[tonic::async_trait]
impl pb::cluster_server::Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        if request.get_ref().linearizable {
            self.0.barrier().await.map_err(error::status)?;
        }
        let members = self.0.members().into_iter().map(|m| pb::Member {
            id: m.id,
            name: m.name,
            peer_ur_ls: vec![format!("https://{}", m.peer_address)],
            client_ur_ls: vec![format!("https://{}", m.client_address)],
            is_learner: m.is_learner,
        });
        Ok(Response::new(pb::MemberListResponse {
            members: members.collect(),
            header: Some(header_now(&*self.0)),
        }))
    }
}

pub(super) struct MaintenanceService(pub(super) Arc<dyn Backend>);

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for MaintenanceService {
    /// There are no alarms to clear: writes refused for lack of space resume by themselves.
    async fn alarm(&self, _: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        Ok(Response::new(pb::AlarmResponse { header: Some(header_now(&*self.0)), alarms: Vec::new() }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.status().await.map_err(error::status)?;
        Ok(Response::new(pb::StatusResponse {
            header: Some(header_now(&*self.0)),
            version: ETCD_VERSION.to_owned(),
            db_size: i64::try_from(status.db_size_bytes).unwrap_or(i64::MAX),
            leader: status.leader_id,
            raft_index: status.last_log_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: status.errors,
            db_size_in_use: i64::try_from(status.db_size_in_use_bytes).unwrap_or(i64::MAX),
            is_learner: status.is_learner,
        }))
    }

    /// Space is given back while serving: there is nothing to do, and that is not an error.
    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(pb::DefragmentResponse { header: Some(header_now(&*self.0)) }))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.0.move_leader(request.into_inner().target_id).await.map_err(error::status)?;
        Ok(Response::new(pb::MoveLeaderResponse { header: Some(header_now(&*self.0)) }))
    }
}
