//! A member's own way into the cluster: it asks the leader until it votes, after each start again.
//! So it may be killed at any point, and starting it again goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::members::{Joined, MemberError, refusal_from_wire};
use super::{Inner, Replica};
use crate::peer::{Lane, pb};
use trireme_store::work;

/// Between two questions while it has no vote.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at itself while it has one.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

const JOINING: &str = "joining the cluster";

/// How a member that was not there when the cluster was made comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// `host:port` of members' peer services; one that is in the cluster is enough.
    pub peers: Vec<String>,
    /// Name of the member in whose place it comes, which must be dead. Without it: one with its own
    /// name, if there is one.
    pub replaces: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum NotJoined {
    #[error(transparent)]
    Refused(#[from] MemberError),
    /// No leader was found to ask.
    #[error("{0}")]
    Unheard(String),
}

impl Replica {
    /// Whether this member has a vote, as far as it knows.
    pub fn votes(&self) -> bool {
        self.inner.voters().contains(&self.inner.member)
    }
}

impl Inner {
    pub(super) async fn run_joining(self: Arc<Self>) {
        let mut said = None;
        loop {
            let pause = if self.has_to_ask() {
                let asked = self.ask_to_join().await;
                *self.joining.lock() = match &asked {
                    Ok(Joined::Learning { matched_index, last_index, .. }) => {
                        Some((*matched_index, *last_index))
                    }
                    _ => None,
                };
                match asked {
                    Ok(Joined::Votes) => {
                        self.note_taken_in().await;
                        self.solved(JOINING);
                        said = None;
                        LOOK_EVERY
                    }
                    Ok(Joined::Learning { matched_index, last_index, agreed }) => {
                        if agreed {
                            self.note_taken_in().await;
                        }
                        self.report(
                            &mut said,
                            format!("{JOINING}: it has {matched_index} of {last_index} entries"),
                        );
                        ASK_EVERY
                    }
                    // It has a vote as far as it knows, and the others are silent: that is no news.
                    Err(NotJoined::Unheard(_)) if self.voters().contains(&self.member) => ASK_EVERY,
                    Err(reason) => {
                        self.report(&mut said, format!("{JOINING}: {reason}"));
                        ASK_EVERY
                    }
                }
            } else {
                *self.joining.lock() = None;
                self.solved(JOINING);
                said = None;
                LOOK_EVERY.min(ASK_EVERY)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn note_taken_in(&self) {
        let newcomer = self.newcomer.clone();
        let _ = work::blocking(move || newcomer.taken_in()).await;
    }

    /// Shows how it goes, in the place of what was said before.
    fn report(&self, said: &mut Option<String>, now: String) {
        if said.as_ref() != Some(&now) {
            self.solved(JOINING);
            self.problem(now.clone());
            *said = Some(now);
        }
    }

    /// Whether something is to be settled with the leader: a vote that it wants, an address that is
    /// another now, or, where nobody speaks to it, whether it belongs to them at all.
    fn has_to_ask(&self) -> bool {
        let wants_vote = self.config.join.is_some() || !self.config.initial_members.is_empty();
        if !wants_vote {
            return false;
        }
        match self.nodes().get(&self.member) {
            Some(_) if !self.voters().contains(&self.member) => true,
            Some(node) if *node != self.node() => true,
            Some(_) => !*self.has_leader.borrow(),
            // Without a log it may be one of those that make the cluster.
            None => {
                self.config.join.is_some()
                    || self.elsewhere.load(Ordering::Relaxed)
                    || self.log.last().is_some()
            }
        }
    }

    async fn ask_to_join(&self) -> Result<Joined, NotJoined> {
        let own = self.node();
        let request = pb::JoinRequest {
            cluster: self.config.cluster.clone(),
            member: self.member.0,
            name: own.name,
            peer_address: own.peer_address.clone(),
            client_address: own.client_address,
            replaces: self.config.join.as_ref().and_then(|join| join.replaces.clone()).unwrap_or_default(),
        };
        if self.leading_term().is_some() {
            // Where it is alone, nobody else could be told that it has moved.
            return Ok(self.join(&request).await?);
        }
        let mut addresses: Vec<String> = Vec::new();
        addresses.extend(self.leader().map(|(_, address)| address));
        addresses.extend(self.nodes().into_values().map(|node| node.peer_address));
        addresses.extend(self.config.join.iter().flat_map(|join| join.peers.clone()));
        addresses.extend(self.config.initial_members.values().cloned());
        let mut asked = BTreeSet::from([own.peer_address]);
        let mut reason = "no other member is known".to_owned();
        let mut at = 0;
        // Each that does not lead names who does: that one is asked next.
        while at < addresses.len() {
            let address = addresses[at].clone();
            at += 1;
            if !asked.insert(address.clone()) {
                continue;
            }
            match self.ask_one(&address, request.clone()).await {
                Ok(pb::join_response::Result::Votes(_)) => return Ok(Joined::Votes),
                Ok(pb::join_response::Result::Learning(progress)) => {
                    let pb::Learning { matched_index, last_index, agreed } = progress;
                    return Ok(Joined::Learning { matched_index, last_index, agreed });
                }
                Ok(pb::join_response::Result::Refused(refusal)) => {
                    return Err(refusal_from_wire(&refusal).into());
                }
                Ok(pb::join_response::Result::NotLeader(leader)) => {
                    if leader.is_empty() {
                        reason = MemberError::NotLeading { leader: None }.to_string();
                    } else {
                        addresses.insert(at, leader);
                    }
                }
                Err(why) => reason = format!("{address}: {why}"),
            }
        }
        Err(NotJoined::Unheard(reason))
    }

    async fn ask_one(
        &self,
        address: &str,
        request: pb::JoinRequest,
    ) -> Result<pb::join_response::Result, String> {
        let client = self.peers.client(address, Lane::Forward);
        let mut client = client.map_err(|status| status.message().to_owned())?;
        let mut request = tonic::Request::new(request);
        request.set_timeout(ASK_TIMEOUT);
        let response = client.join(request).await.map_err(|status| status.message().to_owned())?;
        response.into_inner().result.ok_or_else(|| "it answers nothing that is understood here".to_owned())
    }
}
