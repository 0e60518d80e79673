//! What processes on other machines are asked for, and what they go on to tell: of several that can
//! answer, one is used until it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::network::{Host, Network};

/// What answers in a process, while it runs.
pub(super) type Slot<S> = Arc<Mutex<Option<S>>>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nobody was there: nothing was done.
    Nobody,
    /// It may have been done.
    Broken,
}

pub(super) struct Remotes<S> {
    network: Network,
    /// Where who asks is.
    from: Host,
    servers: Vec<(Host, Slot<S>)>,
    /// The one in use.
    at: AtomicUsize,
}

/// Where an answer is made: from here a stream can be sent on to who asked.
pub(super) struct Here {
    network: Network,
    host: Host,
    asker: Host,
}

impl Here {
    /// Sends on what `stream` gives, in order, for as long as somebody takes it and nothing of it is lost:
    /// then the connection is broken, and the taker's stream ends.
    pub(super) fn send_on<T: Send + 'static>(
        self,
        mut stream: impl Stream<Item = T> + Unpin + Send + 'static,
        items: UnboundedSender<T>,
    ) {
        let broken = CancellationToken::new();
        let sending = broken.clone();
        tokio::spawn(broken.run_until_cancelled_owned(async move {
            let mut not_before = 0;
            while let Some(item) = stream.next().await {
                let (items, passing) = (items.clone(), Passing(Some(sending.clone())));
                if items.is_closed() {
                    return;
                }
                not_before = self.network.tell(self.host, self.asker, not_before, move || {
                    if passing.arrives() {
                        let _ = items.send(item);
                    }
                });
            }
        }));
    }
}

/// An item on its way: one that is dropped there breaks the connection.
struct Passing(Option<CancellationToken>);

impl Passing {
    /// Whether nothing before it was lost.
    fn arrives(mut self) -> bool {
        self.0.take().is_some_and(|broken| !broken.is_cancelled())
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(broken) = self.0.take() {
            broken.cancel();
        }
    }
}

impl<S: Clone + Send + 'static> Remotes<S> {
    /// Begins with the one at `at`.
    pub(super) fn new(network: Network, from: Host, servers: Vec<(Host, Slot<S>)>, at: usize) -> Remotes<S> {
        Remotes { network, from, servers, at: AtomicUsize::new(at) }
    }

    /// The one in use, for [`ask`](Self::ask) and [`leave`](Self::leave).
    pub(super) fn current(&self) -> usize {
        self.at.load(Ordering::Relaxed)
    }

    /// Uses the next one, unless somebody went on from `at` meanwhile.
    pub(super) fn leave(&self, at: usize) {
        let _ = self.at.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Has `op` done at `at`, which is given nothing where its process has not started yet.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        at: usize,
        op: impl FnOnce(Option<S>, Here) -> BoxFuture<'static, T> + Send + 'static,
    ) -> Result<T, Lost> {
        let (to, slot) = self.servers[at % self.servers.len()].clone();
        let (reply, answer) = oneshot::channel();
        let reply = Arc::new(Mutex::new(Some(reply)));
        let refuse = reply.clone();
        let say = |reply: &Mutex<Option<oneshot::Sender<Result<T, Lost>>>>, answer| {
            if let Some(reply) = reply.lock().take() {
                let _ = reply.send(answer);
            }
        };
        let (network, from) = (self.network.clone(), self.from);
        let here = Here { network: network.clone(), host: to, asker: from };
        let job = move || {
            async move {
                let server = slot.lock().clone();
                let answer = op(server, here).await;
                network.tell(to, from, 0, move || say(&reply, Ok(answer)));
            }
            .boxed()
        };
        self.network.ask(from, to, job, move || say(&refuse, Err(Lost::Nobody)));
        answer.await.unwrap_or(Err(Lost::Broken))
    }
}
