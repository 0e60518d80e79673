//! When a process ends: on a signal, or with the supervisor that started it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Set for processes that `trireme up` starts: standard input is a pipe whose other end it holds,
/// so that its death, however sudden, ends them as well.
pub(crate) const SUPERVISED_ENV: &str = "TRIREME_SUPERVISED";

/// When to end.
#[derive(Clone, Default)]
pub(crate) struct End {
    /// Cancelled by SIGTERM, SIGINT, or the end of the supervisor.
    pub stop: CancellationToken,
    /// Cancelled before `stop` when the supervisor let go: the whole cluster ends, and there is
    /// nobody to hand anything over to.
    pub everyone: CancellationToken,
    /// When it has ended in order, the process begins anew.
    pub again: Arc<AtomicBool>,
}

pub(crate) fn watch_for_end() -> Result<End> {
    let end = End::default();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    // A terminal that closes must not take a detached cluster with it.
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let token = end.stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {}
            }
        }
        token.cancel();
    });
    if std::env::var_os(SUPERVISED_ENV).is_some() {
        let token = end.clone();
        std::thread::Builder::new().name("supervisor".into()).spawn(move || {
            let mut byte = [0];
            while matches!(std::io::stdin().read(&mut byte), Ok(n) if n > 0) {}
            tracing::info!("the supervisor let go: stopping");
            token.everyone.cancel();
            token.stop.cancel();
        })?;
    }
    Ok(end)
}
