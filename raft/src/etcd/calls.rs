//! Every call counted, as etcd's gRPC server counts them, and the paths that are no calls.
//!
//! Messages are counted where they pass as bytes: a gRPC message is five bytes of head, of which the
//! last four are its length, and that many bytes.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::access::Access;
use super::{Backend, http_paths};
use crate::metrics::{CALL_BOUNDS_S, Counter, Histogram, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

const KV: &str = "etcdserverpb.KV";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const STORE: &str = "trireme.v1.Store";

/// The calls that are counted one by one; others are counted in the bytes alone.
const METHODS: [(&str, &str, Kind); 32] = [
    (KV, "Range", Kind::Unary),
    (KV, "RangeStream", Kind::ServerStream),
    (KV, "Put", Kind::Unary),
    (KV, "DeleteRange", Kind::Unary),
    (KV, "Txn", Kind::Unary),
    (KV, "Compact", Kind::Unary),
    ("etcdserverpb.Watch", "Watch", Kind::BidiStream),
    (LEASE, "LeaseGrant", Kind::Unary),
    (LEASE, "LeaseRevoke", Kind::Unary),
    (LEASE, "LeaseKeepAlive", Kind::BidiStream),
    (LEASE, "LeaseTimeToLive", Kind::Unary),
    (LEASE, "LeaseLeases", Kind::Unary),
    (CLUSTER, "MemberAdd", Kind::Unary),
    (CLUSTER, "MemberRemove", Kind::Unary),
    (CLUSTER, "MemberUpdate", Kind::Unary),
    (CLUSTER, "MemberList", Kind::Unary),
    (CLUSTER, "MemberPromote", Kind::Unary),
    (MAINTENANCE, "Alarm", Kind::Unary),
    (MAINTENANCE, "Status", Kind::Unary),
    (MAINTENANCE, "Defragment", Kind::Unary),
    (MAINTENANCE, "Hash", Kind::Unary),
    (MAINTENANCE, "HashKV", Kind::Unary),
    (MAINTENANCE, "Snapshot", Kind::ServerStream),
    (MAINTENANCE, "MoveLeader", Kind::Unary),
    ("etcdserverpb.Auth", "AuthStatus", Kind::Unary),
    ("etcdserverpb.Auth", "Authenticate", Kind::Unary),
    ("grpc.health.v1.Health", "Check", Kind::Unary),
    ("grpc.health.v1.Health", "Watch", Kind::ServerStream),
    (STORE, "Propose", Kind::Unary),
    (STORE, "Barrier", Kind::Unary),
    (STORE, "Status", Kind::Unary),
    (STORE, "ReplaceMember", Kind::Unary),
];

/// As Go spells them, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

struct MethodCounts {
    service: &'static str,
    name: &'static str,
    kind: Kind,
    started: Counter,
    received: Counter,
    sent: Counter,
    handled: [Counter; CODES.len()],
    took: Histogram,
}

/// What was called at this port.
pub(super) struct Calls {
    methods: Vec<Arc<MethodCounts>>,
    by_path: HashMap<String, Arc<MethodCounts>>,
    received_bytes: Counter,
    sent_bytes: Counter,
    pub(super) health: http_paths::Counts,
}

impl Calls {
    pub(super) fn new() -> Arc<Self> {
        let of = |(service, name, kind)| {
            Arc::new(MethodCounts {
                service,
                name,
                kind,
                started: Counter::default(),
                received: Counter::default(),
                sent: Counter::default(),
                handled: Default::default(),
                took: Histogram::new(&CALL_BOUNDS_S),
            })
        };
        let methods: Vec<_> = METHODS.into_iter().map(of).collect();
        let by_path = methods.iter().map(|m| (format!("/{}/{}", m.service, m.name), m.clone())).collect();
        Arc::new(Self {
            methods,
            by_path,
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            health: http_paths::Counts::default(),
        })
    }

    /// Writes the families about calls.
    pub(super) fn render(&self, text: &mut Text) {
        let name = "etcd_network_client_grpc_received_bytes_total";
        text.counter(name, "Bytes of messages received from clients.", self.received_bytes.get());
        let name = "etcd_network_client_grpc_sent_bytes_total";
        text.counter(name, "Bytes of messages sent to clients.", self.sent_bytes.get());
        let watches = self.methods.iter().find(|m| m.name == "Watch" && m.kind == Kind::BidiStream);
        let open = watches.map_or(0, |m| m.started.get().saturating_sub(m.ended()));
        text.gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches that are open.", open);
        for (name, help, counter) in [
            ("grpc_server_started_total", "Calls begun.", (|m| &m.started) as fn(&MethodCounts) -> &Counter),
            ("grpc_server_msg_received_total", "Messages received.", |m| &m.received),
            ("grpc_server_msg_sent_total", "Messages sent.", |m| &m.sent),
        ] {
            text.family(name, "counter", help);
            for method in &self.methods {
                text.sample(name, &method.labels(), counter(method).get());
            }
        }
        let name = "grpc_server_handled_total";
        text.family(name, "counter", "Calls ended, by code.");
        for method in &self.methods {
            for (code, counter) in CODES.iter().zip(&method.handled) {
                let [kind, service, name_label] = method.labels();
                text.sample(name, &[("grpc_code", code), kind, service, name_label], counter.get());
            }
        }
        let name = "grpc_server_handling_seconds";
        text.family(name, "histogram", "Time from a call's begin to its end, of those that are no streams.");
        let called = |m: &&Arc<MethodCounts>| m.kind == Kind::Unary && m.started.get() > 0;
        for method in self.methods.iter().filter(called) {
            text.buckets(name, &method.labels(), &method.took);
        }
        self.health.render(text);
    }
}

impl MethodCounts {
    fn labels(&self) -> [(&'static str, &'static str); 3] {
        [("grpc_type", self.kind.label()), ("grpc_service", self.service), ("grpc_method", self.name)]
    }

    fn ended(&self) -> u64 {
        self.handled.iter().map(Counter::get).sum()
    }
}

/// In front of everything at the port.
#[derive(Clone)]
pub(super) struct Door<S> {
    inner: S,
    backend: Arc<dyn Backend>,
    calls: Arc<Calls>,
}

impl<S> Door<S> {
    pub(super) fn new(inner: S, backend: Arc<dyn Backend>, calls: Arc<Calls>) -> Self {
        Self { inner, backend, calls }
    }
}

impl<S> Service<Request<Body>> for Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() != Method::POST
            && let Some(path) = http_paths::Path::of(request.uri())
        {
            let allowed =
                request.extensions().get::<Access>().is_some_and(|access| access.may_call(path.root()));
            let (backend, calls) = (self.backend.clone(), self.calls.clone());
            let method = request.method().clone();
            return Box::pin(async move { Ok(path.answer(&method, allowed, &*backend, &calls).await) });
        }
        let Some(method) = self.calls.by_path.get(request.uri().path()).cloned() else {
            return Box::pin(self.inner.call(request));
        };
        method.started.inc();
        let calls = self.calls.clone();
        let mut call = Call { method: method.clone(), began: Instant::now(), ended: false };
        let incoming = Messages { inbound: true, ..Messages::new(calls.clone(), method.clone()) };
        let answered =
            self.inner.call(request.map(|body| Body::new(Passing { body, messages: incoming, call: None })));
        Box::pin(async move {
            let response = answered.await?;
            let (head, body) = response.into_parts();
            // An error without a message comes in the head.
            call.ended_with(&head.headers);
            let messages = Messages::new(calls, method);
            let passing = Passing { body, messages, call: Some(call) };
            // Polled to its end even where it is empty: that is when the call ends.
            Ok(Response::from_parts(head, Body::new(passing)))
        })
    }
}

/// A call under way. One that is dropped before its end was given up by its client.
struct Call {
    method: Arc<MethodCounts>,
    began: Instant,
    ended: bool,
}

impl Call {
    fn ended_with(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok()) {
            self.end(code);
        }
    }

    fn end(&mut self, code: usize) {
        if !std::mem::replace(&mut self.ended, true) {
            self.method.handled.get(code).unwrap_or(&self.method.handled[Code::Unknown as usize]).inc();
            self.method.took.observe(self.began.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled as usize);
    }
}

/// Counts the messages in one direction of a call.
struct Messages {
    calls: Arc<Calls>,
    method: Arc<MethodCounts>,
    inbound: bool,
    head: [u8; 5],
    have: usize,
    /// Bytes of the present message that are still to come.
    rest: usize,
}

impl Messages {
    fn new(calls: Arc<Calls>, method: Arc<MethodCounts>) -> Self {
        Self { calls, method, inbound: false, head: [0; 5], have: 0, rest: 0 }
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        let (mut messages, mut payload) = (0, 0);
        while !bytes.is_empty() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                payload += taken as u64;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (self.head.len() - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.head.len() {
                self.have = 0;
                self.rest =
                    u32::from_be_bytes([self.head[1], self.head[2], self.head[3], self.head[4]]) as usize;
                messages += 1;
            }
        }
        let (count, total) = match self.inbound {
            true => (&self.method.received, &self.calls.received_bytes),
            false => (&self.method.sent, &self.calls.sent_bytes),
        };
        count.add(messages);
        total.add(payload);
    }
}

/// A body whose messages are counted, and, of an answer, the end of its call.
struct Passing {
    body: Body,
    messages: Messages,
    call: Option<Call>,
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.messages.pass(data);
                }
                if let (Some(call), Some(trailers)) = (&mut this.call, frame.trailers_ref()) {
                    call.ended_with(trailers);
                }
            }
            Some(Err(status)) => {
                if let Some(call) = &mut this.call {
                    call.end(status.code() as usize);
                }
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let calls = Calls::new();
        let method = calls.by_path["/etcdserverpb.KV/Put"].clone();
        let mut stream = Vec::new();
        for length in [0u32, 3, 300, 1] {
            stream.push(0);
            stream.extend(length.to_be_bytes());
            stream.extend(vec![9; length as usize]);
        }
        for piece in [1, 2, 7, 64, stream.len()] {
            let (before, bytes) = (method.sent.get(), calls.sent_bytes.get());
            let mut messages = Messages::new(calls.clone(), method.clone());
            stream.chunks(piece).for_each(|chunk| messages.pass(chunk));
            assert_eq!(method.sent.get() - before, 4, "pieces of {piece}");
            assert_eq!(calls.sent_bytes.get() - bytes, 304, "pieces of {piece}");
        }
    }

    #[test]
    fn a_call_ends_once_and_one_that_is_given_up_is_canceled() {
        let calls = Calls::new();
        let method = calls.by_path["/etcdserverpb.Watch/Watch"].clone();
        let call = || Call { method: method.clone(), began: Instant::now(), ended: false };
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", "14".parse().unwrap());
        let mut one = call();
        one.ended_with(&headers);
        drop(one);
        drop(call());
        let ended: Vec<_> = CODES.iter().zip(&method.handled).filter(|(_, n)| n.get() > 0).collect();
        let ended: Vec<_> = ended.into_iter().map(|(code, n)| (*code, n.get())).collect();
        assert_eq!(ended, [("Canceled", 1), ("Unavailable", 1)]);
    }
}
