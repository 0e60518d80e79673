//! Streams of questions, with a leader that answers out of order or not at all, ends them, or does not know
//! them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::body::Body;

use super::forward::{ASKS_MAX, Ways, answers};
use super::line::{Line, PeerAnswers, PeerNetwork, PeerRequest, PeerResponse};
use super::server::Upcalls;
use crate::peer::pb;
use crate::peer::pb::forward_request::Ask;
use crate::peer::pb::forward_response::Answer;
use crate::peer::pb::peer_client::PeerClient;
use crate::types::{LogId, MemberId, log_id};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A leader that answers two questions of a stream at a time, the later one first.
#[derive(Default)]
struct Leader {
    /// It knows calls alone.
    is_older: bool,
    /// It ends each stream with the first pair, of which it answers one.
    ends_early: bool,
    /// It reads no stream until it is told to.
    is_deaf: bool,
    told: Arc<Notify>,
    paths: Arc<Mutex<Vec<String>>>,
    /// The questions that it heard, by their ids.
    heard: Arc<Mutex<Vec<u64>>>,
    /// Told when who asks has ended a stream.
    ended: Arc<Notify>,
}

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

/// The messages of a piece of a body: whole ones, since these bodies are never cut.
fn unframed<M: Message + Default>(frame: Frame<Bytes>) -> Vec<M> {
    let mut bytes = frame.into_data().ok().unwrap();
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        bytes.advance(1);
        let length = bytes.get_u32() as usize;
        messages.push(M::decode(bytes.split_to(length)).unwrap());
    }
    messages
}

/// A reply that says in its one result how many commands there were.
fn counted(request: &pb::ProposeRequest) -> pb::ProposeResponse {
    let outcome = pb::propose_result::Result::Outcome(vec![request.commands.len() as u8].into());
    pb::ProposeResponse { results: vec![pb::ProposeResult { result: Some(outcome) }] }
}

fn answered(request: pb::ForwardRequest) -> Bytes {
    let Some(Ask::Propose(propose)) = request.ask else { panic!("another question than was asked") };
    framed(&pb::ForwardResponse { id: request.id, answer: Some(Answer::Propose(counted(&propose))) })
}

impl PeerNetwork for Leader {
    fn call(&self, _: &str, request: PeerRequest) -> BoxFuture<'static, Result<PeerResponse, Status>> {
        let path = request.uri().path().rsplit('/').next().unwrap().to_owned();
        self.paths.lock().push(path.clone());
        let (is_older, ends_early, ended) = (self.is_older, self.ends_early, self.ended.clone());
        let (is_deaf, told, heard) = (self.is_deaf, self.told.clone(), self.heard.clone());
        Box::pin(async move {
            let response = http::Response::builder().header("content-type", "application/grpc");
            if path == "Forward" && is_older {
                return Ok(response.header("grpc-status", "12").body(Body::empty()).unwrap());
            }
            let mut body = request.into_body();
            let (frames, out) = mpsc::unbounded_channel::<Result<Frame<Bytes>, Status>>();
            tokio::spawn(async move {
                if is_deaf {
                    told.notified().await;
                }
                let mut waits: Option<pb::ForwardRequest> = None;
                'stream: while let Some(Ok(frame)) = body.frame().await {
                    if path == "Propose" {
                        let _ = frames.send(Ok(Frame::data(framed(&counted(&unframed(frame)[0])))));
                        break;
                    }
                    for asked in unframed::<pb::ForwardRequest>(frame) {
                        heard.lock().push(asked.id);
                        if matches!(asked.ask, Some(Ask::ReadIndex(_))) {
                            let answer = Some(Answer::ReadIndex(pb::ReadIndexResponse::default()));
                            let answer = pb::ForwardResponse { id: asked.id, answer };
                            let _ = frames.send(Ok(Frame::data(framed(&answer))));
                            continue;
                        }
                        let Some(first) = waits.take() else {
                            waits = Some(asked);
                            continue;
                        };
                        let _ = frames.send(Ok(Frame::data(answered(asked))));
                        if ends_early {
                            break 'stream;
                        }
                        let _ = frames.send(Ok(Frame::data(answered(first))));
                    }
                }
                ended.notify_one();
                let mut end = http::HeaderMap::new();
                end.insert("grpc-status", http::HeaderValue::from_static("0"));
                let _ = frames.send(Ok(Frame::trailers(end)));
            });
            let body = StreamBody::new(UnboundedReceiverStream::new(out).boxed());
            Ok(response.body(Body::new(body)).unwrap())
        })
    }

    fn serve(&self, _: PeerAnswers) {}
}

async fn ask_within(
    ways: &Ways,
    network: &Arc<Leader>,
    ask: Ask,
    timeout: Duration,
) -> Result<Answer, Status> {
    let network: Arc<dyn PeerNetwork> = network.clone();
    let client = PeerClient::new(Line::Simulated { network, address: "a".into() });
    ways.ask(client, 1, MemberId(1), "a", ask, timeout).await
}

fn with_commands(commands: usize) -> Ask {
    Ask::Propose(pb::ProposeRequest { commands: vec![Bytes::new(); commands] })
}

/// Asks with so many commands; the number in the answer, or nothing where there was none.
async fn ask(ways: &Ways, network: &Arc<Leader>, commands: usize) -> Option<u8> {
    match ask_within(ways, network, with_commands(commands), TIMEOUT).await {
        Ok(Answer::Propose(answer)) => match answer.results[0].result.clone().unwrap() {
            pb::propose_result::Result::Outcome(bytes) => Some(bytes[0]),
            _ => panic!("no outcome"),
        },
        Ok(Answer::ReadIndex(_)) => panic!("another answer than was asked for"),
        Err(_) => None,
    }
}

#[tokio::test]
async fn each_answer_goes_to_who_asked_for_it_over_one_stream() {
    let (ways, leader) = (Ways::default(), Arc::new(Leader::default()));
    for _ in 0..3 {
        let both = tokio::join!(ask(&ways, &leader, 3), ask(&ways, &leader, 7));
        assert_eq!(both, (Some(3), Some(7)));
    }
    assert_eq!(*leader.paths.lock(), ["Forward"]);
}

#[tokio::test]
async fn who_waits_when_a_stream_ends_is_told_and_the_next_begins_another() {
    let (ways, leader) = (Ways::default(), Arc::new(Leader { ends_early: true, ..Leader::default() }));
    for _ in 0..2 {
        let began = std::time::Instant::now();
        let both = tokio::join!(ask(&ways, &leader, 3), ask(&ways, &leader, 7));
        assert_eq!(both, (None, Some(7)));
        assert!(began.elapsed() < TIMEOUT, "it was told by the end, not by its time");
    }
    assert_eq!(*leader.paths.lock(), ["Forward", "Forward"]);
}

#[tokio::test]
async fn an_older_leader_is_asked_by_calls() {
    let (ways, leader) = (Ways::default(), Arc::new(Leader { is_older: true, ..Leader::default() }));
    assert_eq!(ask(&ways, &leader, 3).await, None, "it is found with the first question");
    assert_eq!(ask(&ways, &leader, 3).await, Some(3));
    assert_eq!(ask(&ways, &leader, 7).await, Some(7));
    assert_eq!(*leader.paths.lock(), ["Forward", "Propose", "Propose"]);
}

#[tokio::test]
async fn a_stream_ends_with_those_who_ask() {
    let (ways, leader) = (Ways::default(), Arc::new(Leader::default()));
    assert_eq!(tokio::join!(ask(&ways, &leader, 3), ask(&ways, &leader, 7)), (Some(3), Some(7)));
    drop(ways);
    tokio::time::timeout(TIMEOUT, leader.ended.notified()).await.expect("the leader saw the end of it");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_sent() {
    let (ways, leader) = (Ways::default(), Arc::new(Leader { is_deaf: true, ..Leader::default() }));
    for commands in 0..2 {
        let given_up = ask_within(&ways, &leader, with_commands(commands), Duration::from_millis(20)).await;
        assert_eq!(given_up.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }
    leader.told.notify_one();
    assert_eq!(tokio::join!(ask(&ways, &leader, 3), ask(&ways, &leader, 7)), (Some(3), Some(7)));
    assert_eq!(*leader.heard.lock(), [2, 3]);
}

#[tokio::test]
async fn reads_are_not_behind_writes() {
    let (ways, leader) = (Ways::default(), Arc::new(Leader::default()));
    let read = async {
        let answer = ask_within(&ways, &leader, Ask::ReadIndex(pb::ReadIndexRequest {}), TIMEOUT).await;
        assert!(matches!(answer, Ok(Answer::ReadIndex(_))));
        ask(&ways, &leader, 7).await
    };
    assert_eq!(tokio::join!(ask(&ways, &leader, 3), read), (Some(3), Some(7)));
    assert_eq!(*leader.paths.lock(), ["Forward", "Forward"]);
}

/// A leader whose writes stand.
struct Standing;

#[tonic::async_trait]
impl Upcalls for Standing {
    async fn propose(&self, _: pb::ProposeRequest) -> pb::ProposeResponse {
        std::future::pending().await
    }

    async fn read_index(&self) -> Option<LogId> {
        Some(log_id(1, 1))
    }

    fn identify(&self) -> pb::IdentifyResponse {
        unreachable!("not over a stream")
    }

    fn incarnation(&self) -> u64 {
        unreachable!("not over a stream")
    }

    fn booted(&self, _: &pb::BootedRequest) -> std::io::Result<pb::BootedResponse> {
        unreachable!("not over a stream")
    }

    async fn lease_keep_alive(&self, _: i64) -> pb::LeaseResponse {
        unreachable!("not over a stream")
    }

    async fn lease_time_to_live(&self, _: i64) -> pb::LeaseResponse {
        unreachable!("not over a stream")
    }

    fn marked_hash(&self, _: u64) -> Option<u128> {
        unreachable!("not over a stream")
    }

    async fn change_members(&self, _: pb::MemberChange) -> pb::ChangeMembersResponse {
        unreachable!("not over a stream")
    }

    async fn join(&self, _: pb::JoinRequest) -> pb::JoinResponse {
        unreachable!("not over a stream")
    }
}

#[tokio::test]
async fn what_is_given_up_leaves_its_place_to_others() {
    let count = ASKS_MAX as u64;
    let questions = (0..=count).map(|id| {
        let ask = if id < count { with_commands(1) } else { Ask::ReadIndex(pb::ReadIndexRequest {}) };
        Ok(pb::ForwardRequest { id, ask: Some(ask), within_ms: 50 })
    });
    let answers = answers(futures::stream::iter(questions), Arc::new(Standing)).collect::<Vec<_>>();
    let answers = tokio::time::timeout(TIMEOUT, answers).await.expect("none stands for good");
    let answered = answers.into_iter().map(Result::unwrap).filter(|answer| answer.answer.is_some());
    assert_eq!(answered.map(|answer| answer.id).collect::<Vec<_>>(), [count]);
}
