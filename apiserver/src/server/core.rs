//! What all requests share.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use trireme_api::Object;
use trireme_api::kinds::{self, Kind};
use trireme_store::Kv;

use super::listener::Phase;
use super::tls::Tls;
use crate::authn::{TokenMemory, Tokens};
use crate::authz::rbac::Rbac;
use crate::cache::{Cache, KindCache};
use crate::config::{Error, ServerConfig};
use crate::discovery::Discovery;
use crate::gate::Gate;
use crate::health::Health;
use crate::limits;
use crate::metrics::{Metrics, MoreMetrics};
use crate::openapi::OpenApi;
use crate::registry::{Evictions, ExpiryLeases};
use crate::services::ServiceRange;
use crate::slow::SlowLog;

pub(crate) struct Core {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tokens: Tokens,
    pub(crate) token_memory: TokenMemory,
    pub(crate) rbac: Rbac,
    pub(crate) metrics: Metrics,
    pub(crate) slow: SlowLog,
    pub(crate) health: Health,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
    pub(crate) service_range: ServiceRange,
    pub(crate) expiry: ExpiryLeases,
    pub(crate) evictions: Evictions,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) reads: Semaphore,
    pub(crate) writes: Semaphore,
    pub(crate) advertise: std::net::SocketAddr,
    pub(crate) identity: String,
    pub(crate) gate: OnceLock<Arc<dyn Gate>>,
    /// Metrics of others in this process.
    pub(crate) beside: OnceLock<MoreMetrics>,
    /// Ended when the server goes.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Core {
    pub(crate) fn new(config: ServerConfig) -> Result<Arc<Core>, Error> {
        let tls = Tls::new(&config.tls)?;
        let tokens = Tokens::new(&config.service_accounts)?;
        let service_range = ServiceRange::new(&config.service_cidr, config.node_ports.clone())?;
        Ok(Arc::new(Core {
            cache: Cache::new(config.kv.clone(), kinds::all().iter().copied()),
            kv: config.kv,
            tls,
            tokens,
            token_memory: TokenMemory::default(),
            rbac: Rbac::new(),
            metrics: Metrics::default(),
            slow: SlowLog::default(),
            health: Health::default(),
            discovery: Discovery::default(),
            openapi: OpenApi::default(),
            service_range,
            expiry: ExpiryLeases::default(),
            evictions: Evictions::default(),
            phase: watch::Sender::new(Phase::Running),
            reads: Semaphore::new(limits::READS_IN_FLIGHT_MAX),
            writes: Semaphore::new(limits::WRITES_IN_FLIGHT_MAX),
            advertise: std::net::SocketAddr::new(config.advertise_address, config.advertise_port),
            identity: config.identity,
            gate: OnceLock::new(),
            beside: OnceLock::new(),
            tasks: Mutex::new(Vec::new()),
        }))
    }

    pub(crate) fn keep_task(&self, task: JoinHandle<()>) {
        self.tasks.lock().push(task);
    }

    /// The cache of a built-in kind.
    pub(crate) fn kind_cache(&self, group: &str, plural: &str) -> Option<&Arc<KindCache>> {
        row(group, plural).map(|row| self.cache.kind(row))
    }

    /// An object as the cache has it now.
    pub(crate) fn cached(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        let entry = self.kind_cache(group, plural)?.get(&crate::cache::key_of(namespace, name))?;
        Some(entry.object())
    }

    /// An object from the cache; when it is not there, once more after a read barrier, since it
    /// may have been made a moment ago through another server.
    pub(crate) async fn lookup(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        if let Some(object) = self.cached(group, plural, namespace, name) {
            return Some(object);
        }
        self.cache.barrier().await.ok()?;
        self.cached(group, plural, namespace, name)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

/// The row of a stored built-in kind, by its storage group.
pub(crate) fn row(group: &str, plural: &str) -> Option<&'static Kind> {
    kinds::all().iter().copied().find(|k| k.group == group && k.plural == plural)
}
