//! Members of several versions: what they agree on is what all of them understand.

use std::net::TcpListener;
use std::time::Duration;

use crate::cluster::{Cluster, free_listener, put_surely, wait_for};
use trireme_raft::{Limits, MemberChange, MemberError, Replica, StartError};
use trireme_store::log::FEATURE_LEVEL;

/// A few rounds of questions between the members.
const ROUNDS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_agree_on_what_the_oldest_understands() {
    let mut cluster = Cluster::prepare(3, Limits::default());
    let old = 1;
    cluster.members[old].config.feature_level = FEATURE_LEVEL - 1;
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    put_surely(cluster.replica(leader), "k", "v").await;
    tokio::time::sleep(ROUNDS).await;
    for (_, replica) in cluster.running() {
        assert_eq!(replica.status().feature_level, FEATURE_LEVEL - 1);
    }

    // One that does not answer may be the oldest.
    cluster.stop_member(old, true).await;
    tokio::time::sleep(ROUNDS).await;
    for (_, replica) in cluster.running() {
        assert_eq!(replica.status().feature_level, FEATURE_LEVEL - 1);
    }

    cluster.members[old].config.feature_level = FEATURE_LEVEL;
    cluster.start_member(old).await;
    wait_for("the new level on every member", || {
        cluster.running().all(|(_, replica)| replica.status().feature_level == FEATURE_LEVEL).then_some(())
    })
    .await;

    // There is no way back to a version that would stop at what is written from now on.
    cluster.stop_member(old, true).await;
    let mut config = cluster.members[old].config.clone();
    config.feature_level = FEATURE_LEVEL - 1;
    let deadline = tokio::time::Instant::now() + crate::cluster::WAIT;
    let error = loop {
        let listener = TcpListener::bind(&cluster.members[old].listen_on).unwrap();
        match Replica::start(config.clone(), listener).await {
            // What this process held of it may take a moment to go.
            Err(StartError::Identity(_) | StartError::Store(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => break error,
            Ok(_) => panic!("an older version took the data"),
        }
    };
    let expected = (FEATURE_LEVEL, FEATURE_LEVEL - 1);
    assert!(matches!(error, StartError::Newer { found, known } if (found, known) == expected), "{error}");
    assert!(error.is_permanent());
    cluster.start_member(old).await;

    // Nor in through a new member.
    let listener = free_listener();
    config.peer_address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    config.data_dir = cluster.dir.join("newcomer");
    config.name = "newcomer".into();
    config.initial_members.clear();
    let newcomer = Replica::start(config.clone(), listener).await.unwrap();
    let leader = cluster.leader().await;
    let refused = cluster
        .replica(leader)
        .change_members(MemberChange::AddLearner { peer_address: config.peer_address.clone() })
        .await;
    assert!(matches!(refused, Err(MemberError::Older { .. })), "{refused:?}");
    newcomer.shutdown(false).await;
    cluster.stop().await;
}
