//! When a process ends: on a signal, or with the supervisor that started it.

use std::io::Read;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Set for processes that `trireme up` starts: standard input is a pipe whose other end it holds,
/// so that its death, however sudden, ends them as well.
pub(crate) const SUPERVISED_ENV: &str = "TRIREME_SUPERVISED";

/// Cancelled by SIGTERM, SIGINT, or the end of the supervisor.
pub(crate) fn watch_for_end() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    // A terminal that closes must not take a detached cluster with it.
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let token = stop.clone();
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
        let token = stop.clone();
        std::thread::Builder::new().name("supervisor".into()).spawn(move || {
            let mut byte = [0];
            while matches!(std::io::stdin().read(&mut byte), Ok(n) if n > 0) {}
            tracing::info!("the supervisor is gone: stopping");
            token.cancel();
        })?;
    }
    Ok(stop)
}
