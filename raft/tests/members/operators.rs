//! What operators and their tools ask of members: hashes, alarms, leadership, health, reflection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use trireme_raft::{Limits, etcd};
use trireme_store::{DeleteRequest, KeyRange, Kv, Op, Revision, TxnRequest};

use crate::cluster::{Cluster, put_surely, small_limits, wait_for};
use crate::no_room::make_small;
use crate::pb::etcdserverpb as pb;
use crate::side_by_side::connect;
use pb::maintenance_client::MaintenanceClient;

async fn channels(cluster: &Cluster) -> Vec<Channel> {
    let client = cluster.ca.issue_client("operator");
    let mut channels = Vec::new();
    for member in &cluster.members {
        channels.push(connect(&member.client_address, &client).await);
    }
    channels
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_have_one_hash_of_their_history() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let kv = cluster.replica(leader).clone();
    for i in 0..60 {
        put_surely(&kv, &format!("k{}", i % 7), &i.to_string()).await;
    }
    let delete = Op::Delete(DeleteRequest { range: KeyRange::key("k3"), prev_kv: false });
    let deleted = kv.txn(TxnRequest { success: vec![delete], ..TxnRequest::default() }).await.unwrap();
    let revision = put_surely(&kv, "last", "v").await;
    cluster.assert_same_state().await;
    let channels = channels(&cluster).await;
    let hash_kv = async |revision: i64| {
        let mut found = Vec::new();
        for channel in &channels {
            let request = pb::HashKvRequest { revision };
            let mut answer =
                MaintenanceClient::new(channel.clone()).hash_kv(request).await.unwrap().into_inner();
            answer.header = None;
            found.push(answer);
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        found.swap_remove(0)
    };
    let past = hash_kv(20).await;
    assert_eq!((past.hash_revision, past.compact_revision), (20, -1));
    assert_ne!(hash_kv(21).await.hash, past.hash);
    assert_eq!(hash_kv(0).await, hash_kv(revision.0).await);
    kv.compact(deleted.revision, false).await.unwrap();
    cluster.assert_same_state().await;
    let compacted = hash_kv(revision.0).await;
    assert_eq!(compacted.compact_revision, deleted.revision.0);
    for channel in &channels {
        let mut client = MaintenanceClient::new(channel.clone());
        let status = client.hash_kv(pb::HashKvRequest { revision: 20 }).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
    }
    let mut hashes = Vec::new();
    for channel in &channels {
        let answer = MaintenanceClient::new(channel.clone()).hash(pb::HashRequest {}).await.unwrap();
        hashes.push(answer.into_inner().hash);
    }
    // Marks are set in the log now and then, and are no part of it.
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    drop((kv, channels));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_as_etcds_does() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let channels = channels(&cluster).await;
    let move_to = async |at: usize, target_id: u64| {
        let mut client = MaintenanceClient::new(channels[at].clone());
        client.move_leader(pb::MoveLeaderRequest { target_id }).await.map(drop)
    };
    let follower = (leader + 1) % 3;
    let target = cluster.replica(follower).member().0;
    let refused = move_to(follower, target).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "etcdserver: not leader"));
    let refused = move_to(leader, 4711).await.unwrap_err();
    let bad = "etcdserver: bad leader transferee";
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, bad));
    move_to(leader, cluster.replica(leader).member().0).await.unwrap();
    move_to(leader, target).await.unwrap();
    assert_eq!(cluster.leader().await, follower);
    drop(channels);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_room_raises_an_alarm_everywhere() {
    let full = Arc::new(AtomicBool::new(false));
    let mut cluster = Cluster::prepare(3, Limits { log_segment_bytes: 16 << 20, ..small_limits() });
    make_small(&mut cluster.members[1].config, &full);
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    let channels = channels(&cluster).await;
    let alarm = async |at: usize, action: i32, alarm: i32| {
        let mut client = MaintenanceClient::new(channels[at].clone());
        let request = pb::AlarmRequest { action, alarm, ..Default::default() };
        client.alarm(request).await.map(|answer| answer.into_inner().alarms)
    };
    assert_eq!(alarm(0, 0, 0).await.unwrap(), []);
    full.store(true, Ordering::SeqCst);
    let kv = cluster.replica(leader).clone();
    let value = "x".repeat(4000);
    let expected =
        pb::AlarmMember { member_id: cluster.replica(1).member().0, alarm: pb::AlarmType::Nospace as i32 };
    let deadline = std::time::Instant::now() + crate::cluster::WAIT;
    // The flag goes and comes with each try to flush: it is asked for until both have seen it.
    let mut seen = [false; 2];
    for i in 0.. {
        // Refused where the full member leads.
        let _ = kv.txn(crate::cluster::put(format!("k{}", i % 20), value.clone())).await;
        for (at, seen) in seen.iter_mut().enumerate() {
            *seen |= alarm(at, 0, 0).await.unwrap() == [expected];
        }
        if seen == [true; 2] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no alarm: {seen:?}");
    }
    // A fault cannot be wished away, nor one be wished for.
    assert_eq!(alarm(0, 2, 1).await.unwrap(), []);
    assert_eq!(alarm(0, 1, 1).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(alarm(0, 0, pb::AlarmType::Corrupt as i32).await.unwrap(), []);
    full.store(false, Ordering::SeqCst);
    let replica = cluster.replica(1).clone();
    wait_for("room", || etcd::Backend::has_room(&replica).then_some(())).await;
    let deadline = std::time::Instant::now() + crate::cluster::WAIT;
    while !alarm(0, 0, 0).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the alarm stays");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop((kv, replica, channels));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_whether_there_is_a_leader() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    let channel = channels(&cluster).await.swap_remove(0);
    let mut status = pb::maintenance_client::MaintenanceClient::new(channel.clone());
    let status = status.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert!(status.errors.is_empty() && !status.is_learner && status.db_size > 0, "{status:?}");
    // kube-apiserver reads from its cache consistently from 3.5.13 on.
    let version: Vec<u32> = status.version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![3, 6, 0], "{}", status.version);
    let mut health = HealthClient::new(channel.clone());
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        health.check(request).await.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("etcdserverpb.KV").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("no.such.Service").await.unwrap_err().code(), Code::NotFound);
    cluster.stop_member(1, false).await;
    cluster.stop_member(2, false).await;
    let deadline = std::time::Instant::now() + crate::cluster::WAIT;
    while check("etcdserverpb.KV").await.unwrap() != ServingStatus::NotServing {
        assert!(std::time::Instant::now() < deadline, "the loss of the leader is not said");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    drop(channel);
    cluster.stop().await;
}

async fn reflect(channel: &Channel, ask: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let stream = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer: ServerReflectionResponse = stream.into_inner().message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_shows_what_is_served() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let channel = channels(&cluster).await.swap_remove(0);
    let MessageResponse::ListServicesResponse(list) =
        reflect(&channel, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["KV", "Watch", "Lease", "Cluster", "Maintenance", "Auth"] {
        assert!(names.contains(&format!("etcdserverpb.{name}")), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("peer")), "{names:?}");
    let symbol = MessageRequest::FileContainingSymbol("etcdserverpb.KV".to_owned());
    let answer = reflect(&channel, symbol).await;
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
    drop(channel);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_range_is_of_one_revision() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let kv = cluster.replica(leader).clone();
    let value = "x".repeat(100_000);
    for i in 0..40 {
        put_surely(&kv, &format!("s{i:02}"), &value).await;
    }
    let channel = channels(&cluster).await.swap_remove(follower);
    let request = pb::RangeRequest { key: "s".into(), range_end: "t".into(), ..Default::default() };
    let mut client = pb::kv_client::KvClient::new(channel.clone());
    let mut stream = client.range_stream(request.clone()).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().range_response.unwrap();
    assert!(first.header.is_none() && first.count == 0 && !first.kvs.is_empty(), "keys alone come first");
    for i in 0..40 {
        put_surely(&kv, &format!("s{i:02}"), "changed").await;
    }
    let (mut kvs, mut parts, mut last) = (first.kvs, 1, None);
    while let Some(part) = stream.message().await.unwrap() {
        let part = part.range_response.unwrap();
        parts += 1;
        kvs.extend(part.kvs.iter().cloned());
        last = Some(part);
    }
    let last = last.unwrap();
    assert!(parts > 3, "4 MB in {parts} parts");
    assert_eq!((last.count, last.more, kvs.len()), (40, false, 40));
    assert!(kvs.iter().all(|kv| kv.value.len() == value.len()), "what came later is not in it");
    assert_eq!(last.header.unwrap().revision, 41);
    // Compacted away under the stream's feet: it is whole, where it was read so far already, or ends
    // with an error, and is never silently short.
    let at = pb::RangeRequest { revision: 41, ..request };
    let mut stream = client.range_stream(at).await.unwrap().into_inner();
    let mut got = stream.message().await.unwrap().unwrap().range_response.unwrap().kvs.len();
    kv.compact(Revision(80), false).await.unwrap();
    cluster.replica(follower).barrier().await.unwrap();
    let mut end = Ok(());
    while let Some(part) = stream.message().await.transpose() {
        end = part.map(|part| got += part.range_response.map_or(0, |range| range.kvs.len()));
    }
    match end {
        Ok(()) => assert_eq!(got, 40),
        Err(status) => assert_eq!(status.code(), Code::OutOfRange, "{status}"),
    }
    drop((kv, channel, client, stream));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_physical_compaction_is_done_when_it_is_answered() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    for (member, physical) in [(leader, true), ((leader + 1) % 3, true), (leader, false)] {
        let kv = cluster.replica(member).clone();
        for n in 0..600 {
            put_surely(&kv, "again", &n.to_string()).await;
        }
        let revision = kv.barrier().await.unwrap();
        kv.compact(revision, physical).await.unwrap();
        let removed = kv.store().scrubbed(revision).now_or_never();
        assert_eq!(removed.is_some(), physical, "member {member}: {removed:?}");
    }
    cluster.stop().await;
}
