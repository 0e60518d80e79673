//! Who the members are.

use std::sync::Arc;

use tonic::{Code, Request, Response, Status};
use trireme_store::Error;

use super::pb::etcdserverpb as pb;
use super::{Backend, check_leader, error, header_now};
use crate::replica::{MemberChange, MemberError};
use crate::types::MemberId;

/// Why a change of members was refused, in full.
pub(crate) const MEMBER_DETAIL: &str = "trireme-detail";

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
        Ok(Response::new(pb::MemberListResponse {
            members: self.members(),
            header: Some(header_now(&*self.0)),
        }))
    }

    /// The member must run at its address already, which etcd does not ask for: it is told there who
    /// it is. Without `is_learner` it gets a vote once it has about caught up, and the call returns
    /// then.
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = request.into_inner();
        let peer_address = address_of(&request.peer_ur_ls)?;
        let change = match request.is_learner {
            true => MemberChange::AddLearner { peer_address },
            false => MemberChange::AddVoter { peer_address },
        };
        let id = self.0.change_members(change).await.map_err(|error| member_status(&error))?;
        let members = self.members();
        Ok(Response::new(pb::MemberAddResponse {
            header: Some(header_now(&*self.0)),
            member: members.iter().find(|member| member.id == id.0).cloned(),
            members,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let change = MemberChange::Remove(MemberId(request.into_inner().id));
        self.0.change_members(change).await.map_err(|error| member_status(&error))?;
        let header = Some(header_now(&*self.0));
        Ok(Response::new(pb::MemberRemoveResponse { header, members: self.members() }))
    }

    /// The member must run at the new address already, and say so itself, which etcd does not ask for.
    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let peer_address = address_of(&request.peer_ur_ls)?;
        let change = MemberChange::Move { member: MemberId(request.id), peer_address: peer_address.clone() };
        self.0.change_members(change).await.map_err(|error| member_status(&error))?;
        let noted = self.0.members().into_iter().find(|member| member.id == request.id);
        if let Some(noted) = noted.filter(|member| member.peer_address != peer_address) {
            return Err(Status::failed_precondition(format!(
                "the member says itself that it is at {}: start it with {peer_address}, and it tells the others",
                noted.peer_address
            )));
        }
        let header = Some(header_now(&*self.0));
        Ok(Response::new(pb::MemberUpdateResponse { header, members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let change = MemberChange::Promote(MemberId(request.into_inner().id));
        self.0.change_members(change).await.map_err(|error| member_status(&error))?;
        let header = Some(header_now(&*self.0));
        Ok(Response::new(pb::MemberPromoteResponse { header, members: self.members() }))
    }
}

impl ClusterService {
    fn members(&self) -> Vec<pb::Member> {
        let members = self.0.members().into_iter().map(|m| pb::Member {
            id: m.id,
            name: m.name,
            peer_ur_ls: vec![format!("https://{}", m.peer_address)],
            client_ur_ls: vec![format!("https://{}", m.client_address)],
            is_learner: m.is_learner,
        });
        members.collect()
    }
}

/// `host:port` of the one URL that a member has here.
fn address_of(urls: &[String]) -> Result<String, Status> {
    match urls {
        [url] => Ok(url.trim_start_matches("https://").trim_end_matches('/').to_owned()),
        _ => Err(Status::invalid_argument("one peer URL is expected, https://HOST:PORT")),
    }
}

/// etcd's code and message where it has one for the case, else ours.
pub(super) fn member_status(refused: &MemberError) -> Status {
    let (code, message) = match refused {
        MemberError::NotLeading { .. } => return error::status(Error::NoLeader),
        MemberError::Unknown(_) => (Code::NotFound, "etcdserver: member not found"),
        MemberError::AlreadyIn(_) => (Code::FailedPrecondition, "etcdserver: member ID already exist"),
        MemberError::NotALearner(_) => {
            (Code::FailedPrecondition, "etcdserver: can only promote a learner member")
        }
        MemberError::Behind { .. } => (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        MemberError::QuorumAtRisk { .. } => (
            Code::FailedPrecondition,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        MemberError::Unreachable(_) | MemberError::TimedOut(_) | MemberError::Raft(_) => {
            return Status::unavailable(format!("etcdserver: {refused}"));
        }
        _ => return Status::failed_precondition(format!("etcdserver: {refused}")),
    };
    // Clients match on etcd's words; what they leave out is beside them.
    let mut status = Status::new(code, message);
    if let Ok(value) = refused.to_string().parse() {
        status.metadata_mut().insert(MEMBER_DETAIL, value);
    }
    status
}
