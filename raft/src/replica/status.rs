//! How a member stands, and what it answers its peers.

use std::sync::Weak;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use trireme_store::{LeaseId, Revision, Status};

use super::{Inner, Replica};
use crate::peer::Upcalls;
use crate::peer::pb;
use crate::types::{LogId, MemberId, MemberNode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
    Stopped,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Stopped => "stopped",
        }
    }
}

/// One member as another sees it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    pub id: MemberId,
    pub node: MemberNode,
    pub votes: bool,
    /// Last entry it is known to have; only the leader knows of others.
    pub matched_index: Option<u64>,
    /// Entries it lacks; only the leader knows.
    pub lag_entries: Option<u64>,
}

/// All of a member's state that an operator asks for.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub cluster_id: u64,
    pub member: MemberId,
    pub name: String,
    pub role: Role,
    pub term: u64,
    pub leader: Option<MemberId>,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    /// The state on the disk contains this index at least.
    pub flushed_index: u64,
    pub purged_index: u64,
    pub log_bytes: u64,
    pub log_syncs: u64,
    pub revision: Revision,
    pub compact_revision: Revision,
    pub state_hash: u128,
    /// What all members understand of the log, as agreed.
    pub feature_level: u32,
    pub db_size_bytes: u64,
    pub db_size_in_use_bytes: u64,
    pub caught_up: bool,
    /// While it has no vote and wants one.
    pub joining: Option<Joining>,
    /// Every member, this one included.
    pub members: Vec<PeerStatus>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// How far a member is that comes into the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joining {
    /// Entries of the log that it has, those that its state stands for included, and of how many.
    pub entries: (u64, u64),
    /// Bytes that it has of a snapshot, and of how many; zero where none is coming.
    pub snapshot_bytes: (u64, u64),
}

pub(super) fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}

impl Replica {
    pub fn status(&self) -> ReplicaStatus {
        self.inner.status()
    }

    /// Its role, and in which term: cheaper than all of its status.
    pub fn role(&self) -> (Role, u64) {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        (role(metrics.state), metrics.current_term)
    }
}

impl Inner {
    pub(super) fn status(&self) -> ReplicaStatus {
        let applied = self.store.applied();
        let size = self.store.size();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters: Vec<MemberId> = metrics.membership_config.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let members = metrics.membership_config.nodes().map(|(id, node)| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id).copied().flatten());
            let matched_index = matched.map(|id| id.index);
            PeerStatus {
                id: *id,
                node: node.clone(),
                votes: voters.contains(id),
                matched_index,
                lag_entries: metrics
                    .replication
                    .as_ref()
                    .map(|_| last.saturating_sub(matched_index.unwrap_or(0))),
            }
        });
        let mut problems = self.problems.lock().clone();
        problems.extend(self.faults_in_words());
        if !*self.has_leader.borrow() {
            problems.push("no leader is heard of".into());
        }
        if !self.has_room() {
            problems.push("the disk is full: writes are refused".into());
        }
        ReplicaStatus {
            cluster_id: self.cluster_id,
            member: self.member,
            name: self.config.name.clone(),
            role: role(metrics.state),
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: last,
            committed_index: index(metrics.local_committed),
            applied_index: applied.position.map_or(0, |position| position.index),
            flushed_index: self.store.durable().map_or(0, |position| position.index),
            purged_index: index(metrics.purged),
            log_bytes: self.log.size_bytes(),
            log_syncs: self.log.sync_count(),
            revision: applied.revision,
            compact_revision: applied.compact_revision,
            state_hash: applied.hash,
            feature_level: applied.feature_level,
            db_size_bytes: size.disk_bytes,
            db_size_in_use_bytes: size.live_bytes,
            caught_up: *self.caught_up.borrow(),
            joining: self
                .joining
                .lock()
                .map(|entries| Joining { entries, snapshot_bytes: self.snapshots.incoming() }),
            members: members.collect(),
            problems,
        }
    }

    /// Whether writes are taken, as far as this member's disk goes.
    pub(super) fn has_room(&self) -> bool {
        self.log.has_room() && !self.progress.waits_for_space()
    }

    pub(super) fn kv_status(&self) -> Status {
        let status = self.status();
        Status {
            cluster_id: status.cluster_id,
            member_id: status.member.0,
            leader_id: status.leader.map_or(0, |leader| leader.0),
            term: status.term,
            last_log_index: status.last_log_index,
            applied_index: status.applied_index,
            revision: status.revision,
            compact_revision: status.compact_revision,
            db_size_bytes: status.db_size_bytes,
            db_size_in_use_bytes: status.db_size_in_use_bytes,
            is_learner: status.role == Role::Learner,
            errors: status.problems,
        }
    }
}

/// What other members ask of this one. Weak: the service must not keep a stopped member alive.
pub(super) struct ForPeers(pub(super) Weak<Inner>);

#[tonic::async_trait]
impl Upcalls for ForPeers {
    fn identify(&self) -> pb::IdentifyResponse {
        let Some(inner) = self.0.upgrade() else { return pb::IdentifyResponse::default() };
        let node = inner.node();
        pb::IdentifyResponse {
            cluster: inner.config.cluster.clone(),
            member: inner.member.0,
            name: node.name,
            peer_address: node.peer_address,
            client_address: node.client_address,
            initialized: inner.log.last().is_some() || !inner.newcomer.is(),
            feature_level: inner.config.feature_level,
            full: !inner.has_room(),
            newcomer: inner.newcomer.is(),
        }
    }

    fn booted(&self, request: &pb::BootedRequest) -> std::io::Result<pb::BootedResponse> {
        match self.0.upgrade() {
            Some(inner) => inner.heard_of_start(request),
            None => Err(std::io::Error::other("this member is stopping")),
        }
    }

    fn incarnation(&self) -> u64 {
        self.0.upgrade().map_or(0, |inner| inner.proposals.client())
    }

    async fn propose(&self, request: pb::ProposeRequest) -> pb::ProposeResponse {
        match self.0.upgrade() {
            Some(inner) => inner.propose_forwarded(request).await,
            None => pb::ProposeResponse::default(),
        }
    }

    async fn read_index(&self) -> Option<LogId> {
        self.0.upgrade()?.read_index().await
    }

    async fn change_members(&self, change: pb::MemberChange) -> pb::ChangeMembersResponse {
        match self.0.upgrade() {
            // On a task of its own: a change that was begun is finished, whether or not the caller
            // still waits.
            Some(inner) => {
                tokio::spawn(async move { inner.change_for_peer(change).await }).await.unwrap_or_default()
            }
            None => pb::ChangeMembersResponse::default(),
        }
    }

    async fn join(&self, request: pb::JoinRequest) -> pb::JoinResponse {
        match self.0.upgrade() {
            Some(inner) => {
                tokio::spawn(async move { inner.join_for_peer(request).await }).await.unwrap_or_default()
            }
            None => pb::JoinResponse::default(),
        }
    }

    fn marked_hash(&self, index: u64) -> Option<u128> {
        Some(self.0.upgrade()?.marks.at(index)?.hash)
    }

    async fn lease_keep_alive(&self, lease: i64) -> pb::LeaseResponse {
        match self.0.upgrade() {
            Some(inner) => inner.renew_here(LeaseId(lease)).await,
            None => pb::LeaseResponse { not_leader: true, ..Default::default() },
        }
    }

    async fn lease_time_to_live(&self, lease: i64) -> pb::LeaseResponse {
        match self.0.upgrade() {
            Some(inner) => inner.remaining_here(LeaseId(lease)).await,
            None => pb::LeaseResponse { not_leader: true, ..Default::default() },
        }
    }
}
