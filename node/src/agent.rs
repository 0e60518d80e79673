//! Plays nodes: one or thousands in a process. Nodes with an identity of their own watch what is
//! theirs; without, all share one watch.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, Value};
use trireme_client::clock::Clock;
use trireme_client::informer::indexes::{NODE_NAME, node_name};
use trireme_client::resource::{NODES, PODS};
use trireme_client::{
    Change, Client, Informer, InformerFactory, Recorder, Scope, Subscription, Transport, TransportFor,
};

use crate::address::{self, Pool};
use crate::hollow::Hollow;
use crate::node::{Capacity, Registration};
use crate::pod::{self, Host};
use crate::runtime::Runtime;

/// What a node's events call its agent.
const COMPONENT: &str = "kubelet";
/// Nodes that register at the same time.
const REGISTERING_MAX: usize = 16;
/// A new node waits so long for a range of pod addresses; then it uses one of its own making, so
/// that pods run where nobody assigns ranges.
const RANGE_WAIT: Duration = Duration::from_secs(10);

/// A process of hollow nodes.
#[derive(Clone)]
pub struct HollowConfig {
    /// One node each.
    pub names: Vec<String>,
    /// For nodes that have none of their own.
    pub transport: Arc<dyn Transport>,
    /// An identity per node (`system:node:<name>`), where those are used.
    pub transport_for: Option<TransportFor>,
    pub capacity: Capacity,
    /// Further labels of every node.
    pub labels: Vec<(String, String)>,
    pub stop: CancellationToken,
}

/// What is known of one of our nodes.
struct Played {
    client: Client,
    address: IpAddr,
    pool: watch::Sender<Option<Arc<Pool>>>,
    recorder: Recorder,
    /// Someone took it for dead.
    stale: Arc<Notify>,
}

type Pods = Mutex<HashMap<String, watch::Sender<Option<Arc<Object>>>>>;

struct Agent {
    nodes: HashMap<String, Played>,
    runtime: Arc<dyn Runtime>,
    /// Workers by the pod's uid.
    pods: Pods,
    stop: CancellationToken,
}

/// Until `config.stop`. Pods are left as they are: they are played on after a restart.
pub async fn run(config: HollowConfig) {
    let stop = config.stop.clone();
    let _ = stop.run_until_cancelled(play(config)).await;
}

async fn play(config: HollowConfig) {
    let runtime: Arc<dyn Runtime> = Arc::new(Hollow::default());
    let client_of = |name: &str| match &config.transport_for {
        Some(of) => Client::new(of(name)),
        None => Client::new(config.transport.clone()),
    };
    let names: HashSet<String> = config.names.iter().cloned().collect();
    let nodes = names.iter().map(|name| {
        let played = Played {
            client: client_of(name),
            recorder: Recorder::on_host(client_of(name), COMPONENT, name, Clock::system()),
            address: IpAddr::V4(address::of_node(name)),
            pool: watch::Sender::new(None),
            stale: Arc::default(),
        };
        (name.clone(), played)
    });
    let agent = Arc::new(Agent {
        nodes: nodes.collect(),
        runtime: runtime.clone(),
        pods: Mutex::default(),
        stop: config.stop.clone(),
    });

    // A node's own identity may only watch what is the node's.
    let shared = match config.names.as_slice() {
        [_] => None,
        _ if config.transport_for.is_some() => None,
        _ => Some(View::new(Client::new(config.transport.clone()), &agent, None)),
    };
    let own: Vec<View> = match shared {
        Some(_) => Vec::new(),
        None => agent.nodes.keys().map(|name| View::new(client_of(name), &agent, Some(name))).collect(),
    };
    let views: Vec<&View> = match &shared {
        Some(view) => vec![view; agent.nodes.len()],
        None => own.iter().collect(),
    };
    let ranges = futures::future::join_all(shared.iter().chain(&own).map(|view| view.give_ranges(&agent)));

    let registering = Semaphore::new(REGISTERING_MAX);
    let lives = agent.nodes.iter().zip(views).map(|((name, played), view)| {
        let registration = Registration {
            client: played.client.clone(),
            name: name.clone(),
            address: address::of_node(name),
            capacity: config.capacity.clone(),
            labels: config.labels.clone(),
            runtime_version: runtime.version(),
            recorder: played.recorder.clone(),
        };
        live(registration, &agent, played, &view.pods, &registering)
    });
    tokio::join!(ranges, futures::future::join_all(lives));
}

/// What one client watches.
struct View {
    pods: Informer,
    nodes: Informer,
    _subscriptions: [Subscription; 2],
}

impl View {
    /// Of one node, or of everything.
    fn new(client: Client, agent: &Arc<Agent>, node: Option<&str>) -> View {
        let scope = |field: &str| Scope {
            field_selector: node.map(|name| format!("{field}={name}")).unwrap_or_default(),
            ..Scope::default()
        };
        let informers = InformerFactory::new(client, agent.stop.clone());
        let pods = informers.scoped(&PODS, scope("spec.nodeName"));
        pods.store().add_index(NODE_NAME, node_name);
        let nodes = informers.scoped(&NODES, scope("metadata.name"));
        let on_node = nodes.on_change({
            let (agent, pods) = (agent.clone(), pods.clone());
            move |change| agent.node_changed(change, &pods)
        });
        let on_pod = pods.on_change({
            let agent = agent.clone();
            move |change| agent.pod_changed(change)
        });
        View { pods, nodes, _subscriptions: [on_node, on_pod] }
    }

    async fn give_ranges(&self, agent: &Agent) {
        self.pods.wait_synced().await;
        self.nodes.wait_synced().await;
        for node in self.nodes.store().list() {
            agent.give_range(node.name(), node.spec()["podCIDR"].str_or_empty(), &self.pods);
        }
    }
}

async fn live(
    registration: Registration,
    agent: &Agent,
    played: &Played,
    pods: &Informer,
    registering: &Semaphore,
) {
    let node = {
        let _permit = registering.acquire().await;
        registration.register().await
    };
    tracing::info!(node = registration.name, "hollow node registered: no container runs on it");
    let range = async {
        tokio::time::sleep(RANGE_WAIT).await;
        pods.wait_synced().await;
        agent.set_range(&registration.name, "", pods);
    };
    tokio::join!(range, registration.heartbeat(node, &played.stale));
}

impl Agent {
    /// The node's pods get addresses of `cidr` from now on, unless they have a range already.
    fn give_range(&self, node: &str, cidr: &str, pods: &Informer) {
        // Before all its pods are known, an address that one of them has could be given out again.
        if !cidr.is_empty() && pods.has_synced() {
            self.set_range(node, cidr, pods);
        }
    }

    fn set_range(&self, node: &str, cidr: &str, pods: &Informer) {
        let Some(played) = self.nodes.get(node) else { return };
        played.pool.send_if_modified(|pool| {
            let none = pool.is_none();
            if none {
                let fresh = Pool::new(node, cidr);
                for pod in pods.store().by_index(NODE_NAME, node) {
                    if pod.spec()["hostNetwork"] != Value::Bool(true) {
                        fresh.keep(pod.uid(), pod.status()["podIP"].str_or_empty());
                    }
                }
                *pool = Some(Arc::new(fresh));
            }
            none
        });
    }

    fn node_changed(&self, change: &Change, pods: &Informer) {
        let node = change.object();
        let Some(played) = self.nodes.get(node.name()) else { return };
        self.give_range(node.name(), node.spec()["podCIDR"].str_or_empty(), pods);
        let ready =
            node.status()["conditions"].items().iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if change.deleted() || !ready {
            played.stale.notify_one();
        }
    }

    fn pod_changed(self: &Arc<Self>, change: &Change) {
        let pod = change.object();
        let mut pods = self.pods.lock();
        if change.deleted() {
            if let Some(worker) = pods.remove(pod.uid()) {
                worker.send_replace(None);
            }
            return;
        }
        if let Some(worker) = pods.get(pod.uid()) {
            worker.send_replace(Some(pod.clone()));
            return;
        }
        let Some(played) = self.nodes.get(pod.spec()["nodeName"].str_or_empty()) else { return };
        let (sender, receiver) = watch::channel(Some(pod.clone()));
        pods.insert(pod.uid().to_owned(), sender);
        let host = Host {
            client: played.client.clone(),
            runtime: self.runtime.clone(),
            pool: played.pool.subscribe(),
            recorder: played.recorder.clone(),
            address: played.address,
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let _ = stop.run_until_cancelled(pod::drive(host, receiver)).await;
        });
    }
}
