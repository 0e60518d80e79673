//! The first start of a cluster: its members find each other by name, and the first of them in
//! the order of names makes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inner;
use crate::peer::Lane;
use crate::peer::pb;
use crate::types::{MemberId, MemberNode};

/// Between two rounds of questions.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// A member that has not answered by then is asked again.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Rounds without success before it is said aloud what is missing.
const ROUNDS_QUIET: u32 = 100;
/// Rounds in which the first entries of a cluster that was made a moment ago may still be on their
/// way to this member.
const ROUNDS_MAKING: u32 = 20;

enum Asked {
    Node(MemberId, MemberNode),
    /// It is part of a cluster that this member does not know of.
    Elsewhere,
    Silent(String),
}

impl Inner {
    /// Makes the cluster, or waits until it is made. Does nothing for a member that has been in
    /// one: so it may run at every start.
    pub(super) async fn run_bootstrap(self: Arc<Self>) {
        if !self.fresh && self.raft.is_initialized().await.unwrap_or(true) {
            return;
        }
        for round in 0u32.. {
            if self.stop.is_cancelled() || self.raft.is_initialized().await.unwrap_or(true) {
                self.solved("waiting for");
                return;
            }
            if !self.config.initial_members.is_empty() {
                self.bootstrap_round(round).await;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn bootstrap_round(&self, round: u32) {
        let mut nodes = BTreeMap::from([(self.member, self.node())]);
        let mut silent = Vec::new();
        for (name, address) in &self.config.initial_members {
            if *name == self.config.name {
                continue;
            }
            match self.ask(name, address).await {
                Asked::Node(id, node) => {
                    nodes.insert(id, node);
                }
                Asked::Elsewhere => {
                    // Its disk is new and the cluster is not: under this identity it has never
                    // voted, and another one of its name may have. Making a cluster of its own
                    // would be the end of both; it asks to be taken in under the new one.
                    if round >= ROUNDS_MAKING {
                        self.elsewhere.store(true, Ordering::Relaxed);
                    }
                    return;
                }
                Asked::Silent(reason) => silent.push(format!("{name} at {address} ({reason})")),
            }
        }
        if !silent.is_empty() {
            if round == ROUNDS_QUIET {
                self.problem(format!("waiting for {} to make the cluster with", silent.join(", ")));
            }
            return;
        }
        let first = self.config.initial_members.keys().next();
        if first.is_some_and(|first| *first == self.config.name) {
            tracing::info!(members = nodes.len(), "making a new cluster");
            if let Err(error) = self.raft.initialize(nodes).await {
                tracing::warn!(%error, "the cluster could not be made");
            }
        }
    }

    async fn ask(&self, name: &str, address: &str) -> Asked {
        match self.identify(address).await {
            Ok(answer) if answer.name != name => {
                Asked::Silent(format!("a member named {:?} answers there", answer.name))
            }
            Ok(answer) if answer.initialized => {
                // Made by the first member a moment ago, with this one in it: its log will say so.
                Asked::Elsewhere
            }
            Ok(answer) => Asked::Node(MemberId(answer.member), node_of(&answer)),
            Err(reason) => Asked::Silent(reason),
        }
    }

    /// Asks the member at `address` who it is.
    pub(super) async fn identify(&self, address: &str) -> Result<pb::IdentifyResponse, String> {
        let mut client =
            self.peers.client(address, Lane::Forward).map_err(|status| status.message().to_owned())?;
        let mut request = tonic::Request::new(pb::IdentifyRequest { cluster: self.config.cluster.clone() });
        request.set_timeout(ASK_TIMEOUT);
        match client.identify(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(status.message().to_owned()),
        }
    }

    /// This member as the others see it.
    pub(super) fn node(&self) -> MemberNode {
        MemberNode {
            name: self.config.name.clone(),
            peer_address: self.config.peer_address.clone(),
            client_address: self.config.client_address.clone(),
        }
    }
}

pub(super) fn node_of(answer: &pb::IdentifyResponse) -> MemberNode {
    MemberNode {
        name: answer.name.clone(),
        peer_address: answer.peer_address.clone(),
        client_address: answer.client_address.clone(),
    }
}
