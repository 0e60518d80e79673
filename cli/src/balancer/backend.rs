//! One backend: whether it serves, how many connections it has, and how to cut them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two checks of a backend that is down: it is wanted back soon.
const CHECK_DOWN_EVERY: Duration = Duration::from_millis(100);
/// How long what is under way on a backend that said before that it takes nothing new may take to end:
/// one that stops in order stops listening first, and answers what it has been asked.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// Failures in a row after which a backend that still accepts connections is left out.
const FAILURES_MAX: u32 = 2;

const UNCHECKED: u8 = 0;
const UP: u8 = 1;
/// Takes no new connections; those it has go on (it is starting, stopping or has no quorum).
const DRAINING: u8 = 2;
/// Nobody listens there: its connections are cut, those of one that was draining after a while.
const DEAD: u8 = 3;

pub(super) struct Check {
    pub tls: Option<Arc<ClientConfig>>,
    pub path: String,
    pub every: Duration,
}

pub(super) struct Backend {
    address: String,
    state: AtomicU8,
    connections: AtomicUsize,
    cut: Mutex<CancellationToken>,
}

/// Counts a connection while it lives.
pub(super) struct Counted<'a>(&'a Backend);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend {
    pub(super) fn new(address: String) -> Arc<Backend> {
        Arc::new(Backend {
            address,
            state: AtomicU8::new(UNCHECKED),
            connections: AtomicUsize::new(0),
            cut: Mutex::new(CancellationToken::new()),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UP
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DEAD
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> Counted<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }

    /// Cancelled when the backend dies; taken before connecting, so that no death is missed.
    pub(super) fn cut_token(&self) -> CancellationToken {
        self.cut.lock().clone()
    }

    pub(super) fn mark_dead(&self, why: &str) {
        let old = self.set(DEAD, why);
        if old == DEAD {
            return;
        }
        let cut = std::mem::take(&mut *self.cut.lock());
        if old == DRAINING {
            // Its own end closes them: this is for those that it does not.
            tokio::spawn(async move {
                tokio::time::sleep(LAST_ANSWERS).await;
                cut.cancel();
            });
        } else {
            cut.cancel();
        }
    }

    /// Gives the state before.
    fn set(&self, state: u8, why: &str) -> u8 {
        let old = self.state.swap(state, Ordering::Relaxed);
        if old == state {
            return old;
        }
        let backend = &self.address;
        match state {
            UP => tracing::info!(backend, "backend is up"),
            DRAINING => tracing::warn!(backend, why, "backend takes no new connections"),
            _ => tracing::warn!(backend, why, "backend is dead"),
        }
        old
    }

    /// Checks for ever.
    pub(super) async fn watch(self: Arc<Self>, check: Check) {
        let mut failures = 0;
        loop {
            match self.probe(&check).await {
                Probe::Good => {
                    failures = 0;
                    self.set(UP, "");
                }
                Probe::Refused(why) => self.mark_dead(&why),
                Probe::Bad(why) => {
                    failures += 1;
                    if failures >= FAILURES_MAX || !self.is_up() {
                        self.set(DRAINING, &why);
                    }
                }
            }
            tokio::time::sleep(if self.is_up() { check.every } else { check.every.min(CHECK_DOWN_EVERY) })
                .await;
        }
    }

    async fn probe(&self, check: &Check) -> Probe {
        let Some(tls) = &check.tls else {
            return match tokio::time::timeout(CHECK_TIMEOUT, TcpStream::connect(&self.address)).await {
                Ok(Ok(_)) => Probe::Good,
                Ok(Err(error)) => Probe::Refused(error.to_string()),
                Err(_) => Probe::Bad("connect timed out".into()),
            };
        };
        match crate::probe::get(tls, &self.address, &check.path, CHECK_TIMEOUT).await {
            Ok((status, _)) if status.is_success() => Probe::Good,
            Ok((status, _)) => Probe::Bad(format!("{} answered {status}", check.path)),
            Err(error) => {
                let refused = error
                    .chain()
                    .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
                    .any(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
                let why = format!("{error:#}");
                if refused { Probe::Refused(why) } else { Probe::Bad(why) }
            }
        }
    }
}

enum Probe {
    Good,
    /// The process is gone.
    Refused(String),
    /// It lives but is not to be used now.
    Bad(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_stops_in_order_may_answer_what_it_was_asked() {
        let backend = Backend::new("127.0.0.1:1".into());
        backend.set(UP, "");
        let cut = backend.cut_token();
        backend.mark_dead("refused");
        assert!(cut.is_cancelled(), "it died");
        backend.set(UP, "");
        let cut = backend.cut_token();
        backend.set(DRAINING, "not ready");
        backend.mark_dead("refused");
        assert!(!cut.is_cancelled() && backend.is_dead(), "it stops");
    }
}
