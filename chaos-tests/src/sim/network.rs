//! The network of a simulated world: calls between its members and of its clients, each message of
//! which takes its time, waits while the way is cut, and comes in order or not at all, as over TCP.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::Frame;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use trireme_raft::{PeerAnswers, PeerNetwork, PeerRequest, PeerResponse};

use super::fuse::Fuse;

const MILLISECOND: u64 = 1_000_000;
/// A segment that was lost is sent again after this.
const RETRANSMIT_NS: u64 = 200 * MILLISECOND;
/// A connection over which nothing goes for this long is given up, as HTTP/2's pings do.
const GIVE_UP_NS: u64 = 2_000 * MILLISECOND;

/// A connection that is not there by then is given up, as `raft/src/peer/client.rs` has it. Each call is
/// one here.
const CONNECT_NS: u64 = 500 * MILLISECOND;

/// A process of the world, by number.
pub(super) type Host = usize;

/// What a host's own loop takes.
pub(super) enum Incoming {
    Call { id: u64, request: Box<PeerRequest> },
    Job(Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>),
}

type Event = Box<dyn FnOnce(&mut Inner) + Send>;

/// A piece of a call's body, or how it ended.
enum Piece {
    Frame(Frame<Bytes>),
    End,
    Broken,
}

struct Call {
    from: Host,
    to: Host,
    answer: Option<oneshot::Sender<Result<PeerResponse, Status>>>,
    /// Of the body on its way to the one called, and back.
    bodies: [Option<mpsc::UnboundedSender<Piece>>; 2],
    handler: Option<AbortHandle>,
    /// Dropped with the call: who sends a body on ends then.
    pumps: [Option<oneshot::Sender<()>>; 2],
    /// No message of one direction passes the one before.
    not_before: [u64; 2],
}

/// How messages fare on their way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weather {
    pub delay_ns: (u64, u64),
    /// Of a thousand messages, how many are lost and sent again.
    pub lost_of_1000: u32,
}

pub(super) const FAIR: Weather = Weather { delay_ns: (50_000, 400_000), lost_of_1000: 0 };

pub(super) struct Inner {
    now_ns: u64,
    next: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    todo: BTreeMap<u64, Event>,
    random: StdRng,
    weather: Weather,
    /// Pairs of which the first cannot reach the second, and since when.
    cut: BTreeMap<(Host, Host), u64>,
    /// What waits for a way to be whole again.
    held: Vec<(Host, Host, Event)>,
    hosts: Vec<Option<mpsc::UnboundedSender<Incoming>>>,
    /// Without power: nobody answers, not even a kernel.
    dark: Vec<bool>,
    /// Of the processes that run.
    fuses: Vec<Option<Fuse>>,
    calls: BTreeMap<u64, Call>,
    /// Calls that nobody wants any more.
    given_up: Arc<Mutex<Vec<u64>>>,
    delivered: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<Inner>>);

impl Inner {
    fn at(&mut self, at_ns: u64, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at_ns, self.next)));
        self.todo.insert(self.next, event);
    }

    fn delay(&mut self) -> u64 {
        let (least, most) = self.weather.delay_ns;
        let lost = self.random.random_range(0..1000) < self.weather.lost_of_1000;
        self.random.random_range(least..=most) + if lost { RETRANSMIT_NS } else { 0 }
    }

    /// Has `event` happen at `to`, after a message's time, once the way is whole.
    fn send(&mut self, from: Host, to: Host, not_before: u64, event: Event) -> u64 {
        if self.fuses[from].as_ref().is_some_and(|fuse| !fuse.burn()) {
            return not_before;
        }
        let at = (self.now_ns + self.delay()).max(not_before);
        self.at(
            at,
            Box::new(move |inner| {
                if inner.cut.contains_key(&(from, to)) {
                    inner.held.push((from, to, event));
                } else {
                    inner.delivered += 1;
                    event(inner);
                }
            }),
        );
        at
    }

    /// The same for a message of a call. `0` is the direction to the one called.
    fn send_of(&mut self, id: u64, direction: usize, event: impl FnOnce(&mut Call) + Send + 'static) {
        let Some(call) = self.calls.get(&id) else { return };
        let ends = [(call.from, call.to), (call.to, call.from)][direction];
        let not_before = call.not_before[direction];
        let at = self.send(
            ends.0,
            ends.1,
            not_before,
            Box::new(move |inner| {
                if let Some(call) = inner.calls.get_mut(&id) {
                    event(call);
                }
            }),
        );
        if let Some(call) = self.calls.get_mut(&id) {
            call.not_before[direction] = at;
        }
    }

    fn break_call(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        for body in call.bodies.into_iter().flatten() {
            let _ = body.send(Piece::Broken);
        }
        if let Some(answer) = call.answer {
            let _ = answer.send(Err(Status::unavailable("the connection is broken")));
        }
        if let Some(handler) = call.handler {
            handler.abort();
        }
    }

    /// A host's calls end as a kernel ends connections: the other side hears of it.
    fn end_calls_of(&mut self, host: Host, is_heard: bool) {
        let ids: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| call.from == host || call.to == host)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if call.to == host {
                call.handler = None;
            }
            let (direction, other) = if call.from == host { (0, call.to) } else { (1, call.from) };
            let not_before = call.not_before[direction];
            if is_heard {
                self.send(host, other, not_before, Box::new(move |inner| inner.break_call(id)));
            } else {
                let at = self.now_ns + GIVE_UP_NS;
                self.at(at, Box::new(move |inner| inner.break_call(id)));
            }
        }
    }
}

impl Network {
    pub(super) fn new(seed: u64, hosts: usize) -> Network {
        Network(Arc::new(Mutex::new(Inner {
            now_ns: 0,
            next: 0,
            events: BinaryHeap::new(),
            todo: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            weather: FAIR,
            cut: BTreeMap::new(),
            held: Vec::new(),
            hosts: (0..hosts).map(|_| None).collect(),
            dark: vec![false; hosts],
            fuses: (0..hosts).map(|_| None).collect(),
            calls: BTreeMap::new(),
            given_up: Arc::default(),
            delivered: 0,
        })))
    }

    /// Lets time come to `now_ns`, and all happen that happens until then.
    pub(super) fn advance(&self, now_ns: u64) {
        let mut inner = self.0.lock();
        let given_up = std::mem::take(&mut *inner.given_up.lock());
        for id in given_up {
            let Some(call) = inner.calls.get(&id) else { continue };
            let (from, to, not_before) = (call.from, call.to, call.not_before[0]);
            inner.send(from, to, not_before, Box::new(move |inner| inner.break_call(id)));
        }
        while let Some(Reverse((at, id))) =
            inner.events.peek().copied().filter(|Reverse((at, _))| *at <= now_ns)
        {
            inner.events.pop();
            inner.now_ns = at.max(inner.now_ns);
            if let Some(event) = inner.todo.remove(&id) {
                event(&mut inner);
            }
        }
        inner.now_ns = now_ns;
    }

    /// Messages that have arrived.
    pub(super) fn delivered(&self) -> u64 {
        self.0.lock().delivered
    }

    /// `host` takes what comes from now on.
    pub(super) fn up(&self, host: Host, fuse: Fuse) -> mpsc::UnboundedReceiver<Incoming> {
        let (incoming, queue) = mpsc::unbounded_channel();
        let mut inner = self.0.lock();
        (inner.hosts[host], inner.dark[host], inner.fuses[host]) = (Some(incoming), false, Some(fuse));
        queue
    }

    /// `host` is gone. Where its power was lost, nobody is told.
    pub(super) fn down(&self, host: Host, is_heard: bool) {
        let mut inner = self.0.lock();
        (inner.hosts[host], inner.dark[host], inner.fuses[host]) = (None, !is_heard, None);
        if !is_heard {
            // What waits for a way to be whole waits in the sender's kernel, which is gone, too.
            inner.held.retain(|(from, ..)| *from != host);
        }
        inner.end_calls_of(host, is_heard);
    }

    /// Breaks the connections of `host`: what was on its way over them is gone.
    pub(super) fn reset(&self, host: Host) {
        let mut inner = self.0.lock();
        let of_it = |call: &Call| call.from == host || call.to == host;
        let ids: Vec<_> = inner.calls.iter().filter(|(_, call)| of_it(call)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| inner.break_call(id));
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    /// Messages of `from` to `to` wait until they are joined again; connections between them break
    /// when that takes too long.
    pub(super) fn cut(&self, from: Host, to: Host) {
        let mut inner = self.0.lock();
        let now = inner.now_ns;
        inner.cut.insert((from, to), now);
        inner.at(
            now + GIVE_UP_NS,
            Box::new(move |inner| {
                if inner.cut.get(&(from, to)) != Some(&now) {
                    return;
                }
                inner.held.retain(|(f, t, _)| (*f, *t) != (from, to));
                let between =
                    |call: &Call| (call.from, call.to) == (from, to) || (call.to, call.from) == (from, to);
                let ids: Vec<_> =
                    inner.calls.iter().filter(|(_, call)| between(call)).map(|(id, _)| *id).collect();
                ids.into_iter().for_each(|id| inner.break_call(id));
            }),
        );
    }

    /// All ways are whole again.
    pub(super) fn join_all(&self) {
        let mut inner = self.0.lock();
        inner.cut.clear();
        // At once, and so in order: what is sent from now on comes later.
        for (_, _, event) in std::mem::take(&mut inner.held) {
            inner.delivered += 1;
            event(&mut inner);
        }
    }

    /// These ways are whole again, each from the first host to the second.
    pub(super) fn join(&self, ways: &BTreeSet<(Host, Host)>) {
        let mut inner = self.0.lock();
        inner.cut.retain(|way, _| !ways.contains(way));
        let (now, later) = std::mem::take(&mut inner.held)
            .into_iter()
            .partition(|(from, to, _)| ways.contains(&(*from, *to)));
        inner.held = later;
        let now: Vec<(Host, Host, Event)> = now;
        for (_, _, event) in now {
            inner.delivered += 1;
            event(&mut inner);
        }
    }

    /// Has `job` done at `to`; at the earliest after one message's time. `refused` is called at `from`
    /// when nobody is there.
    pub(super) fn ask(
        &self,
        from: Host,
        to: Host,
        job: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
        refused: impl FnOnce() + Send + 'static,
    ) {
        let mut inner = self.0.lock();
        let event = move |inner: &mut Inner| match &inner.hosts[to] {
            Some(host) => {
                let _ = host.send(Incoming::Job(Box::new(job)));
            }
            None => {
                inner.send(to, from, 0, Box::new(move |_| refused()));
            }
        };
        inner.send(from, to, 0, Box::new(event));
    }

    /// Has `event` happen at `to` after one message's time, and not before `not_before`; when.
    pub(super) fn tell(
        &self,
        from: Host,
        to: Host,
        not_before: u64,
        event: impl FnOnce() + Send + 'static,
    ) -> u64 {
        self.0.lock().send(from, to, not_before, Box::new(move |_| event()))
    }

    /// What `host` answers calls with: run on its own runtime.
    pub(super) fn handle(&self, id: u64, request: PeerRequest, answers: &PeerAnswers) {
        let answered = answers(request);
        let network = self.clone();
        let handler = tokio::spawn(async move {
            let (head, body) = answered.await.into_parts();
            network.answer(id, head);
            network.pump(id, 1, body).await;
        });
        if let Some(call) = self.0.lock().calls.get_mut(&id) {
            call.handler = Some(handler.abort_handle());
        } else {
            handler.abort();
        }
    }

    /// Nobody answers yet at the one called.
    pub(super) fn refuse(&self, id: u64) {
        let mut inner = self.0.lock();
        if let Some((from, to)) = inner.calls.get(&id).map(|call| (call.from, call.to)) {
            inner.send(to, from, 0, Box::new(move |inner| inner.break_call(id)));
        }
    }

    fn answer(&self, id: u64, head: http::response::Parts) {
        let mut inner = self.0.lock();
        let (pieces, body) = mpsc::unbounded_channel();
        let Some(call) = inner.calls.get_mut(&id) else { return };
        call.bodies[1] = Some(pieces);
        let given = Given { up: inner.given_up.clone(), id, is_wanted: false };
        let body = Pieces { body, _call: Some(given) };
        let response = PeerResponse::from_parts(head, Body::new(body));
        inner.send_of(id, 1, move |call| {
            if let Some(answer) = call.answer.take() {
                let _ = answer.send(Ok(response));
            }
        });
    }

    /// Sends a body on, piece by piece, for as long as there is the call.
    async fn pump(&self, id: u64, direction: usize, mut body: Body) {
        let (ended, mut end) = oneshot::channel();
        match self.0.lock().calls.get_mut(&id) {
            Some(call) => call.pumps[direction] = Some(ended),
            None => return,
        }
        loop {
            let piece = tokio::select! {
                biased;
                _ = &mut end => return,
                frame = body.frame() => match frame {
                    Some(Ok(frame)) => Piece::Frame(frame),
                    Some(Err(_)) => Piece::Broken,
                    None => Piece::End,
                },
            };
            let is_last = !matches!(piece, Piece::Frame(_));
            self.0.lock().send_of(id, direction, move |call| {
                if let Some(body) = &call.bodies[direction] {
                    let _ = body.send(piece);
                }
            });
            if is_last {
                return;
            }
        }
    }
}

/// A call that its caller no longer wants ends at the one called, too.
struct Given {
    up: Arc<Mutex<Vec<u64>>>,
    id: u64,
    is_wanted: bool,
}

impl Drop for Given {
    fn drop(&mut self) {
        // Noted, and done later: it may be dropped while the network is at work.
        if !self.is_wanted {
            self.up.lock().push(self.id);
        }
    }
}

/// A body as it comes in.
struct Pieces {
    body: mpsc::UnboundedReceiver<Piece>,
    _call: Option<Given>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Frame(frame)) => Some(Ok(frame)),
            Some(Piece::End) => None,
            Some(Piece::Broken) | None => Some(Err(Status::unavailable("the connection is broken"))),
        })
    }
}

/// The network as `host` has it.
pub(super) struct Socket {
    pub network: Network,
    pub host: Host,
    /// Host of each address.
    pub addresses: Arc<BTreeMap<String, Host>>,
    /// Set once the member answers.
    pub answers: Arc<Mutex<Option<PeerAnswers>>>,
}

impl PeerNetwork for Socket {
    fn call(&self, address: &str, request: PeerRequest) -> BoxFuture<'static, Result<PeerResponse, Status>> {
        let (network, from) = (self.network.clone(), self.host);
        let Some(&to) = self.addresses.get(address) else {
            let status = Status::unavailable(format!("nobody is at {address}"));
            return async move { Err(status) }.boxed();
        };
        let limit = request.headers().get("grpc-timeout").and_then(|value| limit(value.to_str().ok()?));
        let (head, body) = request.into_parts();
        let (answer, answered) = oneshot::channel();
        let (pieces, arriving) = mpsc::unbounded_channel();
        let id = {
            let mut inner = network.0.lock();
            inner.next += 1;
            let id = inner.next;
            let bodies = [Some(pieces), None];
            let call = Call {
                from,
                to,
                answer: Some(answer),
                bodies,
                handler: None,
                pumps: [None, None],
                not_before: [0; 2],
            };
            inner.calls.insert(id, call);
            let request = PeerRequest::from_parts(head, Body::new(Pieces { body: arriving, _call: None }));
            let at = inner.send(
                from,
                to,
                0,
                Box::new(move |inner| match &inner.hosts[to] {
                    Some(host) if inner.calls.contains_key(&id) => {
                        let _ = host.send(Incoming::Call { id, request: Box::new(request) });
                    }
                    _ if inner.dark[to] => {
                        let at = inner.now_ns + CONNECT_NS;
                        inner.at(at, Box::new(move |inner| inner.break_call(id)));
                    }
                    _ => {
                        inner.send(to, from, 0, Box::new(move |inner| inner.break_call(id)));
                    }
                }),
            );
            let patience = inner.now_ns + CONNECT_NS;
            let connecting = move |inner: &mut Inner| {
                let late = inner.cut.contains_key(&(from, to)) || inner.cut.contains_key(&(to, from));
                if late && inner.calls.get(&id).is_some_and(|call| call.answer.is_some()) {
                    inner.break_call(id);
                }
            };
            inner.at(patience, Box::new(connecting));
            if let Some(call) = inner.calls.get_mut(&id) {
                call.not_before[0] = at;
            }
            id
        };
        let given = Given { up: network.0.lock().given_up.clone(), id, is_wanted: false };
        async move {
            let mut given = given;
            let sending = network.clone();
            tokio::spawn(async move { sending.pump(id, 0, body).await });
            let answered = async { answered.await.unwrap_or_else(|_| Err(Status::unavailable("broken"))) };
            let response = match limit {
                Some(limit) => tokio::time::timeout(limit, answered)
                    .await
                    .unwrap_or_else(|_| Err(Status::cancelled("Timeout expired"))),
                None => answered.await,
            };
            if response.is_ok() {
                // From here on the answer's body has the call.
                given.is_wanted = true;
            }
            response
        }
        .boxed()
    }

    fn serve(&self, answers: PeerAnswers) {
        *self.answers.lock() = Some(answers);
    }
}

/// `grpc-timeout`: digits and a unit.
fn limit(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "n" => Duration::from_nanos(count),
        "u" => Duration::from_micros(count),
        "m" => Duration::from_millis(count),
        "S" => Duration::from_secs(count),
        "M" => Duration::from_secs(count * 60),
        "H" => Duration::from_secs(count * 3600),
        _ => return None,
    })
}
