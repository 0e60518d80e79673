//! What the leader, and it alone, tells of the others' processes.

use crate::cluster::{Cluster, wait_for};
use trireme_raft::Limits;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_knows_whose_process_has_ended() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
    let (gone, stays) = (others[0], others[1]);
    let name = |i: usize| format!("m{i}");
    let lead = cluster.replica(leader).clone();
    let follower = cluster.replica(stays).clone();
    wait_for("a quorum behind it", || lead.led_for()).await;
    assert!(follower.led_for().is_none());

    let first = cluster.replica(gone).incarnation();
    // Heard of, once another incarnation is known to be another.
    wait_for("its answers", || lead.is_process_gone(&name(gone), first ^ 1).then_some(())).await;
    assert!(!lead.is_process_gone(&name(gone), first));
    assert!(lead.is_process_gone("stranger", first), "not in the cluster");
    assert!(!follower.is_process_gone(&name(gone), first ^ 1), "it does not lead, and cannot know");
    let own = follower.incarnation();
    assert!(!follower.is_process_gone(&name(stays), own) && follower.is_process_gone(&name(stays), own ^ 1));

    cluster.stop_member(gone, false).await;
    wait_for("it to be missed", || lead.is_process_gone(&name(gone), first).then_some(())).await;
    assert!(!lead.is_process_gone(&name(stays), own), "the other is well");
    assert!(!follower.is_process_gone(&name(gone), first));

    cluster.start_member(gone).await;
    let second = cluster.replica(gone).incarnation();
    assert_ne!(first, second);
    wait_for("it to be heard of again", || (!lead.is_process_gone(&name(gone), second)).then_some(())).await;
    assert!(lead.is_process_gone(&name(gone), first), "that process does not come back");

    // The leader ends: who follows it tells of it, and it tells of nobody any more.
    let old = lead.incarnation();
    drop(lead);
    cluster.stop_member(leader, false).await;
    let next = cluster.leader().await;
    let lead = cluster.replica(next).clone();
    wait_for("the old leader to be missed", || lead.is_process_gone(&name(leader), old).then_some(())).await;
    assert!(lead.led_for().is_some());
    drop((lead, follower));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gave_leadership_away_is_no_witness_and_is_not_missed() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let old = cluster.replica(leader).clone();
    wait_for("a quorum behind it", || old.led_for()).await;
    old.hand_over(None).await.unwrap();
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    let lead = cluster.replica(next).clone();
    wait_for("a quorum behind the next", || lead.led_for()).await;
    assert!(old.led_for().is_none());
    let third = (0..3).find(|i| *i != leader && *i != next).unwrap();
    assert!(!old.is_process_gone(&format!("m{third}"), 1), "it knows nothing any more");
    let name = format!("m{leader}");
    wait_for("its answers", || lead.is_process_gone(&name, old.incarnation() ^ 1).then_some(())).await;
    assert!(!lead.is_process_gone(&name, old.incarnation()));
    drop((lead, old));
    cluster.stop().await;
}
