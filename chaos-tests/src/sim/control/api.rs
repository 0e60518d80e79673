//! The API as clients of the simulated world have it: through one API server at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use trireme_apiserver::{InProcess, Server};
use trireme_client::{Error, List, Request, Response, Transport, WatchStream};

use super::{AGENT, ApiSlot};
use crate::sim::network::{Host, Network};
use crate::sim::remote::{Here, Lost, Remotes};

/// A call without an answer is given up after this, as a balancer would.
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::sim) struct SimApi {
    servers: Remotes<Server>,
    user: String,
    groups: Vec<String>,
}

impl SimApi {
    /// The API as `user` on machine `from` has it, beginning with the server at `at`.
    pub(in crate::sim) fn new(
        network: Network,
        from: Host,
        servers: Vec<(Host, ApiSlot)>,
        at: usize,
        user: &str,
        groups: &[&str],
    ) -> Arc<SimApi> {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let servers = Remotes::new(network, from, servers, at);
        Arc::new(SimApi { servers, user: user.to_owned(), groups })
    }

    /// Has `op` done at the server in use, and goes on to the next after one that is not there.
    async fn ask<T: Send + 'static>(
        &self,
        op: impl FnOnce(Arc<InProcess>, Here) -> BoxFuture<'static, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let at = self.servers.current();
        let (user, groups) = (self.user.clone(), self.groups.clone());
        let op = move |server: Option<Server>, here| match server.filter(Server::is_ready) {
            Some(server) => {
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                op(InProcess::new(server, &user, &groups, AGENT), here)
            }
            None => async { Err(Error::Unreachable("the API server is not ready".into())) }.boxed(),
        };
        let answer = match tokio::time::timeout(PATIENCE, self.servers.ask(at, op)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Lost::Nobody)) => Err(Error::Unreachable("nobody is there".into())),
            Ok(Err(Lost::Broken)) | Err(_) => Err(Error::OutcomeUnknown("the connection is broken".into())),
        };
        if matches!(answer, Err(Error::Unreachable(_) | Error::OutcomeUnknown(_))) {
            self.servers.leave(at);
        }
        answer
    }
}

#[async_trait]
impl Transport for SimApi {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        self.ask(move |server, _| async move { server.send(request).await }.boxed()).await
    }

    async fn list(&self, path: &str) -> Result<List, Error> {
        let path = path.to_owned();
        self.ask(move |server, _| async move { server.list(&path).await }.boxed()).await
    }

    async fn watch(&self, path: &str) -> Result<WatchStream, Error> {
        let path = path.to_owned();
        let (items, stream) = mpsc::unbounded_channel();
        let follow = move |server: Arc<InProcess>, here: Here| {
            async move {
                here.send_on(server.watch(&path).await?, items);
                Ok(())
            }
            .boxed()
        };
        self.ask(follow).await?;
        Ok(Box::pin(UnboundedReceiverStream::new(stream)))
    }
}
