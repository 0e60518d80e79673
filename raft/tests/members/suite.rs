//! The store's own suite, against members and the remote client.

use std::sync::Arc;

use crate::cluster::Cluster;
use trireme_raft::Limits;
use trireme_store::suite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_keeps_etcds_semantics() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    suite::run(Arc::new(cluster.replica(0).clone())).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_keeps_etcds_semantics() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    suite::run(Arc::new(cluster.replica(leader).clone())).await;
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_keeps_etcds_semantics() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    suite::run(Arc::new(cluster.replica((leader + 1) % 3).clone())).await;
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_client_keeps_etcds_semantics() {
    let cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    suite::run(Arc::new(cluster.remote())).await;
    cluster.assert_same_state().await;
    cluster.stop().await;
}
