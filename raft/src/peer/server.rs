//! The peer service: what other members ask of this one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use openraft::storage::Snapshot;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use trireme_store::Store;
use trireme_store::log::Command;
use trireme_store::planted::{self, Bug};

use super::contact::Contact;
use super::gate::Gate;
use super::snapshot::{self, SnapshotDirs};
use super::{CLUSTER, TO, forward, wire};
use crate::log::Log;
use crate::machine::{Machine, SnapshotData};
use crate::metrics::{Metrics, now_ns};
use crate::peer::pb;
use crate::peer::pb::peer_server::Peer;
use crate::types::{Entry, LogId, MemberId, Payload, TypeConfig, Vote};

/// Answers to appends that wait for the network; the core waits past it.
const ANSWERS_MAX: usize = 64;
/// Between two looks whether the disk has room for what the leader sends.
const ROOM_POLL: Duration = Duration::from_millis(50);

/// A term further above ours than this is refused: no number of elections leads there, and after the
/// last term there is none to elect in.
const TERMS_AHEAD_MAX: u64 = 1 << 32;

/// What the peer service asks of the member for other members' clients.
#[tonic::async_trait]
pub(crate) trait Upcalls: Send + Sync + 'static {
    fn identify(&self) -> pb::IdentifyResponse;
    fn incarnation(&self) -> u64;
    fn booted(&self, request: &pb::BootedRequest) -> std::io::Result<pb::BootedResponse>;
    async fn propose(&self, request: pb::ProposeRequest) -> pb::ProposeResponse;
    async fn read_index(&self) -> Option<LogId>;
    async fn lease_keep_alive(&self, lease: i64) -> pb::LeaseResponse;
    async fn lease_time_to_live(&self, lease: i64) -> pb::LeaseResponse;
    fn marked_hash(&self, index: u64) -> Option<u128>;
    async fn change_members(&self, change: pb::MemberChange) -> pb::ChangeMembersResponse;
    async fn join(&self, request: pb::JoinRequest) -> pb::JoinResponse;
}

pub(crate) struct PeerService {
    cluster: String,
    cluster_id: u64,
    member: MemberId,
    raft: Raft<TypeConfig, Machine>,
    log: Log,
    store: Store,
    contact: Arc<Contact>,
    dirs: Arc<SnapshotDirs>,
    gate: Arc<Gate>,
    upcalls: Arc<dyn Upcalls>,
    metrics: Arc<Metrics>,
}

impl PeerService {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        cluster: String,
        cluster_id: u64,
        member: MemberId,
        raft: Raft<TypeConfig, Machine>,
        log: Log,
        store: Store,
        contact: Arc<Contact>,
        dirs: Arc<SnapshotDirs>,
        upcalls: Arc<dyn Upcalls>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let gate = Arc::default();
        Self { cluster, cluster_id, member, raft, log, store, contact, dirs, gate, upcalls, metrics }
    }

    /// Refuses what is meant for another member or another cluster.
    fn check_addressee<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let named =
            |key| request.metadata().get(key).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if named(CLUSTER) != Some(self.cluster_id) {
            return Err(Status::failed_precondition(format!(
                "this member belongs to cluster {:?}",
                self.cluster
            )));
        }
        if named(TO) != Some(self.member.0) {
            return Err(Status::failed_precondition(format!(
                "this is member {}, and not the one called",
                self.member
            )));
        }
        Ok(())
    }

    /// Refuses who asks for another cluster, before it knows this member's id.
    fn check_cluster(&self, asked: &str) -> Result<(), Status> {
        if asked != self.cluster {
            return Err(Status::failed_precondition(format!(
                "this member belongs to cluster {:?}, not {asked:?}",
                self.cluster
            )));
        }
        Ok(())
    }

    fn stopped(error: impl std::fmt::Display) -> Status {
        Status::unavailable(format!("this member is stopping: {error}"))
    }
}

/// Refuses votes and leaders of a term that cannot be.
fn check_term(raft: &Raft<TypeConfig, Machine>, vote: &Vote) -> Result<(), Status> {
    let (ours, theirs) = (raft.metrics().borrow_watched().current_term, vote.leader_id.term);
    if theirs > ours.saturating_add(TERMS_AHEAD_MAX) {
        tracing::error!(ours, theirs, "a peer speaks of a term that cannot be");
        return Err(Status::out_of_range(format!("term {theirs} is too far from this member's, {ours}")));
    }
    Ok(())
}

/// What a member that asks for a vote says of itself.
fn asked(mut request: openraft::raft::VoteRequest<TypeConfig>) -> openraft::raft::VoteRequest<TypeConfig> {
    if planted::is(Bug::VoteForAll) {
        request.last_log_id = Some(crate::types::log_id(request.vote.leader_id.term, u64::MAX));
    }
    request
}

/// Reads one stream of entries, in order, each counted in at the gate. Ends with the connection.
struct Inbound {
    messages: tonic::Streaming<pb::AppendRequest>,
    gate: Arc<Gate>,
    contact: Arc<Contact>,
    log: Log,
    requests: mpsc::Sender<AppendEntriesRequest<TypeConfig>>,
    raft: Raft<TypeConfig, Machine>,
}

impl Inbound {
    async fn run(mut self) {
        let mut leader: Option<Vote> = None;
        loop {
            let request = match self.messages.message().await {
                Ok(Some(message)) => wire::read_append_request(message)
                    .and_then(|request| check_term(&self.raft, &request.vote).map(|()| request)),
                Ok(None) => break,
                Err(status) => Err(status),
            };
            let request = match request {
                Ok(request) => request,
                Err(status) => {
                    tracing::debug!(%status, "a stream of entries ended");
                    break;
                }
            };
            self.contact.heard(&request.vote);
            leader = Some(request.vote);
            // An append without room would keep votes waiting behind it: the leader waits instead.
            while !request.entries.is_empty() && !self.has_room_for(&request.entries) {
                tokio::time::sleep(ROOM_POLL).await;
            }
            self.gate.enter().await;
            if self.requests.send(request).await.is_err() {
                self.gate.leave();
                return;
            }
        }
        if let Some(leader) = leader {
            self.contact.connection_lost(&leader);
        }
    }
}

impl Inbound {
    fn has_room_for(&self, entries: &[Entry]) -> bool {
        self.log.takes_appends(false) || self.log.takes_appends(true) && entries.iter().all(frees_space)
    }
}

/// Whether an entry makes the state smaller, or is needed to elect a leader that does so.
fn frees_space(entry: &Entry) -> bool {
    match &entry.payload {
        Payload::Blank | Payload::Membership(_) => true,
        Payload::Normal(proposal) => {
            let command = Command::decode(proposal.bytes.clone());
            command.is_ok_and(|command| command.op.frees_space())
        }
    }
}

/// Hands requests to openraft without waiting for the answers of those before, and answers in
/// order. Every request taken is answered, or the gate would stay shut; but what would only repeat the
/// answer before it, as that to each committed position does, is kept from the leader.
async fn append_in_order(
    raft: Raft<TypeConfig, Machine>,
    gate: Arc<Gate>,
    mut requests: mpsc::Receiver<AppendEntriesRequest<TypeConfig>>,
    answers: mpsc::Sender<Result<pb::AppendResponse, Status>>,
) {
    let one_more = |request: AppendEntriesRequest<TypeConfig>| {
        let (raft, brought) = (raft.clone(), !request.entries.is_empty());
        async move { (brought, append_one(raft, request).await) }
    };
    let mut under_way = FuturesOrdered::new();
    let mut open = true;
    let mut told: Option<Option<LogId>> = None;
    loop {
        tokio::select! {
            biased;
            Some(answered) = under_way.next(), if !under_way.is_empty() => {
                gate.leave();
                let (brought, result): (bool, Result<StreamAppendResult<TypeConfig>, Status>) = answered;
                let matched = match &result {
                    Ok(Ok(matched)) => Some(*matched),
                    _ => None,
                };
                if !brought && matched.is_some() && matched == told {
                    continue;
                }
                told = matched;
                let _ = answers.send(result.map(|result| wire::append_response(&result))).await;
                if matched.is_none() {
                    // The leader starts a new stream; what it sent on this one is void.
                    break;
                }
            }
            request = requests.recv(), if open && under_way.len() < ANSWERS_MAX => match request {
                Some(request) => under_way.push_back(one_more(request)),
                None => open = false,
            },
            else => return,
        }
    }
    drop(answers);
    requests.close();
    while under_way.next().await.is_some() {
        gate.leave();
    }
    while requests.recv().await.is_some() {
        gate.leave();
    }
}

async fn append_one(
    raft: Raft<TypeConfig, Machine>,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<StreamAppendResult<TypeConfig>, Status> {
    let previous = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(previous);
    if planted::is(Bug::AppendNotTaken)
        && request.entries.iter().any(|entry| entry.log_id.index.is_multiple_of(50))
    {
        return Ok(Ok(last));
    }
    let response = raft.append_entries(request).await.map_err(PeerService::stopped)?;
    Ok(stream_result(response, previous, last))
}

fn stream_result(
    response: AppendEntriesResponse<TypeConfig>,
    previous: Option<LogId>,
    last: Option<LogId>,
) -> StreamAppendResult<TypeConfig> {
    match (response, previous) {
        // Nothing conflicts with "from the beginning".
        (AppendEntriesResponse::Conflict, None) => Ok(None),
        (response, previous) => response.into_stream_result(previous, last),
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<pb::AppendResponse, Status>> + Send>>;
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<pb::ForwardResponse, Status>> + Send>>;

    async fn identify(
        &self,
        request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyResponse>, Status> {
        self.check_cluster(&request.into_inner().cluster)?;
        Ok(Response::new(self.upcalls.identify()))
    }

    async fn booted(
        &self,
        request: Request<pb::BootedRequest>,
    ) -> Result<Response<pb::BootedResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let upcalls = self.upcalls.clone();
        // It is on the disk before it is answered.
        let heard = trireme_store::work::blocking(move || upcalls.booted(&request)).await;
        let heard = heard.map_err(|error| Status::internal(error.to_string()))?;
        heard.map(Response::new).map_err(|error| Status::unavailable(error.to_string()))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        self.check_addressee(&request)?;
        let request = asked(wire::read_vote_request(request.into_inner())?);
        check_term(&self.raft, &request.vote)?;
        let response = self.raft.vote(request).await.map_err(Self::stopped)?;
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        self.check_addressee(&request)?;
        let request = asked(wire::read_vote_request(request.into_inner())?);
        check_term(&self.raft, &request.vote)?;
        let response = self.raft.pre_vote(request).await.map_err(Self::stopped)?;
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn append(
        &self,
        request: Request<tonic::Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.check_addressee(&request)?;
        let (requests, queue) = mpsc::channel(ANSWERS_MAX);
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let inbound = Inbound {
            messages: request.into_inner(),
            gate: self.gate.clone(),
            contact: self.contact.clone(),
            log: self.log.clone(),
            requests,
            raft: self.raft.clone(),
        };
        tokio::spawn(inbound.run());
        tokio::spawn(append_in_order(self.raft.clone(), self.gate.clone(), queue, answers));
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        self.check_addressee(&request)?;
        let mut request = wire::read_append_request(request.into_inner())?;
        check_term(&self.raft, &request.vote)?;
        self.contact.heard(&request.vote);
        let previous = request.prev_log_id;
        let counted = if request.entries.is_empty() {
            self.gate.try_enter()
        } else {
            self.gate.enter().await;
            true
        };
        if !counted {
            // A snapshot is being installed. The heartbeat still counts, but nothing may be
            // committed by it meanwhile.
            request.leader_commit = None;
        }
        // Answered in a task: a caller that gives up must not leave the gate counted in.
        let raft = self.raft.clone();
        let gate = self.gate.clone();
        let answer = tokio::spawn(async move {
            let answer = raft.append_entries(request).await;
            if counted {
                gate.leave();
            }
            answer
        });
        let response = answer.await.map_err(Self::stopped)?.map_err(Self::stopped)?;
        let result = stream_result(response, previous, previous);
        let answer = wire::append_response(&result);
        Ok(Response::new(pb::AppendResponse {
            full: !self.log.has_room(),
            incarnation: self.upcalls.incarnation(),
            ..answer
        }))
    }

    async fn snapshot(
        &self,
        request: Request<tonic::Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        self.check_addressee(&request)?;
        let began_ns = now_ns();
        let received = snapshot::receive(&self.dirs, request.into_inner()).await?;
        self.metrics.snapshot_received.observe_ns(now_ns() - began_ns);
        check_term(&self.raft, &received.vote)?;
        // Before it is handed on: a snapshot that cannot be used is the sender's to send again, and
        // no reason for this member to end.
        let (store, dir) = (self.store.clone(), received.path());
        let checked = trireme_store::work::blocking(move || store.check_snapshot(&dir)).await;
        checked
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|fault| Status::failed_precondition(fault.to_string()))?;
        tracing::info!(
            log_index = received.meta.last_log_id.map(|id| id.index),
            from = %received.vote.leader_id.voted_for,
            "a snapshot was received; installing it"
        );
        // In a task, so that a leader that gives up does not open the gate half-way.
        let raft = self.raft.clone();
        let gate = self.gate.clone();
        let installed = tokio::spawn(async move {
            let _installing = gate.install().await;
            let snapshot =
                Snapshot { meta: received.meta.clone(), snapshot: SnapshotData::Received(received.path()) };
            raft.install_full_snapshot(received.vote, snapshot).await
        });
        let response = installed.await.map_err(Self::stopped)?.map_err(Self::stopped)?;
        Ok(Response::new(pb::SnapshotResponse { vote: wire::ballot(&response.vote) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        self.check_addressee(&request)?;
        let request = wire::read_transfer_request(request.into_inner())?;
        check_term(&self.raft, request.from_leader())?;
        let response = self.raft.handle_transfer_leader(request).await.map_err(Self::stopped)?;
        let refused = response.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(pb::TransferLeaderResponse { refused }))
    }

    async fn forward(
        &self,
        request: Request<tonic::Streaming<pb::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.check_addressee(&request)?;
        Ok(Response::new(forward::answers(request.into_inner(), self.upcalls.clone()).boxed()))
    }

    async fn propose(
        &self,
        request: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeResponse>, Status> {
        self.check_addressee(&request)?;
        Ok(Response::new(self.upcalls.propose(request.into_inner()).await))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        self.check_addressee(&request)?;
        Ok(Response::new(forward::read_index(self.upcalls.read_index().await)))
    }

    async fn marked_hash(
        &self,
        request: Request<pb::MarkedHashRequest>,
    ) -> Result<Response<pb::MarkedHashResponse>, Status> {
        self.check_addressee(&request)?;
        let hash = self.upcalls.marked_hash(request.into_inner().index);
        let hash = hash.map(|hash| hash.to_be_bytes().to_vec()).unwrap_or_default();
        Ok(Response::new(pb::MarkedHashResponse { hash: hash.into() }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<pb::LeaseRequest>,
    ) -> Result<Response<pb::LeaseResponse>, Status> {
        self.check_addressee(&request)?;
        Ok(Response::new(self.upcalls.lease_keep_alive(request.into_inner().lease).await))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseRequest>,
    ) -> Result<Response<pb::LeaseResponse>, Status> {
        self.check_addressee(&request)?;
        Ok(Response::new(self.upcalls.lease_time_to_live(request.into_inner().lease).await))
    }
    async fn change_members(
        &self,
        request: Request<pb::MemberChange>,
    ) -> Result<Response<pb::ChangeMembersResponse>, Status> {
        self.check_addressee(&request)?;
        Ok(Response::new(self.upcalls.change_members(request.into_inner()).await))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        self.check_cluster(&request.get_ref().cluster)?;
        Ok(Response::new(self.upcalls.join(request.into_inner()).await))
    }
}
