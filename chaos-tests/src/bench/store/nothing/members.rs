//! Three members that replicate what they are asked and keep nothing in order behind it: one leads by
//! order, the others pass on what they are asked, and what two of three have synced is answered. No
//! elections, no terms, no state: the least that a write on three members can be here.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::StreamingService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::files::SyncedFile;

/// What comes meanwhile goes with the next, as in the store's own (`raft/src/replica/rounds.rs`).
const ROUNDS_MAX: usize = 2;
const GATHERED_MAX: usize = 4096;

pub(super) const ASK: &str = "/trireme.Nothing/Ask";
pub(super) const KEEP: &str = "/trireme.Nothing/Keep";

/// What is to be kept, in order.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Pieces {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pieces: Vec<Bytes>,
}

/// So many of the receiver's pieces are kept.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Upto {
    #[prost(uint64, tag = "1")]
    count: u64,
}

/// Who is told that what was asked is kept by a majority.
enum Asker {
    Call(oneshot::Sender<()>),
    Member(mpsc::UnboundedSender<Upto>, Upto),
}

struct Part {
    pieces: Vec<Bytes>,
    asker: Asker,
}

enum Event {
    Asked(Part),
    /// A follower that takes what is to be kept.
    Follower(mpsc::UnboundedSender<Pieces>),
    /// Member `of` has so many.
    Kept {
        of: usize,
        count: u64,
    },
}

/// The member that puts what is asked in order.
#[derive(Clone)]
pub(super) struct Leader {
    events: mpsc::UnboundedSender<Event>,
    /// Followers that came.
    followers: Arc<AtomicUsize>,
}

impl Leader {
    /// Its file is made at `path`; it answers once two followers have come.
    pub(super) fn start(path: &Path) -> Result<Leader> {
        let (events, queue) = mpsc::unbounded_channel();
        tokio::spawn(lead(SyncedFile::create(path)?, events.clone(), queue));
        Ok(Leader { events, followers: Arc::default() })
    }

    pub(super) async fn keep(&self, piece: Bytes) -> Result<(), Status> {
        let (done, kept) = oneshot::channel();
        let _ = self.events.send(Event::Asked(Part { pieces: vec![piece], asker: Asker::Call(done) }));
        kept.await.map_err(|_| Status::unavailable("nobody leads"))
    }
}

async fn lead(
    file: SyncedFile,
    own: mpsc::UnboundedSender<Event>,
    mut queue: mpsc::UnboundedReceiver<Event>,
) {
    let mut followers = Vec::new();
    let mut kept = vec![0];
    let mut asked: VecDeque<Part> = VecDeque::new();
    let mut rounds: VecDeque<(u64, Vec<Asker>)> = VecDeque::new();
    let mut last = 0;
    let mut events = Vec::new();
    while queue.recv_many(&mut events, GATHERED_MAX).await > 0 {
        for event in events.drain(..) {
            match event {
                Event::Asked(part) => asked.push_back(part),
                Event::Follower(follower) => {
                    followers.push(follower);
                    kept.push(0);
                }
                Event::Kept { of, count } => kept[of] = count,
            }
        }
        let mut sorted = kept.clone();
        sorted.sort_unstable();
        let committed = if sorted.len() < 3 { 0 } else { sorted[sorted.len() / 2] };
        while rounds.front().is_some_and(|(upto, _)| *upto <= committed) {
            for asker in rounds.pop_front().into_iter().flat_map(|(_, askers)| askers) {
                match asker {
                    Asker::Call(done) => drop(done.send(())),
                    Asker::Member(told, upto) => drop(told.send(upto)),
                }
            }
        }
        if rounds.len() < ROUNDS_MAX && !asked.is_empty() && kept.len() == 3 {
            let (mut pieces, mut askers) = (Vec::new(), Vec::new());
            for part in asked.drain(..) {
                pieces.extend(part.pieces);
                askers.push(part.asker);
            }
            last += pieces.len() as u64;
            for follower in &followers {
                let _ = follower.send(Pieces { pieces: pieces.clone() });
            }
            let (own, count) = (own.clone(), last);
            file.keep(pieces, move || drop(own.send(Event::Kept { of: 0, count })));
            rounds.push_back((last, askers));
        }
    }
}

/// Questions of a follower's own clients.
pub(super) struct Asks(pub Leader);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl StreamingService<Pieces> for Asks {
    type Response = Upto;
    type ResponseStream = Answers<Upto>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Pieces>>) -> Self::Future {
        let (leader, mut questions) = (self.0.clone(), request.into_inner());
        let (told, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut count = 0;
            while let Some(Ok(Pieces { pieces })) = questions.next().await {
                count += pieces.len() as u64;
                let asker = Asker::Member(told.clone(), Upto { count });
                let _ = leader.events.send(Event::Asked(Part { pieces, asker }));
            }
        });
        let answers = UnboundedReceiverStream::new(answers).map(Ok);
        std::future::ready(Ok(Response::new(Box::pin(answers))))
    }
}

/// What a follower is to keep, for the count of what it has.
pub(super) struct Keeps(pub Leader);

impl StreamingService<Upto> for Keeps {
    type Response = Pieces;
    type ResponseStream = Answers<Pieces>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Upto>>) -> Self::Future {
        let (leader, mut counts) = (self.0.clone(), request.into_inner());
        let of = 1 + leader.followers.fetch_add(1, Ordering::Relaxed);
        let (pieces, keep) = mpsc::unbounded_channel();
        let _ = leader.events.send(Event::Follower(pieces));
        tokio::spawn(async move {
            while let Some(Ok(Upto { count })) = counts.next().await {
                let _ = leader.events.send(Event::Kept { of, count });
            }
        });
        let keep = UnboundedReceiverStream::new(keep).map(Ok);
        std::future::ready(Ok(Response::new(Box::pin(keep))))
    }
}

/// A member that passes on what it is asked, and keeps what it is told.
#[derive(Clone)]
pub(super) struct Follower(mpsc::UnboundedSender<(Bytes, oneshot::Sender<()>)>);

impl Follower {
    pub(super) async fn start(path: &Path, leader: Channel) -> Result<Follower> {
        let file = SyncedFile::create(path)?;
        let (have, counts) = mpsc::unbounded_channel();
        let mut told = stream::<Upto, Pieces>(&leader, KEEP, counts).await.context("stream to keep")?;
        tokio::spawn(async move {
            let mut count = 0;
            while let Some(Ok(Pieces { pieces })) = told.next().await {
                count += pieces.len() as u64;
                let (have, upto) = (have.clone(), Upto { count });
                file.keep(pieces, move || {
                    let _ = have.send(upto);
                });
            }
        });
        let (ask, questions) = mpsc::unbounded_channel();
        let mut answers = stream::<Pieces, Upto>(&leader, ASK, questions).await.context("stream to ask")?;
        let (asked, mut queue) = mpsc::unbounded_channel::<(Bytes, oneshot::Sender<()>)>();
        let waiting = Arc::new(Mutex::new(VecDeque::new()));
        let waits = waiting.clone();
        tokio::spawn(async move {
            let mut calls = Vec::new();
            while queue.recv_many(&mut calls, GATHERED_MAX).await > 0 {
                let (pieces, done): (Vec<_>, Vec<_>) = calls.drain(..).unzip();
                waits.lock().extend(done);
                let _ = ask.send(Pieces { pieces });
            }
        });
        tokio::spawn(async move {
            let mut had = 0;
            while let Some(Ok(Upto { count })) = answers.next().await {
                for done in waiting.lock().drain(..(count - had) as usize) {
                    let _ = done.send(());
                }
                had = count;
            }
        });
        Ok(Follower(asked))
    }

    pub(super) async fn keep(&self, piece: Bytes) -> Result<(), Status> {
        let (done, kept) = oneshot::channel();
        let _ = self.0.send((piece, done));
        kept.await.map_err(|_| Status::unavailable("the leader is gone"))
    }
}

async fn stream<Q, A>(
    leader: &Channel,
    path: &'static str,
    sent: mpsc::UnboundedReceiver<Q>,
) -> Result<Streaming<A>>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(leader.clone())
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let request = Request::new(UnboundedReceiverStream::new(sent));
    Ok(grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner())
}
