//! When the leader was last heard of, and an early election when its connection is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::types::{MemberId, Vote};

#[derive(Clone, Copy, Debug)]
struct Heard {
    leader: Option<MemberId>,
    at: Instant,
}

/// The last word from a leader.
pub(crate) struct Contact {
    heard: Mutex<Heard>,
    /// Counts connections from the leader that ended.
    lost: watch::Sender<u64>,
}

impl Contact {
    pub(crate) fn new() -> Arc<Self> {
        let heard = Heard { leader: None, at: Instant::now() };
        Arc::new(Self { heard: Mutex::new(heard), lost: watch::Sender::new(0) })
    }

    /// A leader with `vote` spoke.
    pub(crate) fn heard(&self, vote: &Vote) {
        *self.heard.lock() = Heard { leader: Some(vote.leader_id.voted_for), at: Instant::now() };
    }

    /// The connection on which `vote`'s leader sent entries has ended.
    pub(crate) fn connection_lost(&self, vote: &Vote) {
        if self.heard.lock().leader == Some(vote.leader_id.voted_for) {
            self.lost.send_modify(|count| *count += 1);
        }
    }

    /// How long ago the leader was heard.
    pub(crate) fn age(&self) -> Duration {
        self.heard.lock().at.elapsed()
    }

    /// When `member` last spoke as the leader, if no other has since.
    pub(crate) fn last_word_of(&self, member: MemberId) -> Option<Instant> {
        let heard = *self.heard.lock();
        (heard.leader == Some(member)).then_some(heard.at)
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.heard.lock().at
    }

    /// Changes when a leader's connection ends.
    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }
}
