//! Who the members are, and changes of it, for operators' commands.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tonic::transport::Channel;
use tonic::{Request, Status as GrpcStatus};

use super::{Remote, ext};
use crate::etcd::MemberInfo;
use crate::etcd::pb::etcdserverpb as pb;
use crate::etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use crate::etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::etcd::pb::trireme::v1::store_client::StoreClient;
use crate::replica::MemberChange;
use crate::types::MemberId;

/// A change waits for a quorum, and a new voter catches up first.
const CHANGE_MAX: Duration = Duration::from_secs(90);
const LIST_MAX: Duration = Duration::from_secs(5);

/// Why a change was not made, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(pub(super) String);

impl ChangeError {
    pub(super) fn new(status: &GrpcStatus) -> Self {
        let detail = status.metadata().get(crate::etcd::MEMBER_DETAIL).and_then(|value| value.to_str().ok());
        Self(detail.unwrap_or(status.message()).to_owned())
    }
}

impl Remote {
    /// Members as the last agreed membership has them.
    pub async fn members(&self) -> Result<Vec<MemberInfo>, ChangeError> {
        Ok(self.ask_for_members().await?.1)
    }

    /// The members, and which endpoint was the first to know.
    async fn ask_for_members(&self) -> Result<(usize, Vec<MemberInfo>), ChangeError> {
        let ask = |i: usize, channel: &Channel| {
            let mut client = ClusterClient::new(channel.clone());
            let request = within(pb::MemberListRequest { linearizable: true }, LIST_MAX);
            async move { (i, client.member_list(request).await) }
        };
        // All at once: one that was removed or is cut off answers when its time is up.
        let mut answers: FuturesUnordered<_> =
            self.0.endpoints.iter().enumerate().map(|(i, (_, channel))| ask(i, channel)).collect();
        let mut last = None;
        while let Some((i, answer)) = answers.next().await {
            match answer {
                Ok(answer) => {
                    return Ok((i, answer.into_inner().members.into_iter().map(member).collect()));
                }
                Err(status) => last = Some(ChangeError::new(&status)),
            }
        }
        Err(last.unwrap_or_else(|| ChangeError("there is no endpoint".into())))
    }

    /// Makes one change. Asks one member after another until one answers, first one that is in touch
    /// with a leader: who was removed would wait for one in vain.
    pub async fn change_members(&self, change: &MemberChange) -> Result<(), ChangeError> {
        let first = self.ask_for_members().await.map_or(0, |(i, _)| i);
        let endpoints = &self.0.endpoints;
        let mut last = None;
        for (_, channel) in endpoints.iter().cycle().skip(first).take(endpoints.len()) {
            let mut cluster = ClusterClient::new(channel.clone());
            let done = match change {
                MemberChange::AddLearner { peer_address } | MemberChange::AddVoter { peer_address } => {
                    let is_learner = matches!(change, MemberChange::AddLearner { .. });
                    let peer_ur_ls = vec![format!("https://{peer_address}")];
                    let request = pb::MemberAddRequest { peer_ur_ls, is_learner };
                    cluster.member_add(within(request, CHANGE_MAX)).await.map(drop)
                }
                MemberChange::Promote(id) => {
                    let request = pb::MemberPromoteRequest { id: id.0 };
                    cluster.member_promote(within(request, CHANGE_MAX)).await.map(drop)
                }
                MemberChange::Remove(id) => {
                    let request = pb::MemberRemoveRequest { id: id.0 };
                    cluster.member_remove(within(request, CHANGE_MAX)).await.map(drop)
                }
                MemberChange::Move { member, peer_address } => {
                    let peer_ur_ls = vec![format!("https://{peer_address}")];
                    let request = pb::MemberUpdateRequest { id: member.0, peer_ur_ls };
                    cluster.member_update(within(request, CHANGE_MAX)).await.map(drop)
                }
                MemberChange::Replace { old, new } => {
                    let request = ext::ReplaceMemberRequest { old: old.0, new: new.0 };
                    StoreClient::new(channel.clone())
                        .replace_member(within(request, CHANGE_MAX))
                        .await
                        .map(drop)
                }
            };
            match done {
                Ok(()) => return Ok(()),
                // Another may be in better touch with a leader.
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    last = Some(ChangeError::new(&status));
                }
                Err(status) => return Err(ChangeError::new(&status)),
            }
        }
        Err(last.unwrap_or_else(|| ChangeError("there is no endpoint".into())))
    }

    /// Has leadership given to `target`. Only the leader does it, so all are asked in turn.
    pub async fn move_leader(&self, target: MemberId) -> Result<(), ChangeError> {
        let mut refused = Vec::new();
        for (address, channel) in &self.0.endpoints {
            let request = within(pb::MoveLeaderRequest { target_id: target.0 }, CHANGE_MAX);
            match MaintenanceClient::new(channel.clone()).move_leader(request).await {
                Ok(_) => return Ok(()),
                Err(status) => refused.push(format!("{address}: {}", ChangeError::new(&status))),
            }
        }
        Err(ChangeError(refused.join("; ")))
    }
}

fn within<T>(message: T, time: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

fn member(member: pb::Member) -> MemberInfo {
    let address = |urls: Vec<String>| {
        urls.first().map(|url| url.trim_start_matches("https://").to_owned()).unwrap_or_default()
    };
    MemberInfo {
        id: member.id,
        name: member.name,
        peer_address: address(member.peer_ur_ls),
        client_address: address(member.client_ur_ls),
        is_learner: member.is_learner,
    }
}
