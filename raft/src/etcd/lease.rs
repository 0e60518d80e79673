//! Leases over gRPC.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use trireme_store::{Error, LeaseId};

use super::access::Access;
use super::pb::etcdserverpb as pb;
use super::{Backend, check_leader, error, header, header_now};

pub(super) struct LeaseService(pub(super) Arc<dyn Backend>);

type KeepAlives = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl pb::lease_server::Lease for LeaseService {
    type LeaseKeepAliveStream = KeepAlives;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        access.may_grant_lease()?;
        let request = request.into_inner();
        let id = match LeaseId(request.id) {
            LeaseId(0) => access.draw_lease().unwrap_or_default(),
            chosen => {
                access.may_use_lease(chosen)?;
                chosen
            }
        };
        let lease = self.0.lease_grant(id, request.ttl).await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header: Some(header(&*self.0, lease.revision)),
            id: lease.id.0,
            ttl: lease.ttl_s,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        let id = LeaseId(request.into_inner().id);
        access.may_use_lease(id)?;
        let revision = self.0.lease_revoke(id).await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(header(&*self.0, revision)) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlives>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let backend = self.0.clone();
        let access = Access::of(&request);
        let answers = request.into_inner().then(move |asked| {
            let (backend, access) = (backend.clone(), access.clone());
            async move {
                let id = asked?.id;
                access.may_use_lease(LeaseId(id))?;
                let ttl = match backend.lease_keep_alive(LeaseId(id)).await {
                    Ok(ttl) => ttl,
                    // etcd says so by a TTL of zero.
                    Err(Error::LeaseNotFound) => 0,
                    Err(other) => return Err(error::status(other)),
                };
                Ok(pb::LeaseKeepAliveResponse { header: Some(header_now(&*backend)), id, ttl })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        let request = request.into_inner();
        access.may_use_lease(LeaseId(request.id))?;
        let lease =
            self.0.lease_time_to_live(LeaseId(request.id), request.keys).await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: Some(header(&*self.0, lease.revision)),
            id: request.id,
            ttl: lease.ttl_s,
            granted_ttl: lease.granted_ttl_s,
            keys: lease.keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        check_leader(&*self.0, request.metadata())?;
        let access = Access::of(&request);
        let mut leases = self.0.leases().await.map_err(error::status)?;
        leases.retain(|id| access.may_use_lease(*id).is_ok());
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: Some(header_now(&*self.0)),
            leases: leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect(),
        }))
    }
}
