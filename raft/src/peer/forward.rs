//! What members ask of the leader on behalf of their clients: writes over one stream to it, the positions
//! of reads over another.
//!
//! A call is three frames on its way (its head, its message, its end), and with one client each of them
//! is a write, a packet and a waking of the other side of its own. On a stream it is one. A stream is in
//! order, so that reads have one of their own: they wait neither for the bytes of writes nor for writes
//! that stand, as they do while the leader's disk is full.

use std::collections::HashMap;
use std::mem::Discriminant;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use super::line::Line;
use super::server::Upcalls;
use super::{addressed, wire};
use crate::peer::pb;
use crate::peer::pb::forward_request::Ask;
use crate::peer::pb::forward_response::Answer;
use crate::peer::pb::peer_client::PeerClient;
use crate::types::{LogId, MemberId};

/// Questions of one stream that are being answered, each for as long as who asks waits; who asks more
/// waits for one of them to end.
pub(super) const ASKS_MAX: usize = 1024;
/// A member without such streams is asked by calls for so long, before it is tried again: it may have
/// been upgraded.
const OLDER_FOR: Duration = Duration::from_secs(10);

/// The streams to those that were asked as leaders.
#[derive(Default)]
pub(super) struct Ways(Mutex<HashMap<Direction, Arc<Way>>>);

/// Member, address, the runtime that drives the stream, and what is asked over it.
type Direction = (MemberId, String, runtime::Id, Discriminant<Ask>);

impl Ways {
    /// What `leader` of `cluster` at `address`, to which `client` leads, answers. An error: it may have
    /// heard the question or not.
    pub(super) async fn ask(
        &self,
        client: PeerClient<Line>,
        cluster: u64,
        leader: MemberId,
        address: &str,
        ask: Ask,
        timeout: Duration,
    ) -> Result<Answer, Status> {
        let runtime = runtime::Handle::current().id();
        let key = (leader, address.to_owned(), runtime, std::mem::discriminant(&ask));
        let way = {
            let mut ways = self.0.lock();
            match ways.get(&key) {
                Some(way) if way.is_usable() => way.clone(),
                _ => {
                    let way = Way::open(client.clone(), cluster, leader);
                    ways.insert(key, way.clone());
                    way
                }
            }
        };
        if way.is_older() {
            return call(client, cluster, leader, ask, timeout).await;
        }
        let late = |_| Status::deadline_exceeded("the leader did not answer in time");
        tokio::time::timeout(timeout, way.ask(ask, timeout)).await.map_err(late)?
    }
}

/// The stream to one member, for as long as it lasts or is wanted: it ends with the last of those who ask.
struct Way {
    asked: Arc<Mutex<Asked>>,
    /// Ids of questions: what nobody waits for any more by its turn is not sent, and not kept until then.
    queue: mpsc::UnboundedSender<u64>,
}

/// Who waits for which answer; nobody once the stream has ended.
#[derive(Default)]
struct Asked {
    next: u64,
    has_ended: bool,
    waiting: HashMap<u64, Waiting>,
    /// When it was found that the member does not know such streams.
    older: Option<Instant>,
}

struct Waiting {
    /// `None` once it was sent.
    ask: Option<Ask>,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Asked {
    /// The question `id`, for the first time and if somebody waits for its answer.
    fn request_for(&mut self, id: u64) -> Option<pb::ForwardRequest> {
        let waiting = self.waiting.get_mut(&id)?;
        let within = waiting.deadline.saturating_duration_since(Instant::now());
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        Some(pb::ForwardRequest { id, ask: Some(waiting.ask.take()?), within_ms })
    }
}

/// A question of which nobody waits for the answer any more, once this is dropped.
struct Withdrawn<'w> {
    asked: &'w Mutex<Asked>,
    id: u64,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        self.asked.lock().waiting.remove(&self.id);
    }
}

impl Way {
    /// Begins a stream to `leader` of `cluster` by `client`, on the runtime that this is called on.
    fn open(mut client: PeerClient<Line>, cluster: u64, leader: MemberId) -> Arc<Way> {
        let (queue, ids) = mpsc::unbounded_channel();
        let asked = Arc::<Mutex<Asked>>::default();
        let way = Arc::new(Way { asked: asked.clone(), queue });
        tokio::spawn(async move {
            let waiting = asked.clone();
            let ids = UnboundedReceiverStream::new(ids);
            let requests = ids.filter_map(move |id| std::future::ready(waiting.lock().request_for(id)));
            let requests = addressed(cluster, leader, requests, None);
            let ended = match client.forward(requests).await {
                Ok(answers) => read(answers.into_inner(), &asked).await,
                Err(status) => status,
            };
            tracing::debug!(%leader, status = %ended, "a stream of questions to the leader ended");
            let mut asked = asked.lock();
            asked.older = (ended.code() == Code::Unimplemented).then(Instant::now);
            asked.has_ended = true;
            asked.waiting.clear();
        });
        way
    }

    /// Whether there is a reason not to begin another stream.
    fn is_usable(&self) -> bool {
        self.is_older() || !self.asked.lock().has_ended
    }

    /// The member knows calls alone, as far as is known.
    fn is_older(&self) -> bool {
        self.asked.lock().older.is_some_and(|since| since.elapsed() < OLDER_FOR)
    }

    /// The answer to one question, which is asked for no longer than `timeout`, or than this is awaited. An
    /// error: it may have been heard or not.
    async fn ask(&self, ask: Ask, timeout: Duration) -> Result<Answer, Status> {
        let ended = || Status::unavailable("the stream to the leader ended");
        let (waits, answer) = oneshot::channel();
        let id = {
            let mut asked = self.asked.lock();
            if asked.has_ended {
                return Err(ended());
            }
            let id = asked.next;
            asked.next += 1;
            let deadline = Instant::now() + timeout;
            asked.waiting.insert(id, Waiting { ask: Some(ask), deadline, answer: waits });
            let _ = self.queue.send(id);
            id
        };
        let _withdrawn = Withdrawn { asked: &self.asked, id };
        answer.await.map_err(|_| ended())
    }
}

/// Hands answers to who waits for them, until the stream ends: why it did.
async fn read(
    mut answers: impl Stream<Item = Result<pb::ForwardResponse, Status>> + Unpin,
    asked: &Mutex<Asked>,
) -> Status {
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(pb::ForwardResponse { id, answer }) => {
                let waits = asked.lock().waiting.remove(&id);
                if let (Some(waits), Some(answer)) = (waits, answer) {
                    let _ = waits.answer.send(answer);
                }
            }
            Err(status) => return status,
        }
    }
    Status::unavailable("the leader ended it")
}

/// The same by a call of its own.
async fn call(
    mut client: PeerClient<Line>,
    cluster: u64,
    leader: MemberId,
    ask: Ask,
    timeout: Duration,
) -> Result<Answer, Status> {
    let timeout = Some(timeout);
    Ok(match ask {
        Ask::Propose(request) => {
            let answer = client.propose(addressed(cluster, leader, request, timeout)).await?;
            Answer::Propose(answer.into_inner())
        }
        Ask::ReadIndex(request) => {
            let answer = client.read_index(addressed(cluster, leader, request, timeout)).await?;
            Answer::ReadIndex(answer.into_inner())
        }
    })
}

/// Answers the questions of one stream, each when it can be; with nothing those that could not be for as
/// long as who asks waits.
pub(super) fn answers(
    asks: impl Stream<Item = Result<pb::ForwardRequest, Status>>,
    upcalls: Arc<dyn Upcalls>,
) -> impl Stream<Item = Result<pb::ForwardResponse, Status>> {
    asks.map(move |asked| {
        let upcalls = upcalls.clone();
        async move {
            let pb::ForwardRequest { id, ask, within_ms } = asked?;
            let answer = async {
                Some(match ask? {
                    Ask::Propose(request) => Answer::Propose(upcalls.propose(request).await),
                    Ask::ReadIndex(_) => Answer::ReadIndex(read_index(upcalls.read_index().await)),
                })
            };
            let within = Duration::from_millis(within_ms.into());
            let answer = tokio::time::timeout(within, answer).await.ok().flatten();
            Ok(pb::ForwardResponse { id, answer })
        }
    })
    .buffer_unordered(ASKS_MAX)
}

pub(super) fn read_index(position: Option<LogId>) -> pb::ReadIndexResponse {
    pb::ReadIndexResponse { position: wire::position(position) }
}
