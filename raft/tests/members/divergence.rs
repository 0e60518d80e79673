//! A member whose state is another than the others': it ends, and nobody else does.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, WAIT, put, put_surely, wait_for};
use trireme_raft::{Limits, Replica, StartError};
use trireme_store::Store;
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::log::{Command, CommandOp, Entry, EntryBody, LogPosition, ProposalId};

/// Applies to the state of member `i`, which is stopped, something else than the log has next.
fn plant(cluster: &Cluster, i: usize, at: LogPosition) {
    let dir = cluster.members[i].config.data_dir.join("state");
    let deadline = Instant::now() + WAIT;
    // What this process held of it may take a moment to go.
    let engine = loop {
        match RocksEngine::open(&dir, RocksOptions::default()) {
            Ok(engine) => break engine,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let store = Store::open(Arc::new(engine)).unwrap();
    assert_eq!(store.applied().position.map(|applied| applied.index + 1), Some(at.index));
    let op = CommandOp::Txn(put("k", "wrong"));
    let command = Command { proposal: ProposalId::default(), time_ms: 0, op };
    store.apply(vec![Entry { at, body: EntryBody::Command(command) }]).unwrap();
    store.flush().unwrap();
}

/// Writes until `check` gives something: marks are set only while something changes.
async fn write_until<T>(replica: &Replica, what: &str, check: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    for i in 0.. {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        put_surely(replica, &format!("n{i}"), "v").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("the loop ends by itself")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_state_differs_from_a_majority_ends_leader_or_not() {
    let mut cluster = Cluster::prepare(3, Limits::default());
    let ended: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for (member, ended) in cluster.members.iter_mut().zip(&ended) {
        let ended = ended.clone();
        member.config.timing.mark = Duration::from_millis(200);
        member.config.on_fatal = Arc::new(move |reason| {
            assert!(reason.contains("differs from that of a majority"), "{reason}");
            ended.fetch_add(1, Ordering::SeqCst);
        });
    }
    let count = |i: usize| ended[i].load(Ordering::SeqCst);
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    let wrong = (leader + 1) % 3;
    let right = (leader + 2) % 3;
    write_until(cluster.replica(leader), "some writes", || {
        (cluster.replica(leader).status().last_log_index > 8).then_some(())
    })
    .await;
    // No mark is set any more when nothing changes.
    let mut quiet = (0, Instant::now());
    wait_for("silence in the log", || {
        let last = cluster.replica(leader).status().last_log_index;
        if last != quiet.0 || cluster.replica(wrong).status().applied_index != last {
            quiet = (last, Instant::now());
        }
        (quiet.1.elapsed() > Duration::from_secs(1)).then_some(())
    })
    .await;
    cluster.stop_member(wrong, false).await;
    let status = cluster.replica(leader).status();
    put_surely(cluster.replica(leader), "k", "right").await;
    plant(&cluster, wrong, LogPosition { term: status.term, node_id: 0, index: status.last_log_index + 1 });

    cluster.start_member(wrong).await;
    write_until(cluster.replica(leader), "the follower's end", || (count(wrong) > 0).then_some(())).await;
    assert_eq!((count(leader), count(right)), (0, 0));

    // It is started again, and comes to lead: its word against two.
    cluster.stop_member(wrong, false).await;
    cluster.start_member(wrong).await;
    wait_for("it to follow", || cluster.replica(wrong).status().caught_up.then_some(())).await;
    let id = cluster.replica(wrong).member();
    cluster.replica(leader).hand_over(Some(id)).await.unwrap();
    let before = count(wrong);
    write_until(cluster.replica(right), "the leader's end", || (count(wrong) > before).then_some(())).await;
    assert_eq!((count(leader), count(right)), (0, 0));

    cluster.stop_member(wrong, false).await;
    let config = cluster.members[wrong].config.clone();
    let deadline = Instant::now() + WAIT;
    let error = loop {
        let listener = TcpListener::bind(&config.peer_address).unwrap();
        match Replica::start(config.clone(), listener).await {
            Err(StartError::Identity(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            started => break started.map(|_| ()).unwrap_err(),
        }
    };
    assert!(matches!(error, StartError::Diverged), "{error}");
    assert!(error.is_permanent());
    put_surely(cluster.replica(right), "after", "v").await;
    cluster.stop().await;
}
