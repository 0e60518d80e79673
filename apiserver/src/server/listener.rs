//! Accepts connections, speaks HTTP/1.1 and HTTP/2 over TLS, and drains.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Core;
use super::tls::Shown;
use crate::filters::{self, RequestBody};
use crate::limits;

/// Where the server stands between start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// `/readyz` fails, everything else goes on.
    Draining,
    /// No new connections; watches end between events, HTTP/2 clients get GOAWAY.
    Stopping,
}

/// What is known of the connection a request came on.
pub(crate) struct Peer {
    pub(crate) certificates: Shown,
    /// Asks the connection to send GOAWAY and end when its requests have.
    pub(crate) go_away: Option<Arc<Notify>>,
}

/// Serves until the phase is `Stopping`, then until the connections ended or the drain timed out.
pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener) -> std::io::Result<()> {
    let tls = core
        .tls
        .server_config()
        .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e.to_string()))?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let slots = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut phase = core.phase.subscribe();
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|p| *p >= Phase::Stopping) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: a pause lets connections end.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (core, acceptor) = (core.clone(), acceptor.clone());
        tokio::spawn(async move {
            connection(core, acceptor, stream, address).await;
            drop(slot);
        });
    }
    drop(listener);
    let all = u32::try_from(limits::CONNECTIONS_MAX).expect("the limit fits");
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some connections did not end in time and are cut off");
    }
    Ok(())
}

async fn connection(core: Arc<Core>, acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let handshake = async {
        match plain_http(stream).await? {
            Some(stream) => acceptor.accept(stream).await.map(Some),
            None => Ok(None),
        }
    };
    let tls = match tokio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(Some(tls))) => tls,
        Ok(Ok(None)) => return tracing::debug!(%address, "plain HTTP on the port of HTTPS"),
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
    };
    let go_away = Arc::new(Notify::new());
    let certificates = Shown::new(tls.get_ref().1.peer_certificates().unwrap_or(&[]));
    if let Err(error) = core.tls.identify(&certificates) {
        tracing::info!(%address, %error, "client certificate refused");
    }
    let peer = Arc::new(Peer { certificates, go_away: Some(go_away.clone()) });

    let mut phase = core.phase.subscribe();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (core, peer) = (core.clone(), peer.clone());
        async move {
            let (parts, body) = request.into_parts();
            // Boxed: the future of a whole request is large, and its type larger.
            let answer: BoxFuture<'_, _> =
                Box::pin(filters::serve(&core, parts, RequestBody::Incoming(body), &peer));
            Ok::<_, Infallible>(answer.await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(std::time::Duration::from_secs(30))
        .max_buf_size(limits::HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(limits::HEADER_BYTES_MAX as u32)
        .keep_alive_interval(std::time::Duration::from_secs(30))
        .keep_alive_timeout(std::time::Duration::from_secs(15));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
    tokio::pin!(connection);
    let mut draining = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%address, %error, "connection ended");
                }
                return;
            }
            () = go_away.notified(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = wait_stopping(&mut phase), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The first byte of every TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Tells a client that speaks HTTP without TLS what is wrong, in Go's words, where TLS could only
/// break the connection off. Gives the stream back untouched when it is anything else.
async fn plain_http(mut stream: TcpStream) -> std::io::Result<Option<TcpStream>> {
    let mut head = [0; 1];
    stream.peek(&mut head).await?;
    if head[0] == TLS_HANDSHAKE {
        return Ok(Some(stream));
    }
    // Go looks at the five bytes of a record's head.
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    if matches!(&head, b"GET /" | b"HEAD " | b"POST " | b"PUT /" | b"PATCH" | b"DELET" | b"OPTIO") {
        let answer = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // What is unread at the end would break the answer off.
        let mut rest = [0; 1024];
        for _ in 0..64 {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
    }
    Ok(None)
}

async fn wait_stopping(phase: &mut watch::Receiver<Phase>) {
    if phase.wait_for(|p| *p >= Phase::Stopping).await.is_err() {
        // The server itself is gone; its connections go with it.
    }
}
