//! The server: what all requests share, and the ways in.
//!
//! A request comes over TLS ([`Server::serve`]) or from a component of the same process
//! ([`Server::handle`], [`Server::list`], [`Server::watch`]); both take the same path from
//! authorization on.

pub(crate) mod body;
mod core;
pub(crate) mod inprocess;
pub(crate) mod listener;
pub(crate) mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpListener;
use trireme_store::Fence;

pub use body::Body;
pub use inprocess::{List, WatchEvent, WatchStream};
pub use tls::TlsMaterial;

pub(crate) use self::core::{Core, row};
use crate::config::{Error, ServerConfig};
use crate::filters::{self, RequestBody};
use crate::gate::Gate;
use crate::identity::Identity;
use crate::metrics::MoreMetrics;
use crate::status::ApiError;
use crate::{bootstrap, limits};
use listener::Phase;

/// An API server. Cheap to clone; all clones are one server.
#[derive(Clone)]
pub struct Server {
    core: Arc<Core>,
}

impl Server {
    /// Makes a server and starts what it does in the background: following the store, and its
    /// post-start hooks. It answers at once; `/readyz` succeeds when the hooks have run.
    /// Must be called within a tokio runtime.
    pub fn new(config: ServerConfig) -> Result<Server, Error> {
        let core = Core::new(config)?;
        core.keep_task(core.cache.follow());
        core.keep_task(tokio::spawn(bootstrap::run(core.clone())));
        core.keep_task(tokio::spawn(crate::compaction::run(core.kv.clone())));
        core.keep_task(tokio::spawn(crate::health::watch_store(Arc::downgrade(&core))));
        Ok(Server { core })
    }

    /// Serves `more` beside this server's own metrics, from now on; the first that is set stays.
    pub fn serve_metrics_of(&self, more: MoreMetrics) {
        let _ = self.core.beside.set(more);
    }

    /// Tells in the log of requests that take longer than `after`, from now on, with where their time
    /// went. Watches and what else is long by its nature are none.
    pub fn tell_of_slower_than(&self, after: Duration) {
        self.core.slow.set_after(after);
    }

    /// Has the wall clock of all API servers of this process go before the machine's by as many seconds
    /// as `shift` says whenever it is asked; the first that is set stays.
    pub fn shift_clock(shift: impl Fn() -> i64 + Send + Sync + 'static) {
        crate::clock::go_by(Box::new(shift));
    }

    /// Lets machines in by `gate`, from now on; the first one that is set stays.
    pub fn open_gate(&self, gate: Arc<dyn Gate>) {
        let _ = self.core.gate.set(gate);
    }

    /// Serves connections until [`Server::shutdown`], and returns when they have ended.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        listener::serve(self.core.clone(), listener).await
    }

    /// Ends serving in order: `/readyz` fails, balancers get a moment to notice, then no new
    /// connections, GOAWAY on the old, watches end between events.
    pub async fn shutdown(&self) {
        self.core.phase.send_replace(Phase::Draining);
        tokio::time::sleep(limits::DRAIN_NOTICE).await;
        self.core.phase.send_replace(Phase::Stopping);
    }

    /// Ends serving at once, without the notice to balancers.
    pub fn stop(&self) {
        self.core.phase.send_replace(Phase::Stopping);
    }

    /// Takes new certificates; the next connections get them. On error the old ones stay.
    pub fn reload_tls(&self, material: &TlsMaterial) -> Result<(), Error> {
        self.core.tls.replace(material)
    }

    /// Whether `/readyz` succeeds.
    pub fn is_ready(&self) -> bool {
        crate::health::is_ready(&self.core)
    }

    /// A request of a component of this process, under `identity`: authorized, admitted and
    /// audited like any other. The path is the request's URI.
    pub async fn handle(&self, request: Request<Bytes>, identity: &Identity) -> Response<Body> {
        let (parts, body) = request.into_parts();
        filters::serve_as(&self.core, parts, RequestBody::Bytes(body), identity.clone()).await
    }

    /// GET of a collection, as objects shared with the cache.
    pub async fn list(&self, path: &str, identity: &Identity) -> Result<List, ApiError> {
        inprocess::list(&self.core, path, identity).await
    }

    /// A watch of a collection, as objects shared with the cache. An error event ends it.
    pub async fn watch(&self, path: &str, identity: &Identity) -> Result<WatchStream, ApiError> {
        inprocess::watch(&self.core, path, identity).await
    }
}

/// The header with which a leader fences its writes: `Trireme-Fence: <namespace>/<lease>=<epoch>`.
pub const FENCE_HEADER: &str = "trireme-fence";

/// Reads fence headers. `Err` says what is wrong.
pub(crate) fn fences(headers: &http::HeaderMap) -> Result<Vec<Fence>, ApiError> {
    headers
        .get_all(FENCE_HEADER)
        .iter()
        .map(|value| {
            let text = value.to_str().unwrap_or_default();
            text.rsplit_once('=')
                .and_then(|(scope, epoch)| {
                    Some(Fence { scope: scope.to_owned(), epoch: epoch.parse().ok()? })
                })
                .filter(|f| f.scope.contains('/'))
                .ok_or_else(|| {
                    ApiError::bad_request(format!(
                        "Trireme-Fence: {text:?} is not <namespace>/<lease>=<epoch>"
                    ))
                })
        })
        .collect()
}
