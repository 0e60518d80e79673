//! Streams of questions, with a leader that answers out of order, ends them, or does not know them.

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

use super::forward::Ways;
use super::line::{Line, PeerAnswers, PeerNetwork, PeerRequest, PeerResponse};
use crate::peer::pb;
use crate::peer::pb::forward_request::Ask;
use crate::peer::pb::forward_response::Answer;
use crate::peer::pb::peer_client::PeerClient;
use crate::types::MemberId;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A leader that answers two questions of a stream at a time, the later one first.
#[derive(Default)]
struct Leader {
    /// It knows calls alone.
    is_older: bool,
    /// It ends each stream with the first pair, of which it answers one.
    ends_early: bool,
    paths: Arc<Mutex<Vec<String>>>,
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
        Box::pin(async move {
            let response = http::Response::builder().header("content-type", "application/grpc");
            if path == "Forward" && is_older {
                return Ok(response.header("grpc-status", "12").body(Body::empty()).unwrap());
            }
            let mut body = request.into_body();
            let (frames, out) = mpsc::unbounded_channel::<Result<Frame<Bytes>, Status>>();
            tokio::spawn(async move {
                let mut waits: Option<pb::ForwardRequest> = None;
                'stream: while let Some(Ok(frame)) = body.frame().await {
                    if path == "Propose" {
                        let _ = frames.send(Ok(Frame::data(framed(&counted(&unframed(frame)[0])))));
                        break;
                    }
                    for asked in unframed(frame) {
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

/// Asks with so many commands; the number in the answer, or nothing where there was none.
async fn ask(ways: &Ways, network: &Arc<Leader>, commands: usize) -> Option<u8> {
    let network: Arc<dyn PeerNetwork> = network.clone();
    let client = PeerClient::new(Line::Simulated { network, address: "a".into() });
    let ask = Ask::Propose(pb::ProposeRequest { commands: vec![Bytes::new(); commands] });
    match ways.ask(client, 1, MemberId(1), "a", ask, TIMEOUT).await {
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
