//! Comparing the members' states: who differs from a majority must not go on.
//!
//! Every member notes its state's hash at each mark, and the next mark carries what the leader
//! noted. A member that differs from it asks the others, and so does the leader at every mark:
//! the leader's word alone counts for no more than its own vote, since it may be the one that is
//! wrong.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::watch;
use trireme_store::log::MarkedHash;

use super::Inner;
use crate::peer::{Lane, addressed, pb};
use crate::types::MemberId;

/// Marks of which the hash is known; who asks for an older one is not answered.
const KEPT_MAX: usize = 16;
/// Between two rounds of questions, and how many there are.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ROUNDS_MAX: u32 = 5;
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Says in a data directory how often its state was found to differ in a row.
const DIVERGED: &str = "DIVERGED";
/// So often it is only started again: what was wrong in memory alone is then mended by the log.
const STARTS_MAX: u32 = 2;

const UNDECIDED: &str = "the members' states differ";

/// The state's hashes at the last marks.
pub(super) struct Marks {
    recent: Mutex<VecDeque<MarkedHash>>,
    /// What this member had at a mark where the leader had something else.
    differs: watch::Sender<Option<MarkedHash>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { recent: Mutex::default(), differs: watch::Sender::new(None) }
    }
}

impl Marks {
    /// Notes a mark; `agrees` is about the one before.
    pub(super) fn note(&self, own: MarkedHash, agrees: Option<bool>) {
        let mut recent = self.recent.lock();
        if agrees == Some(false) {
            self.differs.send_replace(recent.back().copied());
        }
        if recent.len() == KEPT_MAX {
            recent.pop_front();
        }
        recent.push_back(own);
    }

    pub(super) fn last(&self) -> Option<MarkedHash> {
        self.recent.lock().back().copied()
    }

    pub(super) fn at(&self, index: u64) -> Option<MarkedHash> {
        self.recent.lock().iter().find(|mark| mark.index == index).copied()
    }

    /// The state was replaced: what was noted is not about this one.
    pub(super) fn clear(&self) {
        self.recent.lock().clear();
        self.differs.send_replace(None);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A majority has the same state.
    Sound,
    /// A majority has one and the same other state.
    Diverged,
    /// Everybody has answered, and no majority has one state.
    Split,
}

/// What the voters' hashes say about `own`; `None` while it depends on who has not answered.
fn verdict(own: u128, others: &[u128], voters: usize, own_votes: bool) -> Option<Verdict> {
    let mut votes: BTreeMap<u128, usize> = BTreeMap::new();
    for hash in others {
        *votes.entry(*hash).or_default() += 1;
    }
    *votes.entry(own).or_default() += usize::from(own_votes);
    match votes.iter().find(|(_, count)| **count > voters / 2) {
        Some((hash, _)) if *hash == own => Some(Verdict::Sound),
        Some(_) => Some(Verdict::Diverged),
        None => (others.len() + usize::from(own_votes) >= voters).then_some(Verdict::Split),
    }
}

impl Inner {
    /// Follows whether the leader's marks differ from this member's.
    pub(super) async fn run_divergence(self: Arc<Self>) {
        let mut differs = self.marks.differs.subscribe();
        loop {
            tokio::select! {
                changed = differs.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
            let suspect = *differs.borrow_and_update();
            if let Some(own) = suspect {
                tracing::error!(log_index = own.index, "this member's state differs from the leader's");
                self.judge(own).await;
            }
        }
    }

    /// Asks the other voters what they had at a mark, and ends this member if a majority had
    /// something else.
    pub(super) async fn judge(&self, own: MarkedHash) {
        let voters = self.voter_addresses();
        let own_votes = voters.contains_key(&self.member);
        let mut answers: BTreeMap<MemberId, u128> = BTreeMap::new();
        let mut found = None;
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                tokio::select! {
                    () = tokio::time::sleep(ASK_EVERY) => {}
                    () = self.stop.cancelled() => return,
                }
            }
            let silent = voters.iter().filter(|(id, _)| **id != self.member && !answers.contains_key(*id));
            let asked = silent.map(|(id, address)| async move {
                Some((*id, self.ask_marked_hash(*id, address, own.index).await?))
            });
            let heard = futures::future::join_all(asked).await;
            answers.extend(heard.into_iter().flatten());
            let others: Vec<_> = answers.values().copied().collect();
            found = verdict(own.hash, &others, voters.len(), own_votes);
            if found.is_some() {
                break;
            }
        }
        match found {
            Some(Verdict::Sound) => {
                self.solved(UNDECIDED);
                forget_divergence(&self.config.data_dir);
            }
            Some(Verdict::Diverged) => {
                note_divergence(&self.config.data_dir);
                // Serving on would hand out what the others do not have.
                (self.config.on_fatal)("this member's state differs from that of a majority");
            }
            Some(Verdict::Split) => self.problem(format!("{UNDECIDED}, and no majority has the same")),
            None if answers.values().any(|hash| *hash != own.hash) => {
                self.problem(format!("{UNDECIDED}, and too few answer to tell which is right"));
            }
            None => {}
        }
    }

    fn voter_addresses(&self) -> BTreeMap<MemberId, String> {
        let voters = self.voters();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes().filter(|(id, _)| voters.contains(id));
        nodes.map(|(id, node)| (*id, node.peer_address.clone())).collect()
    }

    async fn ask_marked_hash(&self, member: MemberId, address: &str, index: u64) -> Option<u128> {
        let mut client = self.peers.client(address, Lane::Forward).ok()?;
        let request = pb::MarkedHashRequest { index };
        let request = addressed(self.cluster_id, member, request, Some(ASK_TIMEOUT));
        let answer = client.marked_hash(request).await.ok()?.into_inner();
        Some(u128::from_be_bytes(answer.hash.as_ref().try_into().ok()?))
    }
}

fn note_divergence(dir: &Path) {
    let times = times_diverged(dir) + 1;
    if let Err(error) = std::fs::write(path(dir), format!("{times}\n")) {
        tracing::error!(%error, "that the state differs could not be noted");
    }
}

fn forget_divergence(dir: &Path) {
    // Mostly there is none.
    let _ = std::fs::remove_file(path(dir));
}

fn times_diverged(dir: &Path) -> u32 {
    std::fs::read_to_string(path(dir)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Whether the state was found to differ after it had been started again for that.
pub(crate) fn is_diverged(dir: &Path) -> bool {
    times_diverged(dir) >= STARTS_MAX
}

fn path(dir: &Path) -> PathBuf {
    dir.join(DIVERGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_decides_whoever_leads() {
        use Verdict::{Diverged, Sound, Split};
        let check = |own, others: &[u128], voters, expected| {
            assert_eq!(verdict(own, others, voters, true), expected, "{own} {others:?} of {voters}");
        };
        check(1, &[], 1, Some(Sound));
        check(1, &[1], 3, Some(Sound));
        check(1, &[2], 3, None);
        check(1, &[2, 2], 3, Some(Diverged));
        check(1, &[2, 1], 3, Some(Sound));
        check(1, &[2, 3], 3, Some(Split));
        check(1, &[2], 2, Some(Split));
        check(1, &[2, 2], 5, None);
        check(1, &[2, 2, 2], 5, Some(Diverged));
        // A learner has no vote, and is measured by those who have.
        assert_eq!(verdict(1, &[2, 2], 3, false), Some(Diverged));
        assert_eq!(verdict(1, &[1], 3, false), None);
    }
}
