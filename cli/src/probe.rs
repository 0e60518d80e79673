//! One request over a connection of its own, with every step under one deadline.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Answers of readiness endpoints and lists of nodes are small.
const BODY_BYTES_MAX: usize = 16 << 20;

/// GETs `https://<address><path>`; `address` is `host:port`.
pub(crate) async fn get(
    tls: &Arc<ClientConfig>,
    address: &str,
    path: &str,
    deadline: Duration,
) -> Result<(StatusCode, Bytes)> {
    send(tls, address, Request::get(path).body(Empty::new())?, deadline).await
}

/// Sends a request without a body to `address`, `host:port`.
pub(crate) async fn send(
    tls: &Arc<ClientConfig>,
    address: &str,
    request: Request<Empty<Bytes>>,
    deadline: Duration,
) -> Result<(StatusCode, Bytes)> {
    tokio::time::timeout(deadline, send_inner(tls, address, request))
        .await
        .map_err(|_| anyhow!("no answer from {address} within {} ms", deadline.as_millis()))?
}

async fn send_inner(
    tls: &Arc<ClientConfig>,
    address: &str,
    mut request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Bytes)> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is no host name"))?;
    let socket = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    socket.set_nodelay(true)?;
    let mut config = (**tls).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.context("TLS handshake")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(address)?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("trireme-probe"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow!("body: {error}"))?;
        Ok((status, body.to_bytes()))
    }
    .await;
    driver.abort();
    answer
}
