//! Calls to other members, and openraft's network over them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};
use parking_lot::Mutex;
use tokio::runtime;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use trireme_store::Store;
use trireme_store::planted::{self, Bug};

use super::cut::Until;
use super::forward::Ways;
use super::line::{Line, PeerNetwork};
use super::liveness::Liveness;
use super::snapshot::{self, SnapshotDirs};
use super::{CLUSTER, MESSAGE_BYTES_MAX, TO, wire};
use crate::machine::{RaftSnapshot, SnapshotData};
use crate::metrics::{CountedConnector, Metrics, Traffic, now_ns};
use crate::peer::pb;
use crate::peer::pb::forward_request::Ask;
use crate::peer::pb::forward_response::Answer;
use crate::peer::pb::peer_client::PeerClient;
use crate::tls::Tls;
use crate::types::{LogId, MemberId, MemberNode, TypeConfig, Vote};

/// A connection that is not there by then is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pauses after a connection for entries could not be made: the first, doubling to the last.
/// openraft's own pauses come between the requests of a stream, which there is none of then.
const RECONNECT_MIN: Duration = Duration::from_millis(10);
const RECONNECT_MAX: Duration = Duration::from_millis(160);
/// A peer that does not say who it is by then gets no snapshot: a checkpoint is not taken for one
/// that is not there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// An answer to a heartbeat that comes this many times later than openraft waits still shows that
/// its member is alive.
const LATE_HEARTBEAT_FACTOR: u32 = 10;
/// A peer whose machine lost its power closes no socket: it is asked for a sign this often.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Append,
    /// Heartbeats, votes, transfers.
    Control,
    Snapshot,
    /// Proposals and reads on behalf of clients.
    Forward,
}

/// Connections to the other members, made when they are first used.
pub(crate) struct Peers {
    tls: Tls,
    /// In a simulated world, instead of it.
    network: Option<Arc<dyn PeerNetwork>>,
    /// By address, what they are for and who drives them: a runtime that ends takes its connections along,
    /// and a call over one of its own needs no other's thread to be woken, there and back.
    clients: Mutex<HashMap<(String, Lane, runtime::Id), PeerClient<Line>>>,
    /// Over them, what is asked of leaders.
    ways: Ways,
    /// Members that said that their disk is full, by their last answer to a heartbeat.
    full: Mutex<BTreeSet<MemberId>>,
    liveness: Liveness,
    /// Why a member's address last refused a call as meant for another: said once each.
    refusals: Mutex<HashMap<MemberId, String>>,
    /// Where each member is now: openraft keeps what it made for a member that has moved since.
    addresses: Mutex<HashMap<MemberId, String>>,
    metrics: Arc<Metrics>,
    /// Bytes on the connections made to each address.
    traffic: Mutex<HashMap<String, Arc<Traffic>>>,
    /// And on those that others made.
    accepted: Arc<Traffic>,
    /// While this member is kept from the others.
    cut: Arc<Until>,
}

impl Peers {
    pub(crate) fn new(
        tls: Tls,
        network: Option<Arc<dyn PeerNetwork>>,
        metrics: Arc<Metrics>,
        cut: Arc<Until>,
    ) -> Arc<Self> {
        Arc::new(Self {
            tls,
            network,
            clients: Mutex::default(),
            ways: Ways::default(),
            full: Mutex::default(),
            liveness: Liveness::default(),
            refusals: Mutex::default(),
            addresses: Mutex::default(),
            metrics,
            traffic: Mutex::default(),
            accepted: Arc::default(),
            cut,
        })
    }

    /// Bytes on the connections that others made to this member.
    pub(crate) fn accepted(&self) -> Arc<Traffic> {
        self.accepted.clone()
    }

    /// Bytes on the connections made to `address`.
    pub(crate) fn traffic(&self, address: &str) -> Arc<Traffic> {
        self.traffic.lock().entry(address.to_owned()).or_default().clone()
    }

    /// Calls to `member` go to `address` from now on.
    pub(crate) fn moved(&self, member: MemberId, address: &str) {
        self.addresses.lock().insert(member, address.to_owned());
    }

    fn address(&self, member: MemberId) -> String {
        self.addresses.lock().get(&member).cloned().unwrap_or_default()
    }

    /// Who has answered heartbeats, and when.
    pub(crate) fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    pub(crate) fn any_full(&self) -> bool {
        !self.full.lock().is_empty()
    }

    /// How many of `voters` have said that their disk is full.
    pub(crate) fn count_full(&self, voters: &BTreeSet<MemberId>) -> usize {
        voters.intersection(&self.full.lock()).count()
    }

    /// Somebody else answers where `member` should: a member of another cluster, say, made of this
    /// one's copy.
    fn note_refusal(&self, member: MemberId, why: &str) {
        let said = self.refusals.lock().insert(member, why.to_owned());
        if said.as_deref() != Some(why) {
            let address = self.address(member);
            tracing::warn!(%member, address, why, "who answers at a member's address refuses this cluster");
        }
    }

    fn note_full(&self, member: MemberId, is_full: bool) {
        let mut full = self.full.lock();
        if is_full {
            full.insert(member);
        } else {
            full.remove(&member);
        }
    }

    pub(crate) fn client(&self, address: &str, lane: Lane) -> Result<PeerClient<Line>, Status> {
        let key = (address.to_owned(), lane, runtime::Handle::current().id());
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let line = match &self.network {
            Some(network) => Line::Simulated { network: network.clone(), address: address.to_owned() },
            None => Line::Tls(self.channel(address)?),
        };
        let client = PeerClient::new(line)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// What came of each of `commands`, in order, by `leader` of `cluster` at `address`. An error: it may
    /// have taken them or not.
    pub(crate) async fn propose(
        &self,
        cluster: u64,
        leader: MemberId,
        address: &str,
        commands: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<Vec<pb::ProposeResult>, Status> {
        let ask = Ask::Propose(pb::ProposeRequest { commands });
        match self.ask(cluster, leader, address, ask, timeout).await? {
            Answer::Propose(answer) => Ok(answer.results),
            Answer::ReadIndex(_) => Err(another_answer()),
        }
    }

    /// A position that covers all that was committed before, by `leader`; `None` where it does not lead.
    pub(crate) async fn read_index(
        &self,
        cluster: u64,
        leader: MemberId,
        address: &str,
        timeout: Duration,
    ) -> Result<Option<LogId>, Status> {
        let ask = Ask::ReadIndex(pb::ReadIndexRequest {});
        match self.ask(cluster, leader, address, ask, timeout).await? {
            Answer::ReadIndex(answer) => Ok(wire::read_position(answer.position)),
            Answer::Propose(_) => Err(another_answer()),
        }
    }

    async fn ask(
        &self,
        cluster: u64,
        leader: MemberId,
        address: &str,
        ask: Ask,
        timeout: Duration,
    ) -> Result<Answer, Status> {
        let client = self.client(address, Lane::Forward)?;
        self.ways.ask(client, cluster, leader, address, ask, timeout).await
    }

    fn channel(&self, address: &str) -> Result<Channel, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| Status::invalid_argument(format!("{address:?} is no address of a member")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(8 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .tcp_nodelay(true);
        let (connector, traffic) = (self.tls.connector(), self.traffic(address));
        let cut = self.cut.clone();
        Ok(endpoint.connect_with_connector_lazy(CountedConnector { connector, traffic, cut }))
    }
}

/// Makes openraft's connections.
pub(crate) struct Factory {
    pub(crate) peers: Arc<Peers>,
    pub(crate) store: Store,
    pub(crate) dirs: Arc<SnapshotDirs>,
    pub(crate) cluster: u64,
    pub(crate) cluster_name: String,
}

impl Factory {
    fn network(&self, target: MemberId, node: &MemberNode, lane: Lane) -> Network {
        self.peers.moved(target, &node.peer_address);
        Network {
            peers: self.peers.clone(),
            store: self.store.clone(),
            dirs: self.dirs.clone(),
            cluster: self.cluster,
            cluster_name: self.cluster_name.clone(),
            target,
            lane,
            pause: RECONNECT_MIN,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: MemberId, node: &MemberNode) -> Network {
        self.network(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: MemberId, node: &MemberNode) -> Network {
        self.network(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: MemberId, node: &MemberNode) -> Network {
        self.network(target, node, Lane::Snapshot)
    }
}

/// One member as openraft reaches it.
pub(crate) struct Network {
    peers: Arc<Peers>,
    store: Store,
    dirs: Arc<SnapshotDirs>,
    cluster: u64,
    cluster_name: String,
    target: MemberId,
    lane: Lane,
    /// The pause after the next connection that cannot be made.
    pause: Duration,
}

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

fn rpc_error(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        // Retried at once by openraft: only where the peer was there a moment ago.
        Code::Cancelled | Code::DeadlineExceeded => {
            RPCError::Network(NetworkError::from_string(status.message()))
        }
        _ => RPCError::Unreachable(Unreachable::from_string(status.message())),
    }
}

fn another_answer() -> Status {
    Status::internal("the leader answered another question")
}

/// A request that only member `to` of `cluster` may answer.
pub(crate) fn addressed<T>(
    cluster: u64,
    to: MemberId,
    message: T,
    timeout: Option<Duration>,
) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    for (key, id) in [(TO, to.0), (CLUSTER, cluster)] {
        request.metadata_mut().insert(key, MetadataValue::from(id));
    }
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    request
}

impl Network {
    /// A client for calls that are small and urgent, whatever this network is for.
    fn control(&self) -> RpcResult<PeerClient<Line>> {
        self.peers.client(&self.address(), Lane::Control).map_err(|status| rpc_error(&status))
    }

    fn address(&self) -> String {
        self.peers.address(self.target)
    }

    /// A call addressed to this member and no other.
    fn call<T>(&self, message: T, timeout: Option<Duration>) -> tonic::Request<T> {
        addressed(self.cluster, self.target, message, timeout)
    }

    async fn heartbeat(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        option: &RPCOption,
    ) -> RpcResult<StreamAppendResult<TypeConfig>> {
        let message =
            self.call(wire::append_request(request), Some(option.hard_ttl() * LATE_HEARTBEAT_FACTOR));
        let (peers, target, term) = (self.peers.clone(), self.target, request.vote.leader_id.term);
        let mut client = self.control()?;
        peers.liveness.asked(target, term);
        let (trips, asked_ns) = (peers.metrics.round_trips(target), now_ns());
        // In a task: openraft drops the call soon, but one that is answered late is alive.
        let answered = tokio::spawn(async move {
            match client.heartbeat(message).await {
                Ok(response) => {
                    let answer = response.into_inner();
                    peers.note_full(target, answer.full);
                    peers.liveness.answered(target, term, answer.incarnation);
                    trips.took.observe_ns(now_ns() - asked_ns);
                    Ok(answer)
                }
                Err(status) => {
                    trips.failed.inc();
                    peers.metrics.heartbeat_failures.inc();
                    match status.code() {
                        Code::Unavailable => peers.liveness.refused(target, term),
                        Code::FailedPrecondition => peers.note_refusal(target, status.message()),
                        _ => {}
                    }
                    Err(status)
                }
            }
        });
        let answer = answered.await.unwrap_or_else(|error| Err(Status::internal(error.to_string())));
        let answer = answer.map_err(|status| rpc_error(&status))?;
        wire::read_append_response(answer).map_err(|status| rpc_error(&status))
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        Ok(self.heartbeat(&request, &option).await?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        async move {
            if self.lane == Lane::Control {
                // A heartbeat: one request, and cheaper without a stream.
                let Some(request) = input.next().await else {
                    return Ok(stream::empty().boxed());
                };
                let answer = self.heartbeat(&request, &option).await;
                return Ok(stream::once(async { answer }).boxed());
            }
            let mut client =
                self.peers.client(&self.address(), self.lane).map_err(|status| rpc_error(&status))?;
            let requests = input.map(|request| wire::append_request(&request));
            let answers = match client.append(self.call(requests, None)).await {
                Ok(answers) => answers.into_inner(),
                Err(status) => {
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(RECONNECT_MAX);
                    return Err(rpc_error(&status));
                }
            };
            self.pause = RECONNECT_MIN;
            let answers = answers.map(|answer| {
                answer.and_then(wire::read_append_response).map_err(|status| rpc_error(&status))
            });
            Ok(answers.boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let message = self.call(wire::vote_request(&request), Some(option.hard_ttl()));
        let response = match self.control()?.vote(message).await {
            Err(_) if planted::is(Bug::ElectedBySilence) => {
                return Ok(VoteResponse::new(request.vote, request.last_log_id, true));
            }
            response => response.map_err(|status| rpc_error(&status))?,
        };
        wire::read_vote_response(response.into_inner()).map_err(|status| rpc_error(&status))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let message = self.call(wire::vote_request(&request), Some(option.hard_ttl()));
        let response = match self.control()?.pre_vote(message).await {
            Err(_) if planted::is(Bug::ElectedBySilence) => {
                return Ok(VoteResponse::new(request.vote, request.last_log_id, true));
            }
            response => response.map_err(|status| rpc_error(&status))?,
        };
        wire::read_vote_response(response.into_inner()).map_err(|status| rpc_error(&status))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client =
            self.peers.client(&self.address(), Lane::Snapshot).map_err(|status| rpc_error(&status))?;
        let probe =
            self.call(pb::IdentifyRequest { cluster: self.cluster_name.clone() }, Some(PROBE_TIMEOUT));
        client.identify(probe).await.map_err(|status| rpc_error(&status))?;
        tracing::info!(peer = self.address(), "sending a snapshot");
        let (pieces, sender) = snapshot::send(self.store.clone(), &self.dirs, vote);
        let pieces = tokio_stream::wrappers::ReceiverStream::new(pieces);
        let began_ns = now_ns();
        let transfer = async {
            let response = client.snapshot(self.call(pieces, None)).await;
            match sender.await {
                Ok(Ok(meta)) => {
                    self.peers.metrics.snapshot_sent.observe_ns(now_ns() - began_ns);
                    tracing::info!(
                        peer = self.address(),
                        log_index = meta.last_log_id.map(|id| id.index),
                        "a snapshot was sent"
                    );
                }
                Ok(Err(reason)) => {
                    tracing::warn!(peer = self.address(), reason, "a snapshot could not be sent");
                    return Err(StreamingError::Unreachable(Unreachable::from_string(reason)));
                }
                Err(error) => return Err(StreamingError::Unreachable(Unreachable::new(&error))),
            }
            match response {
                Ok(response) => {
                    let vote =
                        wire::read_ballot(response.into_inner().vote).map_err(|status| rpc_error(&status))?;
                    Ok(SnapshotResponse::new(vote))
                }
                Err(status) => {
                    tracing::warn!(peer = self.address(), %status, "a snapshot was not installed");
                    Err(StreamingError::Unreachable(Unreachable::from_string(status.message())))
                }
            }
        };
        tokio::select! {
            result = transfer => result,
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        let timeout = option.hard_ttl().max(Duration::from_millis(500));
        let message = self.call(wire::transfer_request(&request), Some(timeout));
        let response = self.control()?.transfer_leader(message).await.map_err(|status| rpc_error(&status))?;
        let refused = response.into_inner().refused;
        if !refused.is_empty() {
            tracing::warn!(peer = self.address(), reason = refused, "leadership was not taken over");
            return Err(RPCError::Network(NetworkError::from_string(refused)));
        }
        Ok(Ok(()))
    }

    fn backoff(&self) -> Option<Backoff> {
        None
    }
}
