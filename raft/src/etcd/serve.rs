//! The listener: TLS with client certificates, and all services on it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower_layer::layer_fn;

use super::Backend;
use super::auth::AuthService;
use super::calls::{Calls, Door};
use super::cluster::ClusterService;
use super::guard::{Client, Guard};
use super::health;
use super::kv::KvService;
use super::lease::LeaseService;
use super::maintenance::MaintenanceService;
use super::pb::etcdserverpb::auth_server::AuthServer;
use super::pb::etcdserverpb::cluster_server::ClusterServer;
use super::pb::etcdserverpb::kv_server::KvServer;
use super::pb::etcdserverpb::lease_server::LeaseServer;
use super::pb::etcdserverpb::maintenance_server::MaintenanceServer;
use super::pb::etcdserverpb::watch_server::WatchServer;
use super::pb::trireme::v1::store_server::StoreServer;
use super::store::StoreService;
use super::watch::WatchService;
use crate::tls::accept;

/// Largest request; what the store takes is less, and it words the refusal.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// A connection on which nothing comes back for this long is closed.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_MAX: Duration = Duration::from_secs(5);

/// What [`serve`] needs.
pub struct ServeConfig {
    pub listener: TcpListener,
    /// Must ask for client certificates and offer `h2` by ALPN. Swapped when certificates are
    /// renewed; new connections use the new ones.
    pub tls: Arc<ArcSwap<ServerConfig>>,
    pub stop: CancellationToken,
}

/// Serves `backend` until `stop`.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(backend: Arc<dyn Backend>, config: ServeConfig) -> Result<(), tonic::transport::Error> {
    let ServeConfig { listener, tls, stop } = config;
    let health = health::health(backend.clone(), stop.clone()).await;
    let (reflection_v1, reflection_v1alpha) =
        health::reflection().expect("the descriptors were made with the services");
    let calls = Calls::new();
    let at_door = backend.clone();
    let clients = accept(listener, tls).map(|accepted| accepted.map(Client::new));
    Server::builder()
        .layer(layer_fn(move |inner| Door::new(inner, at_door.clone(), calls.clone())))
        .layer(layer_fn(Guard))
        // For `/metrics` and the like, at the port where etcd has them.
        .accept_http1(true)
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_MAX))
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(2 << 20)
        .add_service(KvServer::new(KvService(backend.clone())).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(WatchServer::new(WatchService { backend: backend.clone(), stop: stop.clone() }))
        .add_service(LeaseServer::new(LeaseService(backend.clone())))
        .add_service(ClusterServer::new(ClusterService(backend.clone())))
        .add_service(MaintenanceServer::new(MaintenanceService(backend.clone())))
        .add_service(AuthServer::new(AuthService(backend.clone())))
        .add_service(health)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha)
        .add_service(StoreServer::new(StoreService(backend)).max_decoding_message_size(REQUEST_BYTES_MAX))
        .serve_with_incoming_shutdown(clients, stop.cancelled())
        .await
}
