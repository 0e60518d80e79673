//! `trireme balancer`: a TCP balancer for local clusters and agents.
//!
//! ```text
//!   client ──► accept ──► live backend with fewest connections ──► copy both ways
//!                              ▲ down at a failed check or connect; its connections are cut
//! ```
//!
//! It does not end TLS: clients see the API server's own certificate, and client certificates pass
//! through. A backend that cannot be connected to is left out at once and the next one is tried,
//! so a client never sees a refused connection while any backend lives.

mod backend;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use backend::{Backend, Check};

use crate::exit::ConfigContext;

/// How long one backend may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a client waits for any backend to come (back) before its connection is dropped.
const NO_BACKEND_TIMEOUT: Duration = Duration::from_secs(5);
const NO_BACKEND_RETRY: Duration = Duration::from_millis(50);
/// Connections being carried; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16_384;
const COPY_BUFFER_BYTES: usize = 16 << 10;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address to accept connections on
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// A backend, `host:port`; repeat for each
    #[arg(long = "backend", required = true, value_name = "HOST:PORT")]
    backends: Vec<String>,
    /// Check backends with a TLS GET, trusting this authority; without it, by connecting
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Path that answers 200 while a backend is to be used
    #[arg(long, default_value = "/readyz")]
    check_path: String,
    /// Milliseconds between two checks of a backend
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    check_interval_ms: u64,
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<()> {
    let tls = match &options.ca {
        Some(ca) => {
            let pem = std::fs::read(ca).with_context(|| format!("--ca {}", ca.display())).config()?;
            let tls = trireme_client::tls::client_config(&pem, None);
            Some(tls.with_context(|| format!("--ca {}", ca.display())).config()?)
        }
        None => None,
    };
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listen on {}", options.listen))
        .config()?;
    let backends: Vec<Arc<Backend>> = options.backends.iter().map(|a| Backend::new(a.clone())).collect();
    for backend in &backends {
        let check = Check {
            tls: tls.clone(),
            path: options.check_path.clone(),
            every: Duration::from_millis(options.check_interval_ms),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(backend.clone().watch(check)));
    }
    tracing::info!(listen = %options.listen, backends = backends.len(), "balancing");
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = slots.clone().acquire_owned().await.context("slots are never closed")?;
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (client, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a client that gave up: neither is a reason to end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let backends = backends.clone();
        tokio::spawn(async move {
            carry(client, &backends).await;
            drop(slot);
        });
    }
}

async fn carry(mut client: TcpStream, backends: &[Arc<Backend>]) {
    let _ = client.set_nodelay(true);
    let give_up = tokio::time::Instant::now() + NO_BACKEND_TIMEOUT;
    let (backend, mut server, cut) = loop {
        if let Some(found) = connect(backends).await {
            break found;
        }
        if tokio::time::Instant::now() >= give_up {
            tracing::warn!("no backend to be had: a connection is dropped");
            return;
        }
        tokio::time::sleep(NO_BACKEND_RETRY).await;
    };
    let _counted = backend.count();
    let copy = tokio::io::copy_bidirectional_with_sizes(
        &mut client,
        &mut server,
        COPY_BUFFER_BYTES,
        COPY_BUFFER_BYTES,
    );
    tokio::select! {
        _ = copy => {}
        () = cut.cancelled() => {
            // Reset, not close: the client must not take a cut-off answer for a whole one.
            let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Tries live backends by load; where there are none, those that say they are not ready: their
/// answer tells a client more than a dropped connection.
async fn connect(backends: &[Arc<Backend>]) -> Option<(Arc<Backend>, TcpStream, CancellationToken)> {
    let mut order: Vec<_> =
        backends.iter().filter(|b| !b.is_dead()).map(|b| (!b.is_up(), b.connections(), b)).collect();
    order.sort_by_key(|(down, connections, _)| (*down, *connections));
    for (_, _, backend) in order {
        let cut = backend.cut_token();
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(backend.address())).await {
            Ok(Ok(server)) => {
                let _ = server.set_nodelay(true);
                return Some((backend.clone(), server, cut));
            }
            Ok(Err(error)) => backend.mark_dead(&error.to_string()),
            Err(_) => backend.mark_dead("connect timed out"),
        }
    }
    None
}

#[cfg(test)]
mod balancer_test;
