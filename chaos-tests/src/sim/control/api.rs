//! The API as clients of the simulated world have it: through one API server at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use trireme_apiserver::{InProcess, Server};
use trireme_client::{Error, List, Request, Response, Transport, WatchStream};

use super::{AGENT, ApiSlot};
use crate::sim::network::{Host, Network};

/// A call without an answer is given up after this, as a balancer would.
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::sim) struct SimApi {
    network: Network,
    /// Where the client is.
    from: Host,
    servers: Vec<(Host, ApiSlot)>,
    /// The server in use, counted on after every one that is not there.
    at: AtomicUsize,
    user: String,
    groups: Vec<String>,
}

impl SimApi {
    pub(in crate::sim) fn new(
        network: Network,
        from: Host,
        servers: Vec<(Host, ApiSlot)>,
        at: usize,
        user: &str,
        groups: &[&str],
    ) -> Arc<SimApi> {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Arc::new(SimApi { network, from, servers, at: AtomicUsize::new(at), user: user.to_owned(), groups })
    }

    /// Has `op` done at the server in use; where, and what came of it.
    async fn ask<T: Send + 'static>(
        &self,
        op: impl FnOnce(Arc<InProcess>) -> BoxFuture<'static, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let at = self.at.load(Ordering::Relaxed);
        let (to, slot) = self.servers[at % self.servers.len()].clone();
        let (reply, answer) = oneshot::channel();
        let reply = Arc::new(Mutex::new(Some(reply)));
        let refuse = reply.clone();
        let say = |reply: &Mutex<Option<oneshot::Sender<Result<T, Error>>>>, answer| {
            if let Some(reply) = reply.lock().take() {
                let _ = reply.send(answer);
            }
        };
        let (network, from) = (self.network.clone(), self.from);
        let (user, groups) = (self.user.clone(), self.groups.clone());
        let job = move || {
            async move {
                let server: Option<Server> = slot.lock().clone().filter(Server::is_ready);
                let answer = match server {
                    Some(server) => {
                        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                        op(InProcess::new(server, &user, &groups, AGENT)).await
                    }
                    None => Err(Error::Unreachable("the API server is not ready".into())),
                };
                network.tell(to, from, 0, move || say(&reply, answer));
            }
            .boxed()
        };
        let refused = move || say(&refuse, Err(Error::Unreachable("nobody is there".into())));
        self.network.ask(from, to, job, refused);
        let lost = || Err(Error::OutcomeUnknown("the connection is broken".into()));
        let answer = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| lost()),
            Err(_) => lost(),
        };
        if matches!(answer, Err(Error::Unreachable(_) | Error::OutcomeUnknown(_))) {
            let _ = self.at.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }
}

#[async_trait]
impl Transport for SimApi {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        self.ask(move |server| async move { server.send(request).await }.boxed()).await
    }

    async fn list(&self, path: &str) -> Result<List, Error> {
        let path = path.to_owned();
        self.ask(move |server| async move { server.list(&path).await }.boxed()).await
    }

    async fn watch(&self, path: &str) -> Result<WatchStream, Error> {
        let path = path.to_owned();
        let (items, stream) = mpsc::unbounded_channel();
        let (network, to) = (self.network.clone(), self.from);
        let from = self.servers[self.at.load(Ordering::Relaxed) % self.servers.len()].0;
        let follow = move |server: Arc<InProcess>| {
            async move {
                let mut watch = server.watch(&path).await?;
                tokio::spawn(async move {
                    let mut not_before = 0;
                    while let Some(item) = watch.next().await {
                        let items = items.clone();
                        if items.is_closed() {
                            return;
                        }
                        not_before = network.tell(from, to, not_before, move || {
                            let _ = items.send(item);
                        });
                    }
                });
                Ok(())
            }
            .boxed()
        };
        self.ask(follow).await?;
        Ok(Box::pin(UnboundedReceiverStream::new(stream)))
    }
}
