//! A whole control plane in one process: store, API server, controllers, scheduler, hollow nodes.
#![allow(dead_code)] // each test binary uses a part

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use trireme_api::Object;
use trireme_apiserver::{InProcess, Server, ServerConfig, ServiceAccountKeys, TlsMaterial};
use trireme_client::{Client, Resource, Transport};
use trireme_controllers::runtime::{Clock, LeaseTiming, Metrics};
use trireme_controllers::scheduler;
use trireme_store::engine::Model;
use trireme_store::{Kv, Local, Store};

/// Nothing here takes so long unless it never happens.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than a heartbeat (ten seconds), short enough to be waited for.
const NODE_GRACE: Duration = Duration::from_secs(12);
const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";

/// What stands between a leader and the API server.
pub(crate) type Through = Arc<dyn Fn(&str, Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync>;

pub(crate) struct Cluster {
    server: Server,
    pub(crate) client: Client,
    pub(crate) kv: Arc<dyn Kv>,
    stop: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.stop();
    }
}

impl Cluster {
    /// An API server that is ready, and nothing else.
    pub(crate) async fn bare() -> Cluster {
        // RUST_LOG=debug shows what the parts do; set once for all tests of the process.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let clock: trireme_store::Clock = Arc::new(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |d| d.as_millis() as i64)
        });
        let store = Store::open(Arc::new(Model::new())).expect("an empty store opens");
        let kv: Arc<dyn Kv> = Arc::new(Local::new(store, clock).expect("an empty store has no leases"));
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|p| p.self_signed(&key))
            .expect("a certificate");
        let server = Server::new(ServerConfig {
            kv: kv.clone(),
            tls: TlsMaterial {
                certificate_chain_pem: certificate.pem().into_bytes(),
                private_key_pem: key.serialize_pem().into_bytes(),
                client_ca_pem: certificate.pem().into_bytes(),
            },
            service_accounts: ServiceAccountKeys {
                signing_key_pem: key.serialize_pem().into_bytes(),
                verifying_keys_pem: vec![key.public_key_pem().into_bytes()],
                issuer: "https://kubernetes.default.svc.cluster.local".into(),
                audiences: Vec::new(),
            },
            service_cidr: "10.96.0.0/12".into(),
            node_ports: 30_000..=32_767,
            advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise_port: 6443,
            identity: "apiserver-test".into(),
        })
        .expect("the server starts");
        let client = Client::new(transport(&server, "admin", &["system:masters"]));
        let cluster = Cluster { server, client, kv, stop: CancellationToken::new() };
        cluster.until("the API server is ready", async || cluster.server.is_ready()).await;
        cluster
    }

    /// Controllers, scheduler and one hollow node beside it.
    pub(crate) async fn whole() -> Cluster {
        let cluster = Cluster::without_nodes().await;
        cluster.nodes(1, 1);
        cluster
    }

    /// The same, the leaders' requests passing through `through`, which is given the user.
    pub(crate) async fn whole_through(through: Through) -> Cluster {
        let cluster = Cluster::leaders(through).await;
        cluster.nodes(1, 1);
        cluster
    }

    /// Controllers and scheduler beside it.
    pub(crate) async fn without_nodes() -> Cluster {
        Cluster::leaders(Arc::new(|_, transport| transport)).await
    }

    async fn leaders(through: Through) -> Cluster {
        let cluster = Cluster::bare().await;
        cluster.controllers_through("test_1", cluster.stop.child_token(), through.clone());
        let scheduler = scheduler::Config {
            transport: through(scheduler::USER, cluster.transport(scheduler::USER, &[])),
            identity: "test_1".into(),
            witness: None,
            clock: Clock::system(),
            metrics: Arc::default(),
            counts: Arc::default(),
        };
        tokio::spawn(scheduler::run(scheduler, cluster.stop.child_token()));
        cluster
    }

    /// Hollow nodes `hollow-<first>` and following in one process, which the token ends.
    pub(crate) fn nodes(&self, first: usize, count: usize) -> CancellationToken {
        let stop = self.stop.child_token();
        let server = self.server.clone();
        let names: Vec<String> = (first..first + count).map(|i| format!("hollow-{i}")).collect();
        tokio::spawn(trireme_node::run(trireme_node::HollowConfig {
            transport: self.transport(&format!("system:node:{}", names[0]), &["system:nodes"]),
            transport_for: Some(Arc::new(move |name| {
                transport(&server, &format!("system:node:{name}"), &["system:nodes"])
            })),
            names,
            capacity: trireme_node::Capacity::default(),
            labels: Vec::new(),
            stop: stop.clone(),
        }));
        stop
    }

    /// One process's controllers; `stop` ends them.
    pub(crate) fn controllers(&self, identity: &str, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        self.controllers_through(identity, stop, Arc::new(|_, transport| transport))
    }

    fn controllers_through(
        &self,
        identity: &str,
        stop: CancellationToken,
        through: Through,
    ) -> tokio::task::JoinHandle<()> {
        let server = self.server.clone();
        tokio::spawn(trireme_controllers::run(trireme_controllers::Config {
            transport_for: Arc::new(move |user| through(user, transport(&server, user, &[]))),
            identity: identity.into(),
            stop,
            clock: Clock::system(),
            timing: LeaseTiming::default(),
            options: trireme_controllers::Options {
                root_ca_pem: ROOT_CA.into(),
                node: trireme_controllers::NodeOptions { monitor_grace: NODE_GRACE, ..Default::default() },
                ..Default::default()
            },
            metrics: Arc::new(Metrics::default()),
            witness: None,
        }))
    }

    pub(crate) fn transport(&self, user: &str, groups: &[&str]) -> Arc<dyn Transport> {
        transport(&self.server, user, groups)
    }

    /// Polls until `good`; panics with `what` when it does not come true.
    pub(crate) async fn until(&self, what: &str, good: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !good().await {
            assert!(started.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn list(&self, r: &Resource, namespace: &str, labels: &str) -> Vec<Arc<Object>> {
        let params = trireme_client::ListParams::labels(labels);
        match self.client.list(r, Some(namespace), &params).await {
            Ok(list) => list.items,
            Err(e) => panic!("list {r}: {e}"),
        }
    }
}

fn transport(server: &Server, user: &str, groups: &[&str]) -> Arc<dyn Transport> {
    InProcess::new(server.clone(), user, groups, "test")
}
