//! What all members understand: while the cluster is upgraded member by member, nothing is agreed
//! on that an older one could not apply.
//!
//! Each version has a feature level; the leader asks every member for its own and agrees with them
//! on the lowest. What a later version adds to commands is proposed only once the agreed level has
//! reached it, so a member that meets a command it does not know has met damage and may stop. The
//! agreed level never falls: a version that knows less than it refuses the data.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use trireme_store::log::CommandOp;

use super::Inner;
use crate::types::MemberId;

/// Between two rounds of questions, while some member understands less than the leader.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Inner {
    /// While leading: raises the agreed level when every member has come to understand more.
    pub(super) async fn run_features(self: Arc<Self>) {
        let own = self.config.feature_level;
        loop {
            let agreed = self.store.applied().feature_level;
            if agreed > own {
                let reason = format!(
                    "the cluster has agreed on feature level {agreed}, and this version of trireme understands {own} at most: it is an older one"
                );
                (self.config.on_fatal)(&reason);
                return;
            }
            if agreed < own && self.leading_term().is_some() {
                match self.lowest_level().await {
                    Ok(lowest) if lowest > agreed => {
                        match self.propose(CommandOp::FeatureLevel(lowest)).await {
                            Ok(_) => tracing::info!(level = lowest, "all members understand a feature level"),
                            Err(error) => tracing::debug!(%error, "no feature level was agreed on"),
                        }
                    }
                    Ok(_) => {}
                    Err(reason) => tracing::debug!(reason, "no feature level was agreed on"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// The lowest level of all members, learners too. An error where one does not answer: it may
    /// be the oldest.
    async fn lowest_level(&self) -> Result<u32, String> {
        let others: Vec<(MemberId, String)> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let nodes = metrics.membership_config.nodes().filter(|(id, _)| **id != self.member);
            nodes.map(|(id, node)| (*id, node.peer_address.clone())).collect()
        };
        let mut lowest = self.config.feature_level;
        for (id, address) in others {
            let answer = self.identify(&address).await?;
            if answer.member != id.0 {
                return Err(format!("another member than {id} answers at {address}"));
            }
            lowest = lowest.min(answer.feature_level);
        }
        Ok(lowest)
    }
}
