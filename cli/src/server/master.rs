//! A member of the store: the raft replica and its etcd face.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trireme_raft::etcd::{self, ServeConfig};
use trireme_raft::{Certificates, Replica, ReplicaConfig, Tls};
use trireme_store::Kv;
use trireme_store::engine::{RocksEngine, RocksOptions};

use crate::exit::ConfigContext;
use crate::pki::Files;

/// How long streams of clients may take to end.
const CLIENTS_END: Duration = Duration::from_secs(2);

/// What a member needs to start.
pub(super) struct Master {
    pub data_dir: PathBuf,
    pub cluster: String,
    pub name: String,
    pub peer_address: String,
    pub client_address: String,
    pub members: BTreeMap<String, String>,
    pub ca_pem: Vec<u8>,
    pub peer: Files,
}

/// A running member. Cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    replica: Replica,
    shared: Arc<Shared>,
}

struct Shared {
    ca_pem: Vec<u8>,
    files: Files,
    peer_tls: Tls,
    client_tls: Arc<ArcSwap<ServerConfig>>,
    stop_clients: CancellationToken,
    clients: Mutex<Option<JoinHandle<()>>>,
}

impl Master {
    /// Starts the replica and serves the store's clients. Needs to run within the runtime that the
    /// store is to live in.
    pub(super) async fn start(
        self,
        peers: std::net::TcpListener,
        clients: std::net::TcpListener,
    ) -> Result<Store> {
        let (cert_pem, key_pem) = self.peer.read()?;
        let certificates = Certificates { ca_pem: self.ca_pem.clone(), cert_pem, key_pem };
        let peer_tls = Tls::new(&certificates).context("certificates between masters")?;
        let client_tls = Arc::new(ArcSwap::new(server_config(&certificates)?));
        let config = ReplicaConfig {
            peer_address: self.peer_address,
            client_address: self.client_address,
            initial_members: self.members,
            ..ReplicaConfig::new(self.data_dir, &self.cluster, &self.name, peer_tls.clone(), open_engine())
        };
        let replica = Replica::start(config, peers).await.config()?;
        let listener = TcpListener::from_std(clients).context("listening socket")?;
        let stop_clients = CancellationToken::new();
        let serve = ServeConfig { listener, tls: client_tls.clone(), stop: stop_clients.clone() };
        let backend = Arc::new(replica.clone());
        let clients = tokio::spawn(async move {
            if let Err(error) = etcd::serve(backend, serve).await {
                tracing::error!(%error, "the store's clients are not served any more");
            }
        });
        Ok(Store {
            replica,
            shared: Arc::new(Shared {
                ca_pem: self.ca_pem,
                files: self.peer,
                peer_tls,
                client_tls,
                stop_clients,
                clients: Mutex::new(Some(clients)),
            }),
        })
    }
}

impl Store {
    pub(super) fn kv(&self) -> Arc<dyn Kv> {
        Arc::new(self.replica.clone())
    }

    /// Takes the certificates that are on the disk now.
    pub(super) fn reload(&self) {
        let shared = &self.shared;
        let reloaded = || -> Result<()> {
            let (cert_pem, key_pem) = shared.files.read()?;
            let certificates = Certificates { ca_pem: shared.ca_pem.clone(), cert_pem, key_pem };
            shared.client_tls.store(server_config(&certificates)?);
            Ok(shared.peer_tls.reload(&certificates)?)
        };
        if let Err(error) = reloaded() {
            tracing::error!(error = format!("{error:#}"), "the store keeps its old certificate");
        }
    }

    /// Ends the clients' streams, hands leadership over, flushes.
    pub(super) async fn shutdown(self) {
        self.shared.stop_clients.cancel();
        self.replica.shutdown(true).await;
        let clients = self.shared.clients.lock().take();
        if let Some(clients) = clients
            && tokio::time::timeout(CLIENTS_END, clients).await.is_err()
        {
            tracing::warn!("some of the store's clients did not end in time");
        }
    }
}

fn open_engine() -> trireme_raft::OpenEngine {
    Arc::new(|path| Ok(Arc::new(RocksEngine::open(path, RocksOptions::default())?)))
}

/// TLS at the store's port: only who has a certificate of the store's authority gets in.
fn server_config(certificates: &Certificates) -> Result<Arc<ServerConfig>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&certificates.ca_pem) {
        roots.add(ca.context("the store's authority")?).context("the store's authority")?;
    }
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .context("the store's authority")?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificates.cert_pem)
        .collect::<Result<_, _>>()
        .context("the store's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&certificates.key_pem).context("the store's key")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("the store's certificate")?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
