//! What the leader knows of the others' processes: by it, other leaderships follow the store's.

use std::time::{Duration, Instant};

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;

use super::Replica;

impl Replica {
    /// Drawn at random when this process started. Its proposals carry it, and no other's.
    pub fn incarnation(&self) -> u64 {
        self.inner.proposals.client()
    }

    /// For how long this member has led, as far as it was asked; `None` where it does not lead,
    /// or where no quorum has confirmed it within the last moments.
    pub fn led_for(&self) -> Option<Duration> {
        let term = self.confirmed_term()?;
        let mut led = self.inner.led.lock();
        match *led {
            Some((known, since)) if known == term => Some(since.elapsed()),
            _ => {
                *led = Some((term, Instant::now()));
                Some(Duration::ZERO)
            }
        }
    }

    /// Whether the process that is, or was, `incarnation` of the member called `name` is known to
    /// have ended or to be out of reach. Only a leader knows of others, and a member knows of its
    /// own: everybody else says false.
    pub fn is_process_gone(&self, name: &str, incarnation: u64) -> bool {
        let inner = &self.inner;
        if name == inner.config.name {
            // One process at a time has a data directory.
            return incarnation != self.incarnation();
        }
        let Some(term) = self.confirmed_term() else { return false };
        let metrics = inner.raft.metrics();
        let member = metrics
            .borrow_watched()
            .membership_config
            .nodes()
            .find(|(_, node)| node.name == name)
            .map(|(id, _)| *id);
        match member {
            Some(member) => {
                let led_until = inner.contact.last_word_of(member);
                inner.peers.liveness().is_gone(member, term, incarnation, led_until)
            }
            // It was taken out.
            None => true,
        }
    }

    /// The term in which this member leads, if a quorum has just said so. One that stood still
    /// takes itself for the leader until it hears otherwise.
    fn confirmed_term(&self) -> Option<u64> {
        let inner = &self.inner;
        let term = inner.leading_term()?;
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.membership_config.voter_ids().count() == 1 {
            return Some(term);
        }
        let fresh =
            metrics.last_quorum_acked.is_some_and(|at| at.elapsed() <= inner.config.timing.election_max * 2);
        fresh.then_some(term)
    }
}
