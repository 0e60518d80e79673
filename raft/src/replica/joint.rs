//! A change of voters that its leader did not live to end: the next one ends it.
//!
//! A change goes through a joint configuration, in which the old voters and the new ones must each have a
//! majority. A cluster that stayed there would go on counting on who was to leave, and stand still when
//! one more is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use trireme_store::planted::{self, Bug};

use super::Inner;
use crate::types::{LogId, MemberId};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Who began a change ends it within this, if it lives.
const PATIENCE: Duration = Duration::from_millis(500);

impl Inner {
    /// While leading: ends changes that have stood half done.
    pub(super) async fn run_joint(self: Arc<Self>) {
        if planted::is(Bug::JointStays) {
            return;
        }
        let mut half_done: Option<(LogId, Instant)> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => return,
            }
            let Some((position, voters)) = self.joint() else {
                half_done = None;
                continue;
            };
            match half_done {
                Some((known, since)) if known == position && since.elapsed() >= PATIENCE => {
                    tracing::warn!(?voters, "a change of members stood half done; ending it");
                    match self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await {
                        Ok(_) => half_done = None,
                        Err(error) => tracing::debug!(%error, "it could not be ended yet"),
                    }
                }
                Some((known, _)) if known == position => {}
                _ => half_done = Some((position, Instant::now())),
            }
        }
    }

    /// Where this member leads and the voters are those of a joint configuration: since which entry, and
    /// who is to vote after it.
    fn joint(&self) -> Option<(LogId, BTreeSet<MemberId>)> {
        self.leading_term()?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        let voters = configs.last().filter(|_| configs.len() > 1)?;
        Some(((*metrics.membership_config.log_id())?, voters.clone()))
    }
}
