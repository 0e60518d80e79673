//! Playing a step at a server, and writing its answer down so that two servers' can be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::pb::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;

/// How long an answer of a watch may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Longer answers are written as their beginning and a hash.
const TEXT_MAX: usize = 4000;

/// One call, as data.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(i64),
    /// On one stream.
    KeepAlive(Vec<i64>),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
    Watch(Vec<Say>),
    Alarm(pb::AlarmRequest),
    Defragment,
    HashKv(i64),
    MoveLeader(u64),
    AuthStatus,
    Authenticate,
    UserList,
    UserAdd,
    RoleList,
    AuthEnable,
}

/// What happens on, or beside, the stream of a watch.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Send(pb::watch_request::RequestUnion),
    /// Waits for this many events and answers without events.
    Take(usize),
    Call(Box<Step>),
}

/// Plays one step and writes the answer down: without the ids of cluster and member and without
/// the term, which no two servers share.
pub(crate) async fn play(channel: &Channel, step: &Step) -> String {
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let mut lease = LeaseClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut auth = AuthClient::new(channel.clone());
    match step.clone() {
        Step::Range(request) => told(kv.range(request).await, |r| &mut r.header),
        Step::Put(request) => told(kv.put(request).await, |r| &mut r.header),
        Step::Delete(request) => told(kv.delete_range(request).await, |r| &mut r.header),
        Step::Txn(request) => told(kv.txn(request).await, |r| &mut r.header),
        Step::Compact(request) => told(kv.compact(request).await, |r| &mut r.header),
        Step::Grant(request) => told(lease.lease_grant(request).await, |r| &mut r.header),
        Step::Revoke(id) => told(lease.lease_revoke(pb::LeaseRevokeRequest { id }).await, |r| &mut r.header),
        Step::KeepAlive(ids) => keep_alive(lease, ids).await,
        Step::TimeToLive(request) => told(lease.lease_time_to_live(request).await, |r| {
            // It runs down while the script is played.
            if r.ttl > 0 && r.ttl <= r.granted_ttl && r.ttl > r.granted_ttl - 60 {
                r.ttl = r.granted_ttl;
            }
            // etcd gives them as they come out of a map.
            r.keys.sort();
            &mut r.header
        }),
        Step::Leases => told(lease.lease_leases(pb::LeaseLeasesRequest {}).await, |r| {
            // etcd sorts by the time left.
            r.leases.sort_by_key(|lease| lease.id);
            &mut r.header
        }),
        Step::Watch(says) => watch(channel, &says).await,
        Step::Alarm(request) => told(maintenance.alarm(request).await, |r| &mut r.header),
        Step::Defragment => told(maintenance.defragment(pb::DefragmentRequest {}).await, |r| &mut r.header),
        Step::HashKv(revision) => told(maintenance.hash_kv(pb::HashKvRequest { revision }).await, |r| {
            r.hash = u32::from(r.hash != 0);
            &mut r.header
        }),
        Step::MoveLeader(target_id) => {
            told(maintenance.move_leader(pb::MoveLeaderRequest { target_id }).await, |r| &mut r.header)
        }
        Step::AuthStatus => told(auth.auth_status(pb::AuthStatusRequest {}).await, |r| &mut r.header),
        Step::Authenticate => {
            let request = pb::AuthenticateRequest { name: "root".into(), password: "guess".into() };
            told(auth.authenticate(request).await, |r| &mut r.header)
        }
        Step::UserList => told(auth.user_list(pb::AuthUserListRequest {}).await, |r| &mut r.header),
        Step::UserAdd => {
            let request = pb::AuthUserAddRequest { name: String::new(), ..Default::default() };
            told(auth.user_add(request).await, |r| &mut r.header)
        }
        Step::RoleList => told(auth.role_list(pb::AuthRoleListRequest {}).await, |r| &mut r.header),
        Step::AuthEnable => told(auth.auth_enable(pb::AuthEnableRequest {}).await, |r| &mut r.header),
    }
}

fn told<R: std::fmt::Debug>(
    answer: Result<Response<R>, Status>,
    header: impl FnOnce(&mut R) -> &mut Option<pb::ResponseHeader>,
) -> String {
    match answer {
        Ok(response) => {
            let mut response = response.into_inner();
            plain(header(&mut response));
            short(format!("{response:?}"))
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

fn plain(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        *header = pb::ResponseHeader { revision: header.revision, ..Default::default() };
    }
}

fn short(text: String) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if text.len() <= TEXT_MAX {
        return text;
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:.200}… {} bytes, {:x}", text, text.len(), hasher.finish())
}

async fn keep_alive(mut lease: LeaseClient<Channel>, ids: Vec<i64>) -> String {
    let count = ids.len();
    let requests = ids.into_iter().map(|id| pb::LeaseKeepAliveRequest { id });
    // Kept open until all is answered.
    let (sender, receiver) = mpsc::channel(count.max(1));
    for request in requests {
        sender.send(request).await.unwrap();
    }
    let mut answers = match lease.lease_keep_alive(ReceiverStream::new(receiver)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return format!("{:?}: {}", status.code(), status.message()),
    };
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.push(match tokio::time::timeout(ANSWER, answers.message()).await {
            Ok(Ok(Some(mut answer))) => {
                plain(&mut answer.header);
                format!("{answer:?}")
            }
            Ok(Ok(None)) => "the end".to_owned(),
            Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
            Err(_) => "nothing".to_owned(),
        });
    }
    lines.join("\n")
}

async fn watch(channel: &Channel, says: &[Say]) -> String {
    let (sender, receiver) = mpsc::channel(64);
    let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let opened = client.watch(ReceiverStream::new(receiver));
    // etcd answers the call when the first request has come.
    let mut says = says.iter();
    if let Some(Say::Send(first)) = says.next() {
        sender.send(pb::WatchRequest { request_union: Some(first.clone()) }).await.unwrap();
    }
    let mut responses = match opened.await {
        Ok(responses) => responses.into_inner(),
        Err(status) => return format!("{:?}: {}", status.code(), status.message()),
    };
    let mut lines = Vec::new();
    for say in says {
        match say {
            Say::Send(request) => {
                let request = pb::WatchRequest { request_union: Some(request.clone()) };
                sender.send(request).await.unwrap();
            }
            Say::Take(count) => lines.extend(take(&mut responses, *count).await),
            Say::Call(step) => lines.push(format!("beside: {}", Box::pin(play(channel, step)).await)),
        }
    }
    short(lines.join("\n"))
}

/// Takes `count` events and answers without events, and sorts them by the watch's id: between two
/// watches there is no order. How events are put together into answers, or cut into fragments, is each server's
/// own.
async fn take(responses: &mut Streaming<pb::WatchResponse>, count: usize) -> Vec<String> {
    let mut taken = 0;
    let mut by_watch: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    while taken < count {
        let response = match tokio::time::timeout(ANSWER, responses.message()).await {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => return vec![format!("{by_watch:?}, then the end")],
            Ok(Err(status)) => {
                return vec![format!("{by_watch:?}, then {:?}: {}", status.code(), status.message())];
            }
            Err(_) => return vec![format!("{by_watch:?}, then nothing")],
        };
        let lines = by_watch.entry(response.watch_id).or_default();
        if response.events.is_empty() {
            taken += 1;
            lines.push(format!(
                "created {} canceled {} compact {} reason {:?} at {}",
                response.created,
                response.canceled,
                response.compact_revision,
                response.cancel_reason,
                response.header.map_or(0, |header| header.revision),
            ));
        }
        // How many come in one answer is the server's own.
        for event in response.events.into_iter().take(count - taken.min(count)) {
            taken += 1;
            lines.push(format!("{event:?}"));
        }
    }
    let by_watch = by_watch.into_iter();
    by_watch
        .flat_map(|(id, lines)| lines.into_iter().map(move |line| format!("watch {id}: {line}")))
        .collect()
}
