//! What every request passes, in order: audit id, authentication, impersonation, authorization,
//! limits on work in flight, then its handler within a deadline, with panics caught.

mod impersonate;
pub(crate) mod request_info;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use rand::RngExt;
use trireme_store::Fence;

pub(crate) use request_info::{Query, RequestInfo, percent_decode};

use crate::gate::JOIN_PATH;
use crate::identity::Identity;
use crate::negotiate;
use crate::server::listener::Peer;
use crate::server::{Body, Core, fences};
use crate::slow::{self, Step};
use crate::status::{ApiError, Result};
use crate::{authn, authz, gate, limits, routes};

/// The body of a request, read when a handler asks for it.
pub(crate) enum RequestBody {
    Incoming(Incoming),
    Bytes(Bytes),
}

/// A request on its way.
pub(crate) struct Call {
    pub(crate) core: Arc<Core>,
    pub(crate) method: http::Method,
    pub(crate) headers: HeaderMap,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) user: Identity,
    pub(crate) audit_id: String,
    pub(crate) fences: Vec<Fence>,
    body: Mutex<Option<RequestBody>>,
    warnings: Mutex<Vec<String>>,
}

/// Reads on without keeping: a client in the middle of sending sees its stream break otherwise,
/// and never the answer.
async fn drop_rest(mut body: Incoming) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, Bytes::len);
        if dropped > limits::REST_OF_BODY_BYTES_MAX {
            return;
        }
    }
}

impl Call {
    /// The body, at most [`limits::REQUEST_BODY_BYTES_MAX`].
    pub(crate) async fn body(&self) -> Result<Bytes> {
        let _step = slow::step(Step::Body);
        let body = self.body.lock().take();
        let limit = limits::REQUEST_BODY_BYTES_MAX;
        match body {
            None => Ok(Bytes::new()),
            Some(RequestBody::Bytes(bytes)) if bytes.len() <= limit => Ok(bytes),
            Some(RequestBody::Bytes(_)) => Err(ApiError::too_large(limit)),
            Some(RequestBody::Incoming(mut incoming)) => {
                let mut out = BytesMut::new();
                while let Some(frame) = incoming.frame().await {
                    let frame =
                        frame.map_err(|e| ApiError::bad_request(format!("reading the body failed: {e}")))?;
                    if let Ok(data) = frame.into_data() {
                        if out.len() + data.len() > limit {
                            let _ = tokio::time::timeout(limits::REST_OF_BODY_MAX, drop_rest(incoming)).await;
                            return Err(ApiError::too_large(limit));
                        }
                        out.extend_from_slice(&data);
                    }
                }
                Ok(out.freeze())
            }
        }
    }

    /// Adds a `Warning` header to the answer.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

/// A request from a connection.
pub(crate) async fn serve(core: &Arc<Core>, parts: Parts, body: RequestBody, peer: &Peer) -> Response<Body> {
    slow::measured(serve_measured(core, parts, body, peer)).await
}

async fn serve_measured(core: &Arc<Core>, parts: Parts, body: RequestBody, peer: &Peer) -> Response<Body> {
    if let Some(go_away) = &peer.go_away
        && parts.version == http::Version::HTTP_2
        && rand::rng().random_range(0..GO_AWAY_ONE_IN) == 0
    {
        // Now and then a connection is asked to come anew, or after a rolling restart all of
        // them would stay with the servers that restarted first.
        go_away.notify_one();
    }
    let started = Instant::now();
    let call = new_call(core, parts, body, Identity::default());
    if call.info.path == JOIN_PATH {
        // Who comes here has no identity yet, and its token is not the API's.
        let result = gate::serve(&call).await;
        return finish(&call, result, started);
    }
    let caught = AssertUnwindSafe(authenticated(call, peer)).catch_unwind().await;
    let (call, result) = match caught {
        Ok(done) => done,
        Err(_) => return panicked(),
    };
    finish(&call, result, started)
}

/// About this share of HTTP/2 requests makes its connection end in order.
const GO_AWAY_ONE_IN: u32 = 1000;

/// A request whose sender is known already.
pub(crate) async fn serve_as(
    core: &Arc<Core>,
    parts: Parts,
    body: RequestBody,
    user: Identity,
) -> Response<Body> {
    slow::measured(serve_as_measured(core, parts, body, user)).await
}

async fn serve_as_measured(
    core: &Arc<Core>,
    parts: Parts,
    body: RequestBody,
    user: Identity,
) -> Response<Body> {
    let started = Instant::now();
    let mut call = new_call(core, parts, body, user);
    let caught = AssertUnwindSafe(async {
        // The leaders of this process are the ones that must be fenced.
        let result = match fences(&call.headers) {
            Ok(fences) => {
                call.fences = fences;
                authorized(&call, false).await
            }
            Err(error) => Err(error),
        };
        (call, result)
    })
    .catch_unwind()
    .await;
    match caught {
        Ok((call, result)) => finish(&call, result, started),
        Err(_) => panicked(),
    }
}

/// A call for the typed in-process reads.
pub(crate) fn call_for(core: &Arc<Core>, path: &str, user: &Identity) -> Result<Call> {
    let request =
        http::Request::get(path).body(()).map_err(|e| ApiError::bad_request(format!("{path:?}: {e}")))?;
    Ok(new_call(core, request.into_parts().0, RequestBody::Bytes(Bytes::new()), user.clone()))
}

fn new_call(core: &Arc<Core>, parts: Parts, body: RequestBody, user: Identity) -> Call {
    let query = Query::parse(parts.uri.query().unwrap_or(""));
    let info = RequestInfo::new(&parts.method, parts.uri.path(), &query);
    Call {
        core: core.clone(),
        method: parts.method,
        headers: parts.headers,
        info,
        query,
        user,
        audit_id: uuid::Uuid::new_v4().to_string(),
        fences: Vec::new(),
        body: Mutex::new(Some(body)),
        warnings: Mutex::new(Vec::new()),
    }
}

async fn authenticated(mut call: Call, peer: &Peer) -> (Call, Result<Response<Body>>) {
    let core = call.core.clone();
    let authenticated = {
        let _step = slow::step(Step::Authentication);
        authn::authenticate(&core, peer, &call.headers).await
    };
    let user = match authenticated {
        Ok(user) => user,
        Err(error) => return (call, Err(error)),
    };
    call.user = user;
    match impersonate::impersonate(&call) {
        Ok(Some(other)) => {
            tracing::info!(
                audit_id = call.audit_id,
                user = call.user.name,
                impersonated = other.name,
                "impersonation"
            );
            call.user = other;
        }
        Ok(None) => {}
        Err(error) => return (call, Err(error)),
    }
    match fences(&call.headers) {
        Ok(fences) => call.fences = fences,
        Err(error) => return (call, Err(error)),
    }
    let result = authorized(&call, true).await;
    (call, result)
}

/// Authorization, limits and the handler.
async fn authorized(call: &Call, limited: bool) -> Result<Response<Body>> {
    let core = &call.core;
    authz::require(core, &call.user, &authz::Attributes::from(&call.info))?;
    if call.info.is_long_running() {
        return routes::dispatch(call).await;
    }
    let permits = if call.info.is_write() { &core.writes } else { &core.reads };
    let _permit = if limited && !call.user.in_group(crate::identity::SYSTEM_MASTERS) {
        Some(
            permits
                .try_acquire()
                .map_err(|_| ApiError::too_many_requests("Too many requests, please try again later.", 1))?,
        )
    } else {
        None
    };
    match tokio::time::timeout(limits::REQUEST_TIMEOUT, routes::dispatch(call)).await {
        Ok(result) => result,
        Err(_) if call.info.is_write() => Err(ApiError::outcome_unknown()),
        Err(_) => Err(ApiError::timeout("request did not complete within the allotted timeout")),
    }
}

/// Turns an error into its `Status`, adds what every answer has, counts and logs.
fn finish(call: &Call, result: Result<Response<Body>>, started: Instant) -> Response<Body> {
    let mut response = match result {
        Ok(response) => response,
        Err(error) => error_response(call, &error),
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&call.audit_id) {
        headers.insert(HeaderName::from_static("audit-id"), id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    for warning in call.warnings.lock().iter() {
        let text: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
    let response = negotiate::compress(call, response);
    let elapsed = started.elapsed();
    call.core.slow.look(call, response.status().as_u16(), elapsed);
    call.core.metrics.request(&call.info, response.status().as_u16(), elapsed);
    tracing::debug!(
        target: "audit",
        audit_id = call.audit_id,
        user = call.user.name,
        verb = call.info.verb,
        path = call.info.path,
        resource = call.info.resource,
        namespace = call.info.namespace,
        name = call.info.name,
        status = response.status().as_u16(),
        latency_us = elapsed.as_micros() as u64,
        "request"
    );
    response
}

fn error_response(call: &Call, error: &ApiError) -> Response<Body> {
    // Upstream's 500s for bad input have no reason; those are the client's affair. The store's
    // have none either, and are ours.
    let ours = !error.reason.is_empty() || error.message.starts_with("etcdserver: ");
    if error.code >= 500 && ours {
        tracing::warn!(
            audit_id = call.audit_id,
            path = call.info.path,
            code = error.code,
            error = error.message,
            "request failed"
        );
    }
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = negotiate::status_response(call, status, &error.to_value());
    if error.retry_after_s() > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(error.retry_after_s()));
    }
    if call.method == http::Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

fn panicked() -> Response<Body> {
    tracing::error!("a request handler panicked");
    let mut response = Response::new(Body::Full(Bytes::from_static(
        b"This request caused apiserver to panic. Look in the logs for details.\n",
    )));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
