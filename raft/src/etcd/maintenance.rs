//! How a member stands, and what operators of etcd ask of one.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trireme_store::{Error, Revision};

use super::pb::etcdserverpb as pb;
use super::{Backend, error, header, header_now, snapshot};

/// The etcd release whose API this is: clients turn features on by it (kube-apiserver its
/// consistent reads from cache, and streamed ranges).
pub(crate) const ETCD_VERSION: &str = "3.7.0";

pub(super) struct MaintenanceService(pub(super) Arc<dyn Backend>);

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for MaintenanceService {
    /// Alarms are what members find of themselves, at the moment of asking: one that has no room
    /// raises NOSPACE, and its end ends with it.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let request = request.into_inner();
        let action = AlarmAction::try_from(request.action)
            .map_err(|_| Status::invalid_argument("etcdserver: no such action on an alarm"))?;
        let alarms = match action {
            AlarmAction::Get => {
                let asked = |kind: pb::AlarmType| request.alarm == 0 || request.alarm == kind as i32;
                let full =
                    if asked(pb::AlarmType::Nospace) { self.0.without_room().await } else { Vec::new() };
                full.into_iter()
                    .filter(|member| request.member_id == 0 || request.member_id == *member)
                    .map(|member_id| pb::AlarmMember { member_id, alarm: pb::AlarmType::Nospace as i32 })
                    .collect()
            }
            AlarmAction::Activate if request.alarm != 0 => {
                return Err(Status::failed_precondition(
                    "etcdserver: alarms are found by the members, and cannot be set",
                ));
            }
            // There is nothing to clear: writes resume by themselves. The answer names the alarms
            // that were cleared.
            AlarmAction::Activate | AlarmAction::Deactivate => Vec::new(),
        };
        Ok(Response::new(pb::AlarmResponse { header: Some(header_now(&*self.0)), alarms }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.status().await.map_err(error::status)?;
        let mut errors = Vec::new();
        // In etcd's words for those who look for them, then in ours.
        if status.leader_id == 0 {
            errors.push(Error::NoLeader.to_string());
        }
        if !self.0.has_room() {
            errors.push(format!("memberID:{} alarm:NOSPACE ", status.member_id));
        }
        errors.extend(status.errors);
        Ok(Response::new(pb::StatusResponse {
            header: Some(header_now(&*self.0)),
            version: ETCD_VERSION.to_owned(),
            db_size: i64::try_from(status.db_size_bytes).unwrap_or(i64::MAX),
            leader: status.leader_id,
            raft_index: status.last_log_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: i64::try_from(status.db_size_in_use_bytes).unwrap_or(i64::MAX),
            is_learner: status.is_learner,
            // The state is no file of etcd's, and nothing bounds it but the disk.
            storage_version: String::new(),
            db_size_quota: 0,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    /// Space is given back while serving: there is nothing to do, and that is not an error.
    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        tracing::info!("defragmentation was asked for: nothing to do, space is given back while serving");
        Ok(Response::new(pb::DefragmentResponse { header: Some(header_now(&*self.0)) }))
    }

    /// Of the state as this member has applied it. For tests, as etcd's is: `hash_kv` compares
    /// members at one revision.
    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let header = header_now(&*self.0);
        let hash = self.0.state_hash();
        let hash = (hash ^ (hash >> 32) ^ (hash >> 64) ^ (hash >> 96)) as u32;
        Ok(Response::new(pb::HashResponse { header: Some(header), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let found = self.0.hash_kv(Revision(request.into_inner().revision)).await.map_err(error::status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(header(&*self.0, found.current)),
            hash: found.hash,
            // etcd says so when nothing was compacted yet.
            compact_revision: if found.compact_revision.0 == 0 { -1 } else { found.compact_revision.0 },
            hash_revision: found.revision.0,
        }))
    }

    type SnapshotStream = snapshot::Pieces;

    /// The state as the file that etcd's tools read.
    async fn snapshot(
        &self,
        _: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        snapshot::serve(&*self.0, ETCD_VERSION).await.map(Response::new)
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let target = request.into_inner().target_id;
        let status = self.0.status().await.map_err(error::status)?;
        if status.leader_id != status.member_id {
            return Err(Status::failed_precondition("etcdserver: not leader"));
        }
        if !self.0.members().iter().any(|member| member.id == target && !member.is_learner) {
            return Err(Status::failed_precondition("etcdserver: bad leader transferee"));
        }
        if target != status.member_id {
            self.0.move_leader(target).await.map_err(error::status)?;
        }
        Ok(Response::new(pb::MoveLeaderResponse { header: Some(header_now(&*self.0)) }))
    }
}
