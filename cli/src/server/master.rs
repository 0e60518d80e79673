//! A member of the store: the raft replica and its etcd face.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trireme_raft::etcd::{self, ServeConfig};
use trireme_raft::{Certificates, Join, Replica, ReplicaConfig, Tls};
use trireme_store::Kv;
use trireme_store::engine::{RocksEngine, RocksOptions};

use crate::exit::ConfigContext;
use crate::pki::Files;
use crate::server::rebuild::Rebuild;

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
    pub join: Option<Join>,
    pub ca_pem: Vec<u8>,
    pub peer: Files,
    pub slow_request: Duration,
    /// The command that says what is lost, where this one's data is damaged and nobody else has it.
    pub say_lost: String,
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
    tls: Tls,
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
        let tls = Tls::new(&certificates).context("certificates of the store")?;
        let rebuild = Rebuild::new(&self.data_dir, self.way_back());
        let mut config = ReplicaConfig {
            peer_address: self.peer_address,
            client_address: self.client_address,
            initial_members: self.members,
            join: self.join,
            slow_request: self.slow_request,
            ..ReplicaConfig::new(self.data_dir, &self.cluster, &self.name, tls.clone(), open_engine())
        };
        if let Some(join) = rebuild.under_way() {
            (config.initial_members, config.join) = (BTreeMap::new(), Some(join));
        }
        let again = peers.try_clone().context("listening socket")?;
        let mut started = Replica::start(config.clone(), peers).await;
        if let Err(error) = &started
            && error.is_damage()
            && let Some(join) = rebuild.begin(error).config()?
        {
            (config.initial_members, config.join) = (BTreeMap::new(), Some(join));
            started = Replica::start(config, again).await;
        }
        let replica = match started {
            // What passes by itself is tried again by who started this process.
            Err(error) if !error.is_permanent() => return Err(error.into()),
            Err(error) if error.is_damage() => {
                let nobody = "nobody else is known to have this master's data; what is lost of it, says";
                return Err(anyhow::anyhow!("{error}; {nobody} {}", self.say_lost)).config();
            }
            started => started.config()?,
        };
        tokio::spawn(rebuild.finish(replica.clone()));
        let listener = TcpListener::from_std(clients).context("listening socket")?;
        let stop_clients = CancellationToken::new();
        let serve = ServeConfig { listener, tls: tls.server(), stop: stop_clients.clone() };
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
                tls,
                stop_clients,
                clients: Mutex::new(Some(clients)),
            }),
        })
    }
}

impl Master {
    /// How it would come into the cluster again without its data; `None` for one that is alone.
    fn way_back(&self) -> Option<Join> {
        if let Some(join) = &self.join {
            return Some(Join { replaces: None, ..join.clone() });
        }
        let others = self.members.iter().filter(|(name, _)| **name != self.name);
        let peers: Vec<String> = others.map(|(_, address)| address.clone()).collect();
        (!peers.is_empty()).then_some(Join { peers, replaces: None })
    }
}

impl Store {
    pub(super) fn kv(&self) -> Arc<dyn Kv> {
        Arc::new(self.replica.clone())
    }

    pub(super) fn replica(&self) -> Replica {
        self.replica.clone()
    }

    /// Takes the certificates that are on the disk now.
    pub(super) fn reload(&self) {
        let shared = &self.shared;
        let reloaded = || -> Result<()> {
            let (cert_pem, key_pem) = shared.files.read()?;
            let certificates = Certificates { ca_pem: shared.ca_pem.clone(), cert_pem, key_pem };
            Ok(shared.tls.reload(&certificates)?)
        };
        if let Err(error) = reloaded() {
            tracing::error!(error = format!("{error:#}"), "the store keeps its old certificate");
        }
    }

    /// Ends the clients' streams, hands leadership over if there is to be another leader, flushes.
    pub(super) async fn shutdown(self, handover: bool) {
        self.shared.stop_clients.cancel();
        self.replica.shutdown(handover).await;
        let clients = self.shared.clients.lock().take();
        if let Some(clients) = clients
            && tokio::time::timeout(CLIENTS_END, clients).await.is_err()
        {
            tracing::warn!("some of the store's clients did not end in time");
        }
    }
}

pub(crate) fn open_engine() -> trireme_raft::OpenEngine {
    Arc::new(|path| Ok(Arc::new(RocksEngine::open(path, RocksOptions::default())?)))
}
