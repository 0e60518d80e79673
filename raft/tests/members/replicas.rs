//! Three members: they elect, replicate, lose their leader, fall behind, and come back.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, put, put_surely, small_limits, wait_for};
use futures::StreamExt;
use trireme_raft::{IdentityError, Limits, MemberChange, Replica, ReplicaConfig, Role, StartError};
use trireme_store::{Error, KeyRange, Kv, RangeRequest, Revision, WatchItem, WatchRequest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_writes_and_reads_what_the_others_wrote() {
    let cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    let mut last = Revision(0);
    for i in 0..3 {
        let revision = put_surely(cluster.replica(i), &format!("k{i}"), "v").await;
        assert!(revision > last);
        last = revision;
        for j in 0..3 {
            let read = cluster.replica(j).range(RangeRequest::new(KeyRange::prefix("k"))).await.unwrap();
            assert_eq!(read.count, i as i64 + 1, "member {j} after {i}");
            assert!(cluster.replica(j).barrier().await.unwrap() >= last);
        }
    }
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_has_every_acknowledged_write() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let term = cluster.replica(leader).status().term;
    let follower = (leader + 1) % 3;
    let writer = cluster.replica(follower).clone();
    let writes = tokio::spawn(async move {
        let mut revisions = Vec::new();
        for i in 0..300 {
            revisions.push(put_surely(&writer, &format!("w{i:04}"), "v").await);
        }
        revisions
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.stop_member(leader, false).await;
    let revisions = writes.await.unwrap();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "a revision went back: {revisions:?}");
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.replica(next).status().term > term);
    let read = cluster.replica(follower).range(RangeRequest::new(KeyRange::prefix("w"))).await.unwrap();
    assert_eq!(read.count, 300);

    cluster.start_member(leader).await;
    wait_for("the old leader to catch up", || cluster.replica(leader).status().caught_up.then_some(())).await;
    let read = cluster.replica(leader).range(RangeRequest::new(KeyRange::prefix("w"))).await.unwrap();
    assert_eq!(read.count, 300);
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_come_back_with_everything() {
    let mut cluster = Cluster::start(3, small_limits()).await;
    cluster.leader().await;
    let value = "x".repeat(2000);
    for i in 0..500 {
        put_surely(cluster.replica(i % 3), &format!("k{i:04}"), &value).await;
    }
    let before = cluster.replica(0).barrier().await.unwrap();
    for i in 0..3 {
        cluster.stop_member(i, false).await;
    }
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    cluster.leader().await;
    for i in 0..3 {
        let read = cluster.replica(i).range(RangeRequest::new(KeyRange::prefix("k"))).await.unwrap();
        assert_eq!((read.count, read.revision), (500, before));
    }
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_far_behind_is_brought_back_by_a_snapshot_under_load() {
    let mut cluster = Cluster::start(3, small_limits()).await;
    let leader = cluster.leader().await;
    let behind = (leader + 1) % 3;
    put_surely(cluster.replica(leader), "first", "v").await;
    cluster.stop_member(behind, false).await;
    let value = "y".repeat(4000);
    let writer = cluster.replica(leader).clone();
    let load = move |from: usize, to: usize| {
        let (writer, value) = (writer.clone(), value.clone());
        async move {
            let writes = (from..to).map(|i| {
                let (writer, value) = (writer.clone(), value.clone());
                async move { writer.txn(put(format!("s{:04}", i % 200), value)).await.unwrap() }
            });
            futures::stream::iter(writes).buffer_unordered(32).for_each(|_| async {}).await;
        }
    };
    // Enough for the log to be purged past what the follower has.
    for round in 0..20 {
        load(round * 200, (round + 1) * 200).await;
        if cluster.replica(leader).status().purged_index > 10 {
            break;
        }
    }
    wait_for("a purge", || (cluster.replica(leader).status().purged_index > 10).then_some(())).await;
    let going_on = tokio::spawn(load(4000, 6000));
    cluster.start_member(behind).await;
    wait_for("the follower to catch up", || {
        let status = cluster.replica(behind).status();
        (status.caught_up && status.purged_index > 0).then_some(())
    })
    .await;
    going_on.await.unwrap();
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_comes_back_does_not_disturb_the_term() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    for round in 0..2 {
        let term = cluster.replica(leader).status().term;
        cluster.stop_member(away, false).await;
        for i in 0..20 {
            put_surely(cluster.replica(leader), &format!("r{round}-{i}"), "v").await;
        }
        cluster.start_member(away).await;
        wait_for("it to catch up", || cluster.replica(away).status().caught_up.then_some(())).await;
        assert_eq!(cluster.leader().await, leader);
        assert_eq!(cluster.replica(leader).status().term, term);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_a_failed_write() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let writer = cluster.replica(leader).clone();
    let writes = tokio::spawn(async move {
        for i in 0..200 {
            writer.txn(put(format!("h{i}"), "v")).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let to = cluster.replica(leader).hand_over(None).await.unwrap();
    assert_ne!(to, cluster.replica(leader).member());
    writes.await.unwrap();
    let read = cluster.replica(leader).range(RangeRequest::new(KeyRange::prefix("h"))).await.unwrap();
    assert_eq!(read.count, 200);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_is_a_cluster() {
    let mut cluster = Cluster::start(1, Limits::default()).await;
    put_surely(cluster.replica(0), "a", "1").await;
    assert_eq!(cluster.replica(0).status().role, Role::Leader);
    cluster.stop_member(0, true).await;
    cluster.start_member(0).await;
    let read = cluster.replica(0).range(RangeRequest::new(KeyRange::key("a"))).await.unwrap();
    assert_eq!(&read.kvs[0].value[..], b"1");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_on_a_follower_sees_each_event_once() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let request = WatchRequest::new(KeyRange::prefix("e"), Revision(1));
    let mut watch = cluster.replica(follower).watch(request).await.unwrap();
    for i in 0..50 {
        put_surely(cluster.replica(i % 3), "e", &i.to_string()).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 50 {
        match watch.next().await.unwrap().unwrap() {
            WatchItem::Events { events, .. } => {
                seen.extend(events.into_iter().map(|event| event.kv.mod_revision))
            }
            WatchItem::Progress { .. } => {}
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_leader_is_bounded() {
    let limits = Limits { proposals_max: 4, ..Limits::default() };
    let mut cluster = Cluster::prepare(3, limits);
    cluster.start_member(0).await;
    let writes = (0..12).map(|i| {
        let kv = cluster.replica(0).clone();
        async move { kv.txn(put(format!("k{i}"), "v")).await.unwrap_err() }
    });
    let errors = futures::future::join_all(writes).await;
    assert_eq!(errors.iter().filter(|error| **error == Error::TooManyRequests).count(), 8, "{errors:?}");
    assert_eq!(errors.iter().filter(|error| **error == Error::NoLeader).count(), 4, "{errors:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_leader_in_vain_is_told_so() {
    let mut cluster = Cluster::prepare(3, Limits::default());
    cluster.members[0].config.timing.request = Duration::from_millis(40);
    cluster.start_member(0).await;
    // Many deadlines, so that some pass at the queue before they pass at the caller.
    let calls = (0..600u64).map(|i| {
        let kv = cluster.replica(0).clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(i * 500)).await;
            let written = kv.txn(put(format!("k{i}"), "v")).await.unwrap_err();
            (written, kv.barrier().await.unwrap_err())
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), (Error::NoLeader, Error::NoLeader));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_not_its_own_is_refused() {
    let mut cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    put_surely(cluster.replica(0), "a", "1").await;
    cluster.stop_member(0, false).await;
    let config = cluster.members[0].config.clone();
    let start = |config: ReplicaConfig| async move {
        let listener = std::net::TcpListener::bind(&config.peer_address).unwrap();
        Replica::start(config, listener).await.map(|_| ()).unwrap_err()
    };
    let mut other = config.clone();
    other.cluster = "other".into();
    // What this process held of the directory may take a moment to go.
    let deadline = std::time::Instant::now() + crate::cluster::WAIT;
    let error = loop {
        match start(other.clone()).await {
            StartError::Identity(IdentityError::Locked { .. }) if std::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            error => break error,
        }
    };
    assert!(matches!(error, StartError::Identity(IdentityError::OtherCluster { .. })), "{error}");
    std::fs::remove_dir_all(config.data_dir.join("log")).unwrap();
    let error = start(config.clone()).await;
    assert!(matches!(error, StartError::LogMissing), "{error}");
    // A young member's state is empty: that does not make it a new one.
    std::fs::remove_dir_all(config.data_dir.join("state")).unwrap();
    let error = start(config).await;
    assert!(matches!(error, StartError::LogMissing), "{error}");
    assert!(error.is_permanent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_after_its_first_snapshot_was_installed_goes_on() {
    let mut cluster = Cluster::start(2, small_limits()).await;
    let leader = cluster.leader().await;
    let lead = cluster.replica(leader).clone();
    for i in 0..20 {
        put_surely(&lead, &format!("k{i}"), "v").await;
    }
    cluster.add("learner", None);
    cluster.start_member(2).await;
    let learner = cluster.replica(2).member();
    cluster.stop_member(2, false).await;
    let log = cluster.members[2].config.data_dir.join("log");
    let empty = cluster.dir.join("empty-log");
    copy(&log, &empty);
    cluster.start_member(2).await;
    let address = cluster.members[2].config.peer_address.clone();
    let change = MemberChange::AddLearner { peer_address: address };
    assert_eq!(lead.change_members(change).await.unwrap(), learner);
    let has = |cluster: &Cluster, key: &'static str| {
        let read = cluster.replica(2).store().range(&RangeRequest::new(KeyRange::key(key))).unwrap();
        (read.count == 1).then_some(())
    };
    wait_for("the learner to have everything", || has(&cluster, "k19")).await;
    cluster.stop_member(2, false).await;
    // A log of its own, with nothing in it, and a state with everything: no entry followed the
    // snapshot before the end.
    std::fs::remove_dir_all(&log).unwrap();
    copy(&empty, &log);
    cluster.start_member(2).await;
    assert_eq!(cluster.replica(2).member(), learner);
    put_surely(&lead, "after", "v").await;
    wait_for("the learner to have what came after", || has(&cluster, "after")).await;
    drop(lead);
    cluster.stop().await;
}

/// What is on the disk of a member that is killed: its log, and a state without what came since the
/// last flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_and_back_at_once_serves_no_stale_read() {
    let mut cluster = Cluster::start(3, small_limits()).await;
    for round in 0..8 {
        let leader = cluster.leader().await;
        for i in 0..50 {
            put_surely(cluster.replica(leader), &format!("r{i}"), &round.to_string()).await;
        }
        put_surely(cluster.replica(leader), "last", &round.to_string()).await;
        let killed = cluster.dir.join(format!("killed-{round}"));
        copy(&cluster.members[leader].config.data_dir, &killed);
        cluster.stop_member(leader, false).await;
        cluster.members[leader].config.data_dir = killed;
        cluster.start_member(leader).await;
        // The one that asks nobody first: it comes sooner.
        for serializable in [true, false] {
            let request = RangeRequest { serializable, ..RangeRequest::new(KeyRange::key("last")) };
            let deadline = Instant::now() + crate::cluster::WAIT;
            let read = loop {
                match cluster.replica(leader).range(request.clone()).await {
                    Ok(read) => break read,
                    Err(Error::NoLeader | Error::Unavailable(_)) => {
                        assert!(Instant::now() < deadline, "it does not come back");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            let found: Vec<_> = read.kvs.iter().map(|kv| kv.value.clone()).collect();
            assert_eq!(found, [round.to_string()], "round {round}, serializable: {serializable}");
        }
    }
    cluster.assert_same_state().await;
    cluster.stop().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
