//! Runs every controller while this process holds the Lease.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_client::resource::{self, Resource};
use trireme_client::{Client, Fence, InformerFactory, TransportFor};

use crate::runtime::{Clock, Election, Leadership, LeaseTiming, Metrics, Recorder, Running, Witness};
use crate::{
    deployment, endpoints, garbage, namespace, node, pod_gc, protection, replicas, root_ca, service_account,
};

pub const SYSTEM_NAMESPACE: &str = "kube-system";
const LEASE_NAME: &str = "kube-controller-manager";
/// Who watches: the shared caches, and who takes the Lease.
const MANAGER_IDENTITY: &str = "system:kube-controller-manager";

/// What standbys keep warm, so that a new leader does not start with a list of everything.
const WARM: &[&Resource] = &[
    &resource::NAMESPACES,
    &resource::NODES,
    &resource::PODS,
    &resource::SERVICES,
    &resource::ENDPOINTS,
    &resource::ENDPOINT_SLICES,
    &resource::SERVICE_ACCOUNTS,
    &resource::REPLICATION_CONTROLLERS,
    &resource::REPLICA_SETS,
    &resource::DEPLOYMENTS,
];

/// Whether standbys watch it, too.
pub(crate) fn is_warm(resource: &Resource) -> bool {
    WARM.contains(&resource)
}

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's CA certificate, published into every namespace. "" publishes nothing.
    pub root_ca_pem: String,
    pub node: node::Options,
    /// Terminated pods that are kept; the oldest beyond are deleted. Zero keeps all.
    pub terminated_pods_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { root_ca_pem: String::new(), node: node::Options::default(), terminated_pods_max: 12_500 }
    }
}

/// A process that may lead.
#[derive(Clone)]
pub struct Config {
    /// The way to the API for a user name: `system:serviceaccount:kube-system:<controller>`, and
    /// `system:kube-controller-manager` for the caches.
    pub transport_for: TransportFor,
    /// The process's name, unique across restarts: it becomes the Lease's holder.
    pub identity: String,
    /// Ends everything; the Lease is given up.
    pub stop: CancellationToken,
    pub clock: Clock,
    pub timing: LeaseTiming,
    pub options: Options,
    pub metrics: Arc<Metrics>,
    /// Tells of the other processes early.
    pub witness: Option<Arc<dyn Witness>>,
}

/// What a controller is started with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) informers: Arc<InformerFactory>,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
    /// Ends with the term of leadership.
    pub(crate) stop: CancellationToken,
    /// May list and watch everything, and change nothing.
    pub(crate) watcher: Client,
    transport_for: TransportFor,
    fence: Fence,
}

impl Context {
    /// A client under the controller's own service account, its changes fenced.
    pub(crate) fn client(&self, controller: &str) -> Client {
        let user = format!("system:serviceaccount:{SYSTEM_NAMESPACE}:{controller}");
        Client::new((self.transport_for)(&user)).fenced(self.fence.clone())
    }

    pub(crate) fn recorder(&self, controller: &str) -> Recorder {
        Recorder::new(self.client(controller), controller, self.clock.clone())
    }
}

/// Until `config.stop`.
pub async fn run(config: Config) {
    let client = Client::new((config.transport_for)(MANAGER_IDENTITY));
    let informers = Arc::new(InformerFactory::new(client.clone(), config.stop.clone()));
    for resource in WARM {
        informers.informer(resource);
    }
    let watcher = client.clone();
    let election = Election::new(client, &informers, SYSTEM_NAMESPACE, LEASE_NAME, &config.identity)
        .timing(config.timing)
        .clock(config.clock.clone())
        .witness(config.witness.clone())
        .metrics(config.metrics.clone());
    let stop = config.stop.clone();
    election
        .run(stop, move |leadership| {
            let context = Context {
                informers: informers.clone(),
                clock: config.clock.clone(),
                options: config.options.clone(),
                stop: leadership.stop.clone(),
                watcher: watcher.clone(),
                transport_for: config.transport_for.clone(),
                fence: leadership.fence.clone(),
            };
            lead(context, leadership, config.metrics.clone())
        })
        .await;
}

async fn lead(context: Context, leadership: Leadership, metrics: Arc<Metrics>) {
    // The caches may be behind what the last leader wrote: with them it would all be done twice.
    if leadership.stop.run_until_cancelled(context.informers.refresh()).await.is_none() {
        return;
    }
    let mut tasks = JoinSet::new();
    let lost = leadership.stop.clone();
    let on_fenced: Arc<dyn Fn() + Send + Sync> = Arc::new(move || lost.cancel());
    let controllers = controllers(&context);
    // With half a cache, what is only not known yet would seem missing.
    if leadership.stop.run_until_cancelled(context.informers.wait_synced()).await.is_none() {
        return;
    }
    for running in controllers {
        tasks.spawn(crate::runtime::run(
            running,
            metrics.clone(),
            leadership.stop.clone(),
            on_fenced.clone(),
        ));
    }
    while tasks.join_next().await.is_some() {}
}

fn controllers(context: &Context) -> Vec<Running> {
    let mut all = vec![
        namespace::start(context),
        service_account::start(context),
        replicas::start(context, replicas::REPLICA_SET),
        replicas::start(context, replicas::REPLICATION_CONTROLLER),
        deployment::start(context),
        endpoints::legacy::start(context),
        endpoints::slices::start(context),
        garbage::start(context),
        node::lifecycle::start(context),
        node::eviction::start(context),
        node::ipam::start(context),
        pod_gc::start(context),
    ];
    all.extend(protection::start(context));
    all.extend(root_ca::start(context));
    all
}
