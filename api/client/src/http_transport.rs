//! `Http`: a [`Transport`] over TLS and HTTP/2.
//!
//! One connection carries everything, watches included. It is pinged, so that a server that died
//! without a word is noticed within [`PING_INTERVAL`] + [`PING_TIMEOUT`]; the next request then
//! dials the next endpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::answer::{self, WATCH_LINE_BYTES_MAX};
use crate::transport::{Error, List, Request, Response, Transport, WatchEvent, WatchStream};

const PING_INTERVAL: Duration = Duration::from_millis(1000);
const PING_TIMEOUT: Duration = Duration::from_millis(1000);
/// TCP and TLS together.
const DIAL_DEADLINE: Duration = Duration::from_millis(1500);
/// From sending a request to the end of its answer; for a watch, to its headers. An API server
/// gives up on its own before this (upstream: 60 s for the slowest requests it takes).
const REQUEST_DEADLINE: Duration = Duration::from_secs(65);
/// A larger answer is refused instead of filling the memory.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// What a stream may have under way. Lists are long; the default of 64 KiB would make them slow.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A bearer token. Not shown anywhere.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub fn new(token: impl Into<String>) -> Token {
        Token(token.into())
    }
}

/// Where the API servers are and who we are to them.
pub struct HttpConfig {
    /// `https://host:port`, tried in this order; a path is not taken.
    pub endpoints: Vec<String>,
    pub tls: Arc<ClientConfig>,
    pub token: Option<Token>,
    /// The name that the server's certificate must have, where it is not the endpoint's host.
    pub server_name: Option<String>,
    pub user_agent: String,
}

struct Endpoint {
    authority: String,
    host: String,
    port: u16,
}

type Sender = SendRequest<Full<Bytes>>;

/// Requests over one connection to one of several endpoints.
pub struct Http {
    endpoints: Vec<Endpoint>,
    /// Index of the endpoint to dial next.
    current: AtomicUsize,
    tls: RwLock<Arc<ClientConfig>>,
    server_name: Option<String>,
    authorization: Option<HeaderValue>,
    user_agent: HeaderValue,
    /// Held while dialling: whoever comes second uses the first one's connection.
    connection: tokio::sync::Mutex<Option<(Sender, usize)>>,
}

impl Http {
    /// Does not connect yet. Errors name the endpoint that cannot be used.
    pub fn new(config: HttpConfig) -> Result<Http, Error> {
        let endpoints = config.endpoints.iter().map(|e| Endpoint::parse(e)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::Unreachable("no endpoint was given".into()));
        }
        let authorization = match config.token {
            None => None,
            Some(Token(token)) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| Error::Unreachable("the token has characters no header can hold".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .map_err(|_| Error::Unreachable("the user agent has characters no header can hold".into()))?;
        Ok(Http {
            endpoints,
            current: AtomicUsize::new(0),
            tls: RwLock::new(config.tls),
            server_name: config.server_name,
            authorization,
            user_agent,
            connection: tokio::sync::Mutex::new(None),
        })
    }

    /// Connections made from now on use `tls`: certificates are renewed while running.
    pub async fn set_tls(&self, tls: Arc<ClientConfig>) {
        *self.tls.write() = tls;
        *self.connection.lock().await = None;
    }

    async fn connection(&self) -> Result<(Sender, usize), Error> {
        let mut slot = self.connection.lock().await;
        if let Some((sender, at)) = slot.as_ref()
            && !sender.is_closed()
        {
            return Ok((sender.clone(), *at));
        }
        *slot = None;
        let mut last = None;
        for _ in 0..self.endpoints.len() {
            let at = self.current.load(Ordering::Relaxed) % self.endpoints.len();
            match timeout(DIAL_DEADLINE, self.dial(&self.endpoints[at])).await {
                Ok(Ok(sender)) => {
                    *slot = Some((sender.clone(), at));
                    return Ok((sender, at));
                }
                Ok(Err(e)) => last = Some(format!("{}: {e}", self.endpoints[at].authority)),
                Err(_) => {
                    last =
                        Some(format!("{}: no connection in {DIAL_DEADLINE:?}", self.endpoints[at].authority))
                }
            }
            self.current.store(at + 1, Ordering::Relaxed);
        }
        Err(Error::Unreachable(last.unwrap_or_default()))
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        tcp.set_nodelay(true)?;
        let name = self.server_name.clone().unwrap_or_else(|| endpoint.host.clone());
        let config = self.tls.read().clone();
        let tls = TlsConnector::from(config).connect(ServerName::try_from(name)?, tcp).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the server does not speak HTTP/2".into());
        }
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(TokioIo::new(tls))
            .await?;
        let authority = endpoint.authority.clone();
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(endpoint = authority, error = %e, "connection to the API server ended");
            }
        });
        Ok(sender)
    }

    /// Gives up this connection, unless another request has replaced it already.
    async fn drop_connection(&self, at: usize) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|(sender, slot_at)| *slot_at == at && sender.is_closed()) {
            *slot = None;
            self.current.store(at + 1, Ordering::Relaxed);
        }
    }

    async fn exchange(&self, request: &Request) -> Result<http::Response<Incoming>, Error> {
        // One try on the connection at hand, one on a fresh one per endpoint.
        let mut tries = self.endpoints.len() + 1;
        loop {
            tries -= 1;
            let (mut sender, at) = self.connection().await?;
            let message = self.message(request, at)?;
            match timeout(REQUEST_DEADLINE, sender.try_send_request(message)).await {
                Ok(Ok(response)) => return Ok(response),
                Err(_) => {
                    return Err(Error::OutcomeUnknown(format!("no answer in {REQUEST_DEADLINE:?}")));
                }
                Ok(Err(mut e)) => {
                    let unsent = e.take_message().is_some();
                    let text = chain(&e.into_error());
                    self.drop_connection(at).await;
                    if !unsent {
                        return Err(Error::OutcomeUnknown(text));
                    }
                    if tries == 0 {
                        return Err(Error::Unreachable(text));
                    }
                }
            }
        }
    }

    fn message(&self, request: &Request, at: usize) -> Result<http::Request<Full<Bytes>>, Error> {
        let authority = &self.endpoints[at].authority;
        let mut builder = http::Request::builder()
            .method(request.method.clone())
            .uri(format!("https://{authority}{}", request.path))
            .header(HOST, authority)
            .header(USER_AGENT, self.user_agent.clone());
        let has = |name: &str| request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("accept") {
            builder = builder.header(ACCEPT, "application/json");
        }
        if !request.body.is_empty() && !has("content-type") {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        builder
            .body(Full::new(request.body.clone()))
            .map_err(|e| Error::Unreachable(format!("the request cannot be written: {e}")))
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let (head, body) = self.exchange(&request).await?.into_parts();
        let body = timeout(REQUEST_DEADLINE, Limited::new(body, ANSWER_BYTES_MAX).collect())
            .await
            .map_err(|_| Error::OutcomeUnknown(format!("the answer did not end in {REQUEST_DEADLINE:?}")))?
            .map_err(|e| Error::OutcomeUnknown(format!("the answer broke off: {e}")))?
            .to_bytes();
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    async fn list(&self, path: &str) -> Result<List, Error> {
        answer::list(self.send(get(path)).await?)
    }

    async fn watch(&self, path: &str) -> Result<WatchStream, Error> {
        let (head, body) = self.exchange(&get(path)).await?.into_parts();
        if head.status.as_u16() >= 400 {
            let body = timeout(REQUEST_DEADLINE, Limited::new(body, ANSWER_BYTES_MAX).collect())
                .await
                .map_err(|_| Error::Unreachable("the answer did not end".into()))?
                .map_err(|e| Error::Unreachable(e.to_string()))?;
            return Err(answer::status_error(head.status.as_u16(), &body.to_bytes()));
        }
        let lines = Lines { body, buffer: BytesMut::new(), ready: VecDeque::new(), ended: false };
        Ok(futures::stream::unfold(lines, Lines::next_event).boxed())
    }
}

fn get(path: &str) -> Request {
    Request { method: http::Method::GET, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
}

/// A watch's body cut at its line ends.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl Lines {
    async fn next_event(mut self) -> Option<(Result<WatchEvent, Error>, Lines)> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                let event = answer::watch_event(&line);
                self.ended |= event.is_err();
                return Some((event, self));
            }
            if self.ended {
                return None;
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(e)) => {
                    self.ended = true;
                    return Some((
                        Err(Error::Unreachable(format!("the watch broke off: {}", chain(&e)))),
                        self,
                    ));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        let searched = self.buffer.len();
                        self.buffer.extend_from_slice(&data);
                        cut_lines(&mut self.buffer, searched, &mut self.ready);
                        if self.buffer.len() > WATCH_LINE_BYTES_MAX {
                            self.ended = true;
                            let e =
                                Error::Decode(format!("a watch event of over {WATCH_LINE_BYTES_MAX} bytes"));
                            return Some((Err(e), self));
                        }
                    }
                }
            }
        }
    }
}

/// Moves whole lines out of `buffer`, whose first `searched` bytes hold no line end.
fn cut_lines(buffer: &mut BytesMut, mut searched: usize, ready: &mut VecDeque<Bytes>) {
    while let Some(at) = buffer[searched..].iter().position(|b| *b == b'\n') {
        let line = buffer.split_to(searched + at + 1).freeze();
        searched = 0;
        if line.len() > 1 {
            ready.push_back(line.slice(..line.len() - 1));
        }
    }
}

fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(s) = source {
        text.push_str(": ");
        text.push_str(&s.to_string());
        source = s.source();
    }
    text
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint, Error> {
        let bad = |why: &str| Error::Unreachable(format!("endpoint {text:?}: {why}"));
        let uri: http::Uri = text.parse().map_err(|_| bad("not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("only https is spoken"));
        }
        if !matches!(uri.path(), "" | "/") {
            return Err(bad("a path is not taken"));
        }
        let authority = uri.authority().ok_or_else(|| bad("no host"))?;
        let port = authority.port_u16().unwrap_or(443);
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Endpoint { authority: authority.to_string(), host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_frames_end() {
        for size in 1..9 {
            let (mut buffer, mut ready) = (BytesMut::new(), VecDeque::new());
            for chunk in b"{\"a\":1}\n\n{\"b\":2}\n{\"c\"".chunks(size) {
                let searched = buffer.len();
                buffer.extend_from_slice(chunk);
                cut_lines(&mut buffer, searched, &mut ready);
            }
            assert_eq!(ready, [&b"{\"a\":1}"[..], b"{\"b\":2}"]);
            assert_eq!(&buffer[..], b"{\"c\"");
        }
    }

    #[test]
    fn endpoints() {
        let ok = |text: &str| Endpoint::parse(text).map(|e| (e.host, e.port)).ok();
        assert_eq!(ok("https://127.0.0.1:6443"), Some(("127.0.0.1".into(), 6443)));
        assert_eq!(ok("https://[::1]:6443/"), Some(("::1".into(), 6443)));
        assert_eq!(ok("https://api.example"), Some(("api.example".into(), 443)));
        assert_eq!(ok("http://127.0.0.1:8080"), None);
        assert_eq!(ok("https://h/proxy"), None);
    }
}
