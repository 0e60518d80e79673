//! Clients whose certificates limit them: every call of the face, allowed and not.

use tonic::transport::Channel;
use tonic::{Code, Status};
use trireme_raft::etcd::access::Grant;
use trireme_raft::{Certificates, Limits};

use crate::cluster::{Ca, Cluster, put_surely};
use crate::pb::etcdserverpb as pb;
use crate::pb::trireme::v1 as ext;
use crate::side_by_side::connect;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

fn limited(ca: &Ca, name: &str, grants: &[(&'static str, bool)]) -> Certificates {
    let uris =
        grants.iter().map(|(prefix, write)| Grant { prefix: (*prefix).into(), write: *write }.to_uri());
    ca.issue_limited(name, uris.collect())
}

fn is_denied<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>) {
    match answer {
        Err(status) => {
            assert_eq!(
                (status.code(), status.message()),
                (Code::PermissionDenied, "etcdserver: permission denied"),
                "{what}"
            );
        }
        Ok(answer) => panic!("{what}: {answer:?}"),
    }
}

fn get(key: &'static str, end: &'static [u8]) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn put(key: &'static str, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "v".into(), lease, ..Default::default() }
}

fn delete(key: &'static str, end: &'static [u8]) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn txn(op: pb::request_op::Request) -> pb::TxnRequest {
    let failure = vec![pb::RequestOp { request: Some(op) }];
    pb::TxnRequest { failure, ..Default::default() }
}

async fn first_of_watch(channel: &Channel, key: &'static str, end: &'static [u8]) -> pb::WatchResponse {
    let create = pb::WatchCreateRequest { key: key.into(), range_end: end.into(), ..Default::default() };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let stream = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut answers = WatchClient::new(channel.clone()).watch(stream).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_client_reads_and_writes_its_prefixes_alone() {
    use pb::request_op::Request::{RequestDeleteRange, RequestPut, RequestRange};
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    for key in ["a/1", "b/1", "c/1"] {
        put_surely(cluster.replica(0), key, "v").await;
    }
    let grants = [("a/", true), ("b/", false)];
    let certificates = limited(&cluster.ca, "limited", &grants);
    let channel = connect(&cluster.members[0].client_address, &certificates).await;
    let mut kv = KvClient::new(channel.clone());

    for (key, end) in [("a/1", &b""[..]), ("b/1", b""), ("a/", b"a0"), ("b/", b"b0"), ("a/x", b"a/y")] {
        kv.range(get(key, end)).await.unwrap_or_else(|status| panic!("{key}: {status}"));
        let mut stream = kv.range_stream(get(key, end)).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some(), "{key}");
        kv.txn(txn(RequestRange(get(key, end)))).await.unwrap();
        assert!(!first_of_watch(&channel, key, end).await.canceled, "{key}");
    }
    for (key, end) in
        [("c/1", &b""[..]), ("a", b""), ("a/", b"b0"), ("\0", &[0]), ("b/", &[0]), ("c/", b"c0")]
    {
        is_denied(key, kv.range(get(key, end)).await);
        is_denied(key, kv.range_stream(get(key, end)).await.map(drop));
        is_denied(key, kv.txn(txn(RequestRange(get(key, end)))).await);
        let refused = first_of_watch(&channel, key, end).await;
        assert!(refused.created && refused.canceled && refused.watch_id == -1, "{refused:?}");
        assert!(refused.cancel_reason.contains("etcdserver: permission denied"), "{refused:?}");
    }
    // No key of a watch means all keys.
    assert!(first_of_watch(&channel, "", b"").await.canceled);

    kv.put(put("a/2", 0)).await.unwrap();
    kv.txn(txn(RequestPut(put("a/3", 0)))).await.unwrap();
    kv.delete_range(delete("a/2", b"")).await.unwrap();
    kv.txn(txn(RequestDeleteRange(delete("a/", b"a0")))).await.unwrap();
    for key in ["b/1", "c/1", "a"] {
        is_denied(key, kv.put(put(key, 0)).await);
        is_denied(key, kv.txn(txn(RequestPut(put(key, 0)))).await);
        is_denied(key, kv.delete_range(delete(key, b"")).await);
        is_denied(key, kv.txn(txn(RequestDeleteRange(delete(key, b"")))).await);
    }
    is_denied("a range past the prefix", kv.delete_range(delete("a/", b"b0")).await);
    let compare = pb::Compare { key: "c/1".into(), ..Default::default() };
    is_denied("a compare", kv.txn(pb::TxnRequest { compare: vec![compare], ..Default::default() }).await);

    is_denied("compact", kv.compact(pb::CompactionRequest { revision: 2, physical: false }).await);
    let mut maintenance = MaintenanceClient::new(channel.clone());
    maintenance.status(pb::StatusRequest {}).await.unwrap();
    is_denied("alarm", maintenance.alarm(pb::AlarmRequest::default()).await);
    is_denied("defragment", maintenance.defragment(pb::DefragmentRequest {}).await);
    is_denied("hash", maintenance.hash(pb::HashRequest {}).await);
    is_denied("hash_kv", maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await);
    is_denied("move_leader", maintenance.move_leader(pb::MoveLeaderRequest { target_id: 1 }).await);
    let mut members = pb::cluster_client::ClusterClient::new(channel.clone());
    members.member_list(pb::MemberListRequest::default()).await.unwrap();
    let mut store = ext::store_client::StoreClient::new(channel.clone());
    store.status(ext::StatusRequest {}).await.unwrap();
    is_denied("propose", store.propose(ext::ProposeRequest { commands: Vec::new() }).await);
    drop((channel, kv, maintenance, members, store));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_clients_leases_are_those_of_its_name() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let address = cluster.members[0].client_address.clone();
    let lease_of = |channel: &Channel| LeaseClient::new(channel.clone());
    let grant = |id| pb::LeaseGrantRequest { id, ttl: 100 };
    let whole = connect(&address, &cluster.ca.issue_client("whole")).await;
    let foreign = lease_of(&whole).lease_grant(grant(0)).await.unwrap().into_inner().id;
    let one = connect(&address, &limited(&cluster.ca, "one", &[("a/", true)])).await;
    let own = lease_of(&one).lease_grant(grant(0)).await.unwrap().into_inner().id;
    assert!(own > 0);
    // Another prefix, the same name: the same leases. Another name: others.
    let same = connect(&address, &limited(&cluster.ca, "one", &[("b/", true)])).await;
    let other = connect(&address, &limited(&cluster.ca, "other", &[("a/", true)])).await;

    is_denied("an id of one's choice", lease_of(&one).lease_grant(grant(7)).await);
    for (channel, id) in [(&one, foreign), (&other, own), (&one, 7)] {
        is_denied("put", KvClient::new(channel.clone()).put(put("a/1", id)).await);
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        is_denied("time to live", lease_of(channel).lease_time_to_live(request).await);
        is_denied("revoke", lease_of(channel).lease_revoke(pb::LeaseRevokeRequest { id }).await);
        let stream = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let kept = match lease_of(channel).lease_keep_alive(stream).await {
            Ok(answers) => answers.into_inner().message().await,
            Err(status) => Err(status),
        };
        is_denied("keepalive", kept);
    }
    for channel in [&one, &same] {
        let leases = lease_of(channel).lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
        assert_eq!(leases.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [own]);
    }
    KvClient::new(one.clone()).put(put("a/1", own)).await.unwrap();
    KvClient::new(same.clone()).put(put("b/1", own)).await.unwrap();
    is_denied("not its key", KvClient::new(one.clone()).put(put("b/1", own)).await);
    let stream = tokio_stream::once(pb::LeaseKeepAliveRequest { id: own });
    let mut kept = lease_of(&one).lease_keep_alive(stream).await.unwrap().into_inner();
    assert_eq!(kept.message().await.unwrap().unwrap().ttl, 100);
    lease_of(&one).lease_revoke(pb::LeaseRevokeRequest { id: own }).await.unwrap();
    drop(kept);

    let reader = connect(&address, &limited(&cluster.ca, "reader", &[("", false)])).await;
    is_denied("a reader's lease", lease_of(&reader).lease_grant(grant(0)).await);
    KvClient::new(reader.clone()).range(get("\0", &[0])).await.unwrap();
    is_denied("a reader's put", KvClient::new(reader.clone()).put(put("a/1", 0)).await);
    drop((whole, one, same, other, reader));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_not_understood_let_nothing_through() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    for uri in
        ["trireme:store", "trireme:store?prefix=", "trireme:store?prefix=/a/&until=2027", "trireme:all"]
    {
        let good = Grant { prefix: "a/".into(), write: true }.to_uri();
        let certificates = cluster.ca.issue_limited("odd", vec![good, uri.to_owned()]);
        let channel = connect(&cluster.members[0].client_address, &certificates).await;
        let mut kv = KvClient::new(channel);
        is_denied(uri, kv.range(get("a/1", b"")).await);
        is_denied(uri, kv.put(put("a/1", 0)).await);
    }
    // Names that are not for the store limit nothing.
    let certificates = cluster.ca.issue_limited("named", vec!["spiffe://example.org/client".into()]);
    let channel = connect(&cluster.members[0].client_address, &certificates).await;
    KvClient::new(channel).put(put("z", 0)).await.unwrap();
    cluster.stop().await;
}
