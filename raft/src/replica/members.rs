//! Who belongs to the cluster, and changes of it. The leader does them; the others ask it to.
//!
//! ```text
//!   a new member:      learner ──► has about caught up ──► voter
//!   one in its place:  learner ──► has about caught up ──► voter, the old one gone: one joint change
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};

use super::bootstrap::node_of;
use super::{Inner, Replica};
use crate::peer::{Lane, addressed, pb};
use crate::types::{LogId, MemberId, MemberNode, TypeConfig};

/// More voters make every write slower and survive no more than this many can already lose.
const VOTERS_MAX: usize = 7;
/// Voters, learners and those being replaced.
const MEMBERS_MAX: usize = 2 * VOTERS_MAX;
/// A learner that lacks more entries than this gets no vote: while it catches up, a quorum that
/// needs it would stand still.
const PROMOTION_LAG_MAX: u64 = 1000;
/// A change that no leader has taken by then is given up.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
const CHANGE_RETRY: Duration = Duration::from_millis(50);
/// How long a new voter may take to catch up before its promotion is left to another call.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);
const CATCH_UP_POLL: Duration = Duration::from_millis(50);

/// A change of who belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Takes in the member that answers at `peer_address`, without a vote. It must run, and must not
    /// have been in a cluster.
    AddLearner { peer_address: String },
    /// The same, and gives it a vote once it has about caught up.
    AddVoter { peer_address: String },
    /// Gives a learner that has about caught up a vote.
    Promote(MemberId),
    /// Takes a member out, whether it votes or learns.
    Remove(MemberId),
    /// Puts learner `new` in the place of `old`, in one change: there is no moment with a quorum of
    /// fewer members.
    Replace { old: MemberId, new: MemberId },
    /// Notes what a member says itself that its addresses are, asked at `peer_address`, where it must
    /// answer. One that is started with another address tells the others so by itself.
    Move { member: MemberId, peer_address: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Ask the leader.
    #[error("this member does not lead; the leader is {}", leader.map_or("not known".to_owned(), |id| id.to_string()))]
    NotLeading { leader: Option<MemberId> },
    #[error("the new member cannot be reached: {0}")]
    Unreachable(String),
    #[error("member {0} is not in the cluster")]
    Unknown(MemberId),
    #[error("member {0} is in the cluster already")]
    AlreadyIn(MemberId),
    #[error("there is no other voter")]
    NoOtherVoter,
    #[error("{0} in time")]
    TimedOut(String),
    #[error(
        "the new member understands feature level {found} at most and the cluster has agreed on {agreed}: upgrade it first"
    )]
    Older { found: u32, agreed: u32 },
    #[error("member {0} votes already: only a learner can be promoted")]
    NotALearner(MemberId),
    #[error("member {member} lacks {lag} entries: it gets a vote once it has about caught up")]
    Behind { member: MemberId, lag: u64 },
    #[error("too few healthy voters: {healthy} would be left where {needed} are needed")]
    QuorumAtRisk { healthy: usize, needed: usize },
    #[error("a member named {0:?} is alive: two cannot have one name")]
    NameInUse(String),
    #[error("a cluster has at most {0} members")]
    TooMany(usize),
    #[error("member {0} was removed from the cluster: it comes in again with a new data directory alone")]
    Removed(MemberId),
    #[error("the change was refused: {0}")]
    Raft(String),
}

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for MemberError {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                Self::NotLeading { leader: to.leader_id }
            }
            error => Self::Raft(error.to_string()),
        }
    }
}

/// Whether who answered has been in the cluster. One with a log may have it of a leader that was lost
/// before taking it in was agreed on: what of it was not agreed on is written over.
fn was_in(answer: &pb::IdentifyResponse) -> bool {
    answer.initialized && !answer.newcomer
}

/// How far one is that wants to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Votes,
    /// `agreed`: the membership that has it is agreed on.
    Learning {
        matched_index: u64,
        last_index: u64,
        agreed: bool,
    },
}

impl Replica {
    /// Makes the change, here or at the leader; the member that it was about. Where the leader was
    /// lost on the way it is made again, and what is found done counts as done.
    pub async fn change_members(&self, change: MemberChange) -> Result<MemberId, MemberError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let mut tried = false;
        loop {
            let result = match self.inner.leading_term() {
                Some(_) => self.change_here(&change).await,
                None => self.inner.ask_for_change(&change, &mut tried).await,
            };
            match (result, &change) {
                (Err(MemberError::NotLeading { leader }), _) => {
                    if Instant::now() >= deadline {
                        return Err(MemberError::NotLeading { leader });
                    }
                }
                (Err(MemberError::Unknown(id)), MemberChange::Remove(_)) if tried => return Ok(id),
                (Err(MemberError::NotALearner(id)), MemberChange::Promote(_)) if tried => return Ok(id),
                (result, _) => return result,
            }
            tokio::time::sleep(CHANGE_RETRY).await;
        }
    }

    async fn change_here(&self, change: &MemberChange) -> Result<MemberId, MemberError> {
        if let MemberChange::Remove(id) | MemberChange::Replace { old: id, .. } = change
            && *id == self.inner.member
        {
            // A leader that takes itself out would leave the others to find out by themselves.
            let leader = self.hand_over(None).await?;
            return Err(MemberError::NotLeading { leader: Some(leader) });
        }
        self.inner.change(change).await
    }
}

impl Inner {
    /// Asks the leader. `tried` is set when it may have done it without our hearing of it.
    async fn ask_for_change(&self, change: &MemberChange, tried: &mut bool) -> Result<MemberId, MemberError> {
        let Some((leader, address)) = self.leader() else {
            return Err(MemberError::NotLeading { leader: None });
        };
        let not_leading = Err(MemberError::NotLeading { leader: Some(leader) });
        let Ok(mut client) = self.peers.client(&address, Lane::Forward) else { return not_leading };
        let request = addressed(self.cluster_id, leader, change_to_wire(change), Some(CHANGE_TIMEOUT));
        match client.change_members(request).await {
            Ok(response) => match response.into_inner().result {
                Some(pb::change_members_response::Result::Done(id)) => Ok(MemberId(id)),
                Some(pb::change_members_response::Result::Refused(refusal)) => {
                    Err(refusal_from_wire(&refusal))
                }
                Some(pb::change_members_response::Result::NotLeader(_)) | None => not_leading,
            },
            Err(_) => {
                *tried = true;
                not_leading
            }
        }
    }

    /// The change, while this member leads.
    async fn change(&self, change: &MemberChange) -> Result<MemberId, MemberError> {
        self.require_lead()?;
        match change {
            MemberChange::AddLearner { peer_address } => self.add_learner(peer_address).await,
            MemberChange::AddVoter { peer_address } => {
                let id = self.add_learner(peer_address).await?;
                self.wait_caught_up_with(id).await?;
                self.promote(id).await?;
                Ok(id)
            }
            MemberChange::Promote(id) => {
                self.require_caught_up(*id)?;
                self.promote(*id).await?;
                Ok(*id)
            }
            MemberChange::Remove(id) => {
                self.remove(*id).await?;
                Ok(*id)
            }
            MemberChange::Replace { old, new } => {
                self.require_member(*old)?;
                self.require_caught_up(*new)?;
                self.replace(&BTreeSet::from([*old]), *new).await?;
                Ok(*new)
            }
            MemberChange::Move { member, peer_address } => {
                self.require_member(*member)?;
                let answer = self.identify_as(*member, peer_address).await?;
                if self.nodes().get(member) != Some(&node_of(&answer)) {
                    self.note_moved(*member, &answer).await?;
                }
                Ok(*member)
            }
        }
    }

    async fn add_learner(&self, peer_address: &str) -> Result<MemberId, MemberError> {
        let answer = self.identify(peer_address).await.map_err(MemberError::Unreachable)?;
        let id = MemberId(answer.member);
        if self.nodes().contains_key(&id) {
            return Err(MemberError::AlreadyIn(id));
        }
        if was_in(&answer) {
            return Err(MemberError::Removed(id));
        }
        self.take_in(id, &answer).await?;
        Ok(id)
    }

    /// Makes who answered a learner.
    async fn take_in(&self, id: MemberId, answer: &pb::IdentifyResponse) -> Result<(), MemberError> {
        let agreed = self.store.applied().feature_level;
        if answer.feature_level < agreed {
            return Err(MemberError::Older { found: answer.feature_level, agreed });
        }
        if self.nodes().len() >= MEMBERS_MAX {
            return Err(MemberError::TooMany(MEMBERS_MAX));
        }
        self.raft.add_learner(id, node_of(answer), false).await?;
        tracing::info!(member = %id, name = answer.name, "a member learns");
        Ok(())
    }

    async fn promote(&self, id: MemberId) -> Result<(), MemberError> {
        let voters = self.voters();
        if voters.contains(&id) {
            return Err(MemberError::NotALearner(id));
        }
        if voters.len() >= VOTERS_MAX {
            return Err(MemberError::TooMany(VOTERS_MAX));
        }
        self.require_quorum(self.healthy(&voters) + 1, voters.len() + 1)?;
        self.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await?;
        tracing::info!(member = %id, "a member votes");
        Ok(())
    }

    /// Puts `new` in the place of all of `old`: it changes places with those that vote in one change, and
    /// then the learners among them go. Asked again after the first, it does the rest.
    async fn replace(&self, old: &BTreeSet<MemberId>, new: MemberId) -> Result<(), MemberError> {
        let voters = self.voters();
        let mut stay: BTreeSet<MemberId> = voters.difference(old).copied().collect();
        if stay.len() < voters.len() {
            // All that is counted on are the others: the new one is not proved yet.
            self.require_quorum(self.healthy(&stay), stay.len() + 1)?;
            stay.insert(new);
            self.raft.change_membership(ChangeMembers::ReplaceAllVoters(stay), false).await?;
            tracing::info!(?old, %new, "a member was replaced");
        } else if !voters.contains(&new) {
            self.promote(new).await?;
        }
        self.forget_learners(old).await
    }

    /// Removes those of `members` that are in the cluster and have no vote.
    async fn forget_learners(&self, members: &BTreeSet<MemberId>) -> Result<(), MemberError> {
        let (nodes, voters) = (self.nodes(), self.voters());
        for learner in members.iter().filter(|id| nodes.contains_key(id) && !voters.contains(id)) {
            self.remove(*learner).await?;
        }
        Ok(())
    }

    async fn remove(&self, id: MemberId) -> Result<(), MemberError> {
        self.require_member(id)?;
        let gone = BTreeSet::from([id]);
        let mut voters = self.voters();
        if voters.remove(&id) {
            if voters.is_empty() {
                return Err(MemberError::NoOtherVoter);
            }
            self.require_quorum(self.healthy(&voters), voters.len())?;
            self.raft.change_membership(ChangeMembers::RemoveVoters(gone), false).await?;
        } else {
            self.raft.change_membership(ChangeMembers::RemoveNodes(gone), false).await?;
        }
        tracing::info!(member = %id, "a member was removed");
        Ok(())
    }

    /// What the leader does for one that wants to join, one step at a time: takes it in, gives it a
    /// vote when it has about caught up, in the place of a dead one with its name or of the one that
    /// it names; or notes the address to which it has moved.
    pub(super) async fn join(&self, request: &pb::JoinRequest) -> Result<Joined, MemberError> {
        self.require_lead()?;
        let id = MemberId(request.member);
        let answer = self.identify_as(id, &request.peer_address).await?;
        let nodes = self.nodes();
        let agreed = match nodes.get(&id) {
            None if was_in(&answer) => return Err(MemberError::Removed(id)),
            None => {
                let old = self.replaced_by(request, &nodes);
                self.require_gone(&old).await?;
                // One that is lost at each start would leave a learner each time, until nobody can join.
                self.forget_learners(&old).await?;
                if old.is_empty() && self.voters().len() >= VOTERS_MAX {
                    return Err(MemberError::TooMany(VOTERS_MAX));
                }
                self.take_in(id, &answer).await?;
                true
            }
            Some(node) if *node != node_of(&answer) => {
                self.note_moved(id, &answer).await?;
                true
            }
            // Another call may have begun it.
            Some(_) => self.membership_is_agreed(),
        };
        if self.voters().contains(&id) {
            return Ok(Joined::Votes);
        }
        let (matched_index, last_index) = self.matched(id);
        // Nothing matched is nothing known, however short the log is.
        if matched_index == 0 || last_index - matched_index > PROMOTION_LAG_MAX {
            return Ok(Joined::Learning { matched_index, last_index, agreed });
        }
        let old = self.replaced_by(request, &nodes);
        if old.is_empty() {
            self.promote(id).await?;
        } else {
            self.require_gone(&old).await?;
            self.replace(&old, id).await?;
        }
        Ok(Joined::Votes)
    }

    /// Asks who is at `peer_address`, which must be `id`.
    async fn identify_as(
        &self,
        id: MemberId,
        peer_address: &str,
    ) -> Result<pb::IdentifyResponse, MemberError> {
        let answer = self.identify(peer_address).await.map_err(MemberError::Unreachable)?;
        if answer.member != id.0 {
            return Err(MemberError::Unreachable(format!("another member answers at {peer_address}")));
        }
        Ok(answer)
    }

    async fn note_moved(&self, id: MemberId, answer: &pb::IdentifyResponse) -> Result<(), MemberError> {
        let moved = BTreeMap::from([(id, node_of(answer))]);
        self.raft.change_membership(ChangeMembers::SetNodes(moved), true).await?;
        self.peers.moved(id, &answer.peer_address);
        tracing::info!(member = %id, address = answer.peer_address, "a member has moved");
        Ok(())
    }

    /// The members whose place it takes: the one it names, or those with its name. They are several where
    /// one lost its data again before it had a vote.
    fn replaced_by(
        &self,
        request: &pb::JoinRequest,
        nodes: &BTreeMap<MemberId, MemberNode>,
    ) -> BTreeSet<MemberId> {
        let name = if request.replaces.is_empty() { &request.name } else { &request.replaces };
        let found = nodes.iter().filter(|(id, node)| node.name == *name && id.0 != request.member);
        found.map(|(id, _)| *id).collect()
    }

    /// Refuses while a member that is to be replaced is alive: an operator who wants that removes
    /// it, and one who gave two machines one name learns of it.
    async fn require_gone(&self, old: &BTreeSet<MemberId>) -> Result<(), MemberError> {
        let mut nodes = self.nodes();
        for old in old {
            let Some(node) = nodes.remove(old) else { continue };
            let answers = match self.identify(&node.peer_address).await {
                Ok(answer) => answer.member == old.0,
                Err(_) => false,
            };
            if answers || self.healthy(&BTreeSet::from([*old])) == 1 {
                return Err(MemberError::NameInUse(node.name));
            }
        }
        Ok(())
    }

    fn require_lead(&self) -> Result<(), MemberError> {
        match self.leading_term() {
            Some(_) => Ok(()),
            None => Err(MemberError::NotLeading { leader: self.leader().map(|(leader, _)| leader) }),
        }
    }

    fn require_member(&self, id: MemberId) -> Result<(), MemberError> {
        if self.nodes().contains_key(&id) { Ok(()) } else { Err(MemberError::Unknown(id)) }
    }

    /// Refuses a change after which the healthy voters would be no quorum of `voters`.
    fn require_quorum(&self, healthy: usize, voters: usize) -> Result<(), MemberError> {
        let needed = voters / 2 + 1;
        if healthy < needed { Err(MemberError::QuorumAtRisk { healthy, needed }) } else { Ok(()) }
    }

    fn require_caught_up(&self, id: MemberId) -> Result<(), MemberError> {
        self.require_member(id)?;
        if self.voters().contains(&id) {
            return Err(MemberError::NotALearner(id));
        }
        let (matched, last) = self.matched(id);
        let lag = last - matched;
        if matched == 0 || lag > PROMOTION_LAG_MAX {
            return Err(MemberError::Behind { member: id, lag });
        }
        Ok(())
    }

    async fn wait_caught_up_with(&self, id: MemberId) -> Result<(), MemberError> {
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        loop {
            match self.require_caught_up(id) {
                Err(MemberError::Behind { .. }) if Instant::now() < deadline => {
                    self.require_lead()?;
                    tokio::time::sleep(CATCH_UP_POLL).await;
                }
                result => return result,
            }
        }
    }

    /// Whether the present membership is agreed on, as far as this leader knows.
    fn membership_is_agreed(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &LogId| id.index;
        metrics.membership_config.log_id().as_ref().map(index) <= metrics.last_applied.as_ref().map(index)
    }

    /// The last entry that a member is known to have, and the last there is; only while leading.
    fn matched(&self, id: MemberId) -> (u64, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
        (matched.map_or(0, |id| id.index).min(last), last)
    }

    /// How many of `members` this leader has heard of lately, itself included.
    fn healthy(&self, members: &BTreeSet<MemberId>) -> usize {
        let heard = self.heard_of();
        members.iter().filter(|id| **id == self.member || heard.contains(id)).count()
    }

    /// The members that have answered this leader lately; none while it does not lead.
    pub(super) fn heard_of(&self) -> BTreeSet<MemberId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let lately = self.config.timing.no_leader;
        let acknowledged = metrics.heartbeat.iter().flatten();
        let heard = acknowledged.filter(|(_, at)| at.is_some_and(|at| at.elapsed() <= lately));
        heard.map(|(id, _)| *id).collect()
    }

    pub(super) fn nodes(&self) -> BTreeMap<MemberId, MemberNode> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.nodes().map(|(id, node)| (*id, node.clone())).collect()
    }

    pub(super) fn voters(&self) -> BTreeSet<MemberId> {
        self.raft.voter_ids().collect()
    }

    /// A change that another member asks for.
    pub(super) async fn change_for_peer(
        self: Arc<Self>,
        change: pb::MemberChange,
    ) -> pb::ChangeMembersResponse {
        use pb::change_members_response::Result as Answer;
        let Some(change) = change_from_wire(change) else { return pb::ChangeMembersResponse::default() };
        let replica = Replica { inner: self };
        let result = match replica.change_here(&change).await {
            Ok(id) => Answer::Done(id.0),
            Err(MemberError::NotLeading { .. }) => Answer::NotLeader(true),
            Err(error) => Answer::Refused(refusal_to_wire(&error)),
        };
        pb::ChangeMembersResponse { result: Some(result) }
    }

    pub(super) async fn join_for_peer(&self, request: pb::JoinRequest) -> pb::JoinResponse {
        use pb::join_response::Result as Answer;
        let result = match self.join(&request).await {
            Ok(Joined::Votes) => Answer::Votes(true),
            Ok(Joined::Learning { matched_index, last_index, agreed }) => {
                Answer::Learning(pb::Learning { matched_index, last_index, agreed })
            }
            Err(MemberError::NotLeading { .. }) => {
                Answer::NotLeader(self.leader().map(|(_, address)| address).unwrap_or_default())
            }
            Err(error) => Answer::Refused(refusal_to_wire(&error)),
        };
        pb::JoinResponse { result: Some(result) }
    }
}

fn change_to_wire(change: &MemberChange) -> pb::MemberChange {
    use pb::member_change::Change;
    let change = match change {
        MemberChange::AddLearner { peer_address } => Change::AddLearner(peer_address.clone()),
        MemberChange::AddVoter { peer_address } => Change::AddVoter(peer_address.clone()),
        MemberChange::Promote(id) => Change::Promote(id.0),
        MemberChange::Remove(id) => Change::Remove(id.0),
        MemberChange::Replace { old, new } => Change::Replace(pb::Replacement { old: old.0, new: new.0 }),
        MemberChange::Move { member, peer_address } => {
            Change::Move(pb::Move { member: member.0, peer_address: peer_address.clone() })
        }
    };
    pb::MemberChange { change: Some(change) }
}

fn change_from_wire(change: pb::MemberChange) -> Option<MemberChange> {
    use pb::member_change::Change;
    Some(match change.change? {
        Change::AddLearner(peer_address) => MemberChange::AddLearner { peer_address },
        Change::AddVoter(peer_address) => MemberChange::AddVoter { peer_address },
        Change::Promote(id) => MemberChange::Promote(MemberId(id)),
        Change::Remove(id) => MemberChange::Remove(MemberId(id)),
        Change::Replace(r) => MemberChange::Replace { old: MemberId(r.old), new: MemberId(r.new) },
        Change::Move(m) => MemberChange::Move { member: MemberId(m.member), peer_address: m.peer_address },
    })
}

fn refusal_to_wire(error: &MemberError) -> pb::MemberRefusal {
    use pb::member_refusal::Kind;
    let plain = |kind: Kind| pb::MemberRefusal { kind: kind.into(), ..Default::default() };
    let of = |kind, id: &MemberId| pb::MemberRefusal { member: id.0, ..plain(kind) };
    let text = |kind, text: &String| pb::MemberRefusal { text: text.clone(), ..plain(kind) };
    let numbers = |kind, found, wanted| pb::MemberRefusal { found, wanted, ..plain(kind) };
    match error {
        MemberError::NotLeading { .. } => text(Kind::Other, &error.to_string()),
        MemberError::Unreachable(why) => text(Kind::Unreachable, why),
        MemberError::Unknown(id) => of(Kind::Unknown, id),
        MemberError::AlreadyIn(id) => of(Kind::AlreadyIn, id),
        MemberError::NoOtherVoter => plain(Kind::NoOtherVoter),
        MemberError::TimedOut(what) => text(Kind::TimedOut, what),
        MemberError::Older { found, agreed } => numbers(Kind::Older, u64::from(*found), u64::from(*agreed)),
        MemberError::NotALearner(id) => of(Kind::NotALearner, id),
        MemberError::Behind { member, lag } => {
            pb::MemberRefusal { member: member.0, ..numbers(Kind::Behind, *lag, 0) }
        }
        MemberError::QuorumAtRisk { healthy, needed } => {
            numbers(Kind::QuorumAtRisk, *healthy as u64, *needed as u64)
        }
        MemberError::NameInUse(name) => text(Kind::NameInUse, name),
        MemberError::TooMany(most) => numbers(Kind::TooMany, *most as u64, 0),
        MemberError::Removed(id) => of(Kind::Removed, id),
        MemberError::Raft(why) => text(Kind::Other, why),
    }
}

pub(super) fn refusal_from_wire(refusal: &pb::MemberRefusal) -> MemberError {
    use pb::member_refusal::Kind;
    let id = MemberId(refusal.member);
    let (found, wanted, text) = (refusal.found, refusal.wanted, refusal.text.clone());
    let level = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    match refusal.kind() {
        Kind::Other => MemberError::Raft(text),
        Kind::Unreachable => MemberError::Unreachable(text),
        Kind::Unknown => MemberError::Unknown(id),
        Kind::AlreadyIn => MemberError::AlreadyIn(id),
        Kind::NoOtherVoter => MemberError::NoOtherVoter,
        Kind::TimedOut => MemberError::TimedOut(text),
        Kind::Older => MemberError::Older { found: level(found), agreed: level(wanted) },
        Kind::NotALearner => MemberError::NotALearner(id),
        Kind::Behind => MemberError::Behind { member: id, lag: found },
        Kind::QuorumAtRisk => MemberError::QuorumAtRisk { healthy: found as usize, needed: wanted as usize },
        Kind::NameInUse => MemberError::NameInUse(text),
        Kind::TooMany => MemberError::TooMany(found as usize),
        Kind::Removed => MemberError::Removed(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_refusals_survive_the_wire() {
        let (a, b) = (MemberId(7), MemberId(u64::MAX));
        for change in [
            MemberChange::AddLearner { peer_address: "h:1".into() },
            MemberChange::AddVoter { peer_address: "h:2".into() },
            MemberChange::Promote(a),
            MemberChange::Remove(b),
            MemberChange::Replace { old: a, new: b },
            MemberChange::Move { member: a, peer_address: "h:3".into() },
        ] {
            assert_eq!(change_from_wire(change_to_wire(&change)), Some(change));
        }
        for error in [
            MemberError::Unreachable("x".into()),
            MemberError::Unknown(a),
            MemberError::AlreadyIn(b),
            MemberError::NoOtherVoter,
            MemberError::TimedOut("y".into()),
            MemberError::Older { found: 1, agreed: 2 },
            MemberError::NotALearner(a),
            MemberError::Behind { member: b, lag: 9 },
            MemberError::QuorumAtRisk { healthy: 1, needed: 2 },
            MemberError::NameInUse("n".into()),
            MemberError::TooMany(7),
            MemberError::Removed(a),
            MemberError::Raft("z".into()),
        ] {
            assert_eq!(refusal_from_wire(&refusal_to_wire(&error)), error);
        }
    }
}
