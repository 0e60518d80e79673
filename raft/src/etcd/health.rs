//! gRPC's own health service, and reflection.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::pb::FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::health_reporter;
use tonic_reflection::server::{v1, v1alpha};

use super::Backend;

/// What is served at this port, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/face.bin"));

/// Those that need a leader: a member without one answers for them that it does not serve.
const NEED_LEADER: [&str; 3] = ["etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease"];

/// The whole server (the empty name) serves while it runs, as etcd's does: serializable reads need
/// no leader. The services that need one say whether there is one.
pub(super) async fn health(backend: Arc<dyn Backend>, stop: CancellationToken) -> HealthServer<impl Health> {
    let (reporter, service) = health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let mut leader = backend.has_leader();
    let status = |has: bool| if has { ServingStatus::Serving } else { ServingStatus::NotServing };
    let now = status(*leader.borrow_and_update());
    for name in NEED_LEADER {
        reporter.set_service_status(name, now).await;
    }
    tokio::spawn(async move {
        while let Some(Ok(())) = stop.run_until_cancelled(leader.changed()).await {
            let now = status(*leader.borrow_and_update());
            for name in NEED_LEADER {
                reporter.set_service_status(name, now).await;
            }
        }
    });
    service
}

/// Both versions that tools speak.
#[allow(clippy::type_complexity)]
pub(super) fn reflection() -> Result<
    (
        v1::ServerReflectionServer<impl v1::ServerReflection>,
        v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
    ),
    tonic_reflection::server::Error,
> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
    };
    Ok((builder().build_v1()?, builder().build_v1alpha()?))
}
