//! New clusters made of an old one's state, with the old one alive beside them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trireme_raft::{Founder, IdentityError, Join, MemberNode, OfflineError, Role, Stopped, found};
use trireme_store::engine::{Engine, EngineError, RocksEngine, RocksOptions};
use trireme_store::log::LogPosition;
use trireme_store::{Error, KeyRange, Kv, RangeRequest, Rebirth, Reborn, Revision, WatchRequest};

use crate::cluster::{Cluster, WAIT, put_surely, small_limits, wait_for};

const KEYS: usize = 300;

fn open_copy(from: &Path, to: &Path) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(Arc::new(RocksEngine::open_copy(from, to, RocksOptions::default())?))
}

fn rebirth() -> Rebirth {
    Rebirth {
        at: None,
        seen: Revision(0),
        membership: Bytes::new(),
        position: LogPosition::default(),
        now_ms: 0,
        without: Vec::new(),
    }
}

/// Makes the first `count` members of `new`, which were never started, of what lies in `data_dir`.
fn make(new: &Cluster, count: usize, data_dir: &Path) -> Reborn {
    let scratch = new.dir.join("scratch");
    let deadline = Instant::now() + WAIT;
    let stopped = loop {
        match Stopped::open(data_dir, &scratch, &open_copy, true, &mut |_| {}) {
            Ok(stopped) => break stopped,
            // What this process held of it before may take a moment to go.
            Err(OfflineError::Identity(IdentityError::Locked { .. })) => {
                assert!(Instant::now() < deadline, "it is still held");
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("{error}"),
        }
    };
    let founder = |config: &trireme_raft::ReplicaConfig| Founder {
        data_dir: config.data_dir.clone(),
        node: MemberNode {
            name: config.name.clone(),
            peer_address: config.peer_address.clone(),
            client_address: config.client_address.clone(),
        },
    };
    let founders: Vec<Founder> = new.members[..count].iter().map(|member| founder(&member.config)).collect();
    let first = &new.members[0].config;
    found(&stopped.store, &first.cluster, &founders, rebirth(), &first.open_engine, &mut |_| {})
        .expect("found")
}

/// A cluster of another name under the same authority, whose first member listens where `old`'s did.
fn beside(old: &Cluster, count: usize) -> Cluster {
    let mut new = Cluster::prepare(count, small_limits());
    for member in &mut new.members {
        member.config.cluster = "reborn".into();
        member.config.initial_members.clear();
        member.config.peer_tls = old.tls.clone();
    }
    new.tls = old.tls.clone();
    new.members[0].listen_on = old.members[0].listen_on.clone();
    new.members[0].config.peer_address = old.members[0].config.peer_address.clone();
    new
}

async fn all(cluster: &Cluster, i: usize) -> Vec<(Bytes, Bytes)> {
    let found = cluster.replica(i).range(RangeRequest::new(KeyRange::prefix(""))).await.expect("range");
    found.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_is_made_of_a_member_and_never_talks_to_the_old_one() {
    let mut old = Cluster::start(3, small_limits()).await;
    let leader = old.leader().await;
    let kv = old.replica(leader).clone();
    for i in 0..KEYS {
        put_surely(&kv, &format!("k{:03}", i % 100), &format!("{i}")).await;
    }
    let before = all(&old, leader).await;
    let seen = kv.store().revision();
    old.assert_same_state().await;
    if leader == 0 {
        kv.hand_over(None).await.expect("another leads");
    }
    drop(kv);
    old.stop_member(0, false).await;

    let mut new = beside(&old, 3);
    let made = make(&new, 3, &old.members[0].config.data_dir);
    for i in 0..3 {
        new.start_member(i).await;
    }
    let first = new.leader().await;
    new.assert_same_state().await;
    for i in 0..3 {
        assert_eq!(all(&new, i).await, before);
        let old_watch = WatchRequest::new(KeyRange::prefix(""), seen);
        let ended = new.replica(i).store().watch(old_watch).err();
        assert_eq!(ended, Some(Error::Compacted { compact_revision: made.applied.compact_revision }));
    }
    let written = put_surely(new.replica(first), "new", "1").await;
    assert!(written.0 > seen.0 + 1_000_000_000);
    let members = new.replica(first).status().members;
    assert!(members.len() == 3 && members.iter().all(|member| member.votes));

    // The old two have a member of the new cluster at the third's address, and go on without it.
    let term = new.replica(first).status().term;
    let leader = old.leader().await;
    put_surely(old.replica(leader), "old", "1").await;
    wait_for("both to have heard each other", || {
        let silent = |cluster: &Cluster| cluster.running().all(|(_, replica)| replica.status().caught_up);
        (silent(&old) && silent(&new)).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!all(&new, first).await.iter().any(|(key, _)| key == "old"));
    assert!(!all(&old, leader).await.iter().any(|(key, _)| key == "new"));
    assert_eq!(new.replica(first).status().term, term, "nobody disturbed an election");

    // The old third comes back from its disk, alone of the old ones, with the new cluster's addresses.
    let (peer, client) = (crate::cluster::free_listener(), crate::cluster::free_listener());
    let address = |listener: &std::net::TcpListener| listener.local_addr().expect("bound").to_string();
    old.members[0].listen_on = address(&peer);
    old.members[0].client_address = address(&client);
    old.members[0].config.peer_address = address(&peer);
    old.members[0].config.client_address = address(&client);
    old.members[0].config.join = new.join();
    drop((peer, client));
    old.stop_member(1, false).await;
    old.stop_member(2, false).await;
    old.start_member(0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // It may still name whom it followed last.
    let leader = old.replica(0).status().leader;
    assert!(old.replica(0).status().role != Role::Leader, "nobody of the new cluster votes for it");
    assert!(new.running().all(|(_, replica)| Some(replica.member()) != leader), "nor leads it");
    assert_eq!((new.replica(first).status().members.len(), new.replica(first).status().term), (3, term));

    // A directory without the state learns like any other that comes later, and does not found.
    let join = new.join();
    let i = new.add("m3", join);
    new.members[i].config.initial_members = new
        .members
        .iter()
        .map(|member| (member.config.name.clone(), member.config.peer_address.clone()))
        .collect();
    new.start_member(i).await;
    wait_for("it to vote", || new.replica(i).votes().then_some(())).await;
    new.assert_same_state().await;

    // A stranger of the old cluster's name is told whose members these are.
    let stranger =
        new.add("m9", Some(Join { peers: vec![new.members[0].config.peer_address.clone()], replaces: None }));
    new.members[stranger].config.cluster = "test".into();
    new.start_member(stranger).await;
    wait_for("it to be refused", || {
        let problems = new.replica(stranger).status().problems;
        problems.iter().any(|problem| problem.contains("belongs to cluster \"reborn\"")).then_some(())
    })
    .await;
    new.stop_member(stranger, false).await;
    new.stop().await;
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_alone_tells_where_it_is_now() {
    let mut old = Cluster::start(1, small_limits()).await;
    old.leader().await;
    put_surely(old.replica(0), "k", "v").await;
    old.stop_member(0, false).await;
    let mut new = beside(&old, 1);
    let own = new.members[0].config.peer_address.clone();
    // It was made before its address was known.
    new.members[0].config.peer_address = "127.0.0.1:1".into();
    make(&new, 1, &old.members[0].config.data_dir);
    new.members[0].config.peer_address = own.clone();
    new.members[0].config.initial_members = [("m0".to_owned(), own.clone())].into();
    new.start_member(0).await;
    wait_for("it to tell", || {
        let members = new.replica(0).status().members;
        members.iter().any(|member| member.node.peer_address == own).then_some(())
    })
    .await;
    let join = new.join();
    let i = new.add("m1", join);
    new.start_member(i).await;
    wait_for("the second to vote", || new.replica(i).votes().then_some(())).await;
    new.stop().await;
}
