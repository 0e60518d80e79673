//! Elections that come early when the leader's connection is gone, and leadership given away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver;

use super::members::MemberError;
use super::{Inner, Replica};
use crate::peer::Contact;
use crate::types::MemberId;

/// Between two early tries.
const ELECT_EVERY: Duration = Duration::from_millis(45);
/// Early tries after one loss; openraft's own timer goes on beside them.
const ELECT_TRIES: usize = 20;
/// A handover that is not done by then is given up.
pub(super) const HANDOVER_TIMEOUT: Duration = Duration::from_secs(3);
const HANDOVER_POLL: Duration = Duration::from_millis(5);

impl Inner {
    /// Asks for votes soon after a leader's connection has closed. No vote is given before the
    /// leader's lease ends, so that is what it waits for, and a little longer for each member that
    /// comes earlier in the order of ids.
    pub(super) async fn run_elections(self: Arc<Self>) {
        let mut losses = self.contact.losses();
        loop {
            tokio::select! {
                changed = losses.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
            let lost_at = Instant::now();
            let Some((leader, _)) = self.leader() else { continue };
            let Some(place) = self.place_without(leader) else { continue };
            let timing = &self.config.timing;
            let wait = timing.election_max.saturating_sub(timing.heartbeat) + timing.stagger * place;
            tokio::time::sleep(wait).await;
            for _ in 0..ELECT_TRIES {
                if heard_since(&self.contact, lost_at) || self.leader().is_none_or(|(now, _)| now != leader) {
                    break;
                }
                if self.raft.trigger().elect(true).await.is_err() {
                    return;
                }
                tokio::time::sleep(ELECT_EVERY).await;
            }
        }
    }

    /// This member's place among the voters, `leader` left out; `None` where it has no vote.
    fn place_without(&self, leader: MemberId) -> Option<u32> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut voters: Vec<MemberId> =
            metrics.membership_config.voter_ids().filter(|voter| *voter != leader).collect();
        voters.sort();
        voters.iter().position(|voter| *voter == self.member).map(|place| place as u32)
    }
}

/// Whether the leader has spoken after the loss: it was its connection that broke, not it.
fn heard_since(contact: &Contact, lost_at: Instant) -> bool {
    contact.last_heard() > lost_at
}

/// Lets proposals through again when dropped.
struct Held<'r>(&'r Inner);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.hold.send_replace(false);
    }
}

impl Replica {
    /// Gives leadership to `target`, or to the voter that is furthest. Proposals wait meanwhile
    /// and go to whoever leads afterwards; none fails for it.
    pub async fn hand_over(&self, target: Option<MemberId>) -> Result<MemberId, MemberError> {
        let inner = &self.inner;
        if inner.leading_term().is_none() {
            return Err(MemberError::NotLeading { leader: inner.leader().map(|(leader, _)| leader) });
        }
        if inner.voters().len() < 2 {
            return Err(MemberError::NoOtherVoter);
        }
        let deadline = Instant::now() + HANDOVER_TIMEOUT;
        inner.hold.send_replace(true);
        let _held = Held(inner);
        // openraft stops taking proposals and does not wait for a target that lags: so it is
        // asked only once the target has everything.
        let target = loop {
            if let Some(target) = inner.matched_voter(target) {
                break target;
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut("no other voter answers and has the whole log".into()));
            }
            tokio::time::sleep(HANDOVER_POLL).await;
        };
        tracing::info!(to = %target, "leadership is offered");
        inner
            .raft
            .trigger()
            .transfer_leader(target)
            .await
            .map_err(|error| MemberError::Raft(error.to_string()))?;
        loop {
            if let Some((leader, _)) = inner.leader()
                && leader != inner.member
            {
                tracing::info!(to = %leader, "leadership was handed over");
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut("no other member took leadership over".into()));
            }
            tokio::time::sleep(HANDOVER_POLL).await;
        }
    }
}

impl Inner {
    /// A voter, `wanted` or any, that has this leader's whole log and is not silent: while nothing is
    /// written, a dead one has it, too.
    fn matched_voter(&self, wanted: Option<MemberId>) -> Option<MemberId> {
        let heard = self.heard_of();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let last = metrics.last_log_index;
        metrics
            .membership_config
            .voter_ids()
            .filter(|voter| *voter != self.member && wanted.is_none_or(|wanted| wanted == *voter))
            .filter(|voter| heard.contains(voter))
            .find(|voter| {
                let matched = replication.get(voter).copied().flatten();
                matched.map(|id| id.index) >= last
            })
    }
}
