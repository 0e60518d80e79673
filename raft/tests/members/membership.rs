//! Members that come, go, and take each other's place, while the cluster serves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, WAIT, free_listener, put_surely, small_limits, wait_for};
use crate::cut_off::relay;
use crate::pb::etcdserverpb as pb;
use crate::side_by_side::connect;
use pb::cluster_client::ClusterClient;
use tonic::Code;
use trireme_raft::{Join, Limits, MemberChange, MemberError, MemberId, Replica};
use trireme_store::{KeyRange, Kv, RangeRequest};

fn voters(replica: &Replica) -> BTreeSet<MemberId> {
    replica.status().members.into_iter().filter(|member| member.votes).map(|member| member.id).collect()
}

async fn wait_to_vote(cluster: &Cluster, i: usize) {
    wait_for("it to vote", || cluster.replica(i).votes().then_some(())).await;
}

fn problem(replica: &Replica, text: &str) -> Option<()> {
    replica.status().problems.iter().any(|problem| problem.contains(text)).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_become_five_and_three_again_while_serving() {
    let mut cluster = Cluster::start(3, small_limits()).await;
    let leader = cluster.leader().await;
    let writer = cluster.replica(leader).clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let writes = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut written = 0u32;
            while !stop.is_cancelled() {
                writer.txn(crate::cluster::put(format!("w{written}"), "v".repeat(500))).await.unwrap();
                written += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            written
        }
    });
    for name in ["m3", "m4"] {
        let join = cluster.join();
        let i = cluster.add(name, join);
        cluster.start_member(i).await;
        wait_to_vote(&cluster, i).await;
    }
    assert_eq!(voters(cluster.replica(leader)).len(), 5);

    // Started again with the same words it is the member that it was.
    let (member, term) = (cluster.replica(4).member(), cluster.replica(leader).status().term);
    cluster.stop_member(4, false).await;
    cluster.start_member(4).await;
    wait_for("it to catch up", || cluster.replica(4).status().caught_up.then_some(())).await;
    assert_eq!(cluster.replica(4).member(), member);
    assert_eq!(voters(cluster.replica(leader)).len(), 5);
    assert_eq!(cluster.replica(leader).status().term, term);

    // Two that were there from the beginning go, one of them by a word to a follower.
    let follower = (leader + 1) % 3;
    for (i, by) in [((leader + 2) % 3, follower), (follower, leader)] {
        let gone = cluster.replica(i).member();
        assert_eq!(cluster.replica(by).change_members(MemberChange::Remove(gone)).await.unwrap(), gone);
        assert!(!voters(cluster.replica(leader)).contains(&gone));
        wait_for("it to know that it was removed", || problem(cluster.replica(i), "was removed")).await;
        let unknown = cluster.replica(leader).change_members(MemberChange::Remove(gone)).await;
        assert_eq!(unknown, Err(MemberError::Unknown(gone)));
        cluster.stop_member(i, false).await;
    }
    stop.cancel();
    let written = writes.await.unwrap();
    let read = cluster.replica(4).range(RangeRequest::new(KeyRange::prefix("w"))).await.unwrap();
    assert_eq!(read.count, i64::from(written));
    cluster.assert_same_state().await;

    // A leader that is to go hands over first, whoever asks.
    let old = cluster.replica(leader).member();
    cluster.replica(4).change_members(MemberChange::Remove(old)).await.unwrap();
    cluster.stop_member(leader, false).await;
    let new = cluster.leader().await;
    assert_eq!(voters(cluster.replica(new)).len(), 2);
    put_surely(cluster.replica(new), "after", "v").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_a_wiped_disk_comes_back_as_another() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let wiped = (leader + 1) % 3;
    put_surely(cluster.replica(leader), "before", "v").await;
    let old = cluster.replica(wiped).member();
    cluster.stop_member(wiped, false).await;
    // A folder of its own: in one process the database that was may still write its last files.
    cluster.members[wiped].config.data_dir = cluster.dir.join("wiped");
    cluster.start_member(wiped).await;
    let new = cluster.replica(wiped).member();
    assert_ne!(old, new);
    wait_to_vote(&cluster, wiped).await;
    let lead = cluster.leader().await;
    wait_for("the old identity to be out", || {
        let now = voters(cluster.replica(lead));
        (now.len() == 3 && now.contains(&new) && !now.contains(&old)).then_some(())
    })
    .await;
    let read = cluster.replica(wiped).range(RangeRequest::new(KeyRange::key("before"))).await.unwrap();
    assert_eq!(read.count, 1);
    cluster.assert_same_state().await;
    let healthy = || cluster.replica(wiped).status().problems.is_empty().then_some(());
    wait_for("it to have no problem any more", healthy).await;
    cluster.stop().await;
}

/// Between the one that votes and is gone, and the one that comes, others of its name had come and were
/// lost before they had a vote. Taken for the one to be replaced, any of them would leave four voters, one
/// of them gone for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lost_its_disk_again_before_it_voted_leaves_nothing_behind() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let wiped = (leader + 1) % 3;
    put_surely(cluster.replica(leader), "before", "v").await;
    let name = cluster.members[wiped].config.name.clone();
    cluster.stop_member(wiped, false).await;
    for _ in 0..4 {
        // Without a word about whom to join: it asks for no vote.
        let learner = cluster.add(&name, None);
        cluster.start_member(learner).await;
        let peer_address = cluster.members[learner].config.peer_address.clone();
        let change = MemberChange::AddLearner { peer_address };
        cluster.replica(leader).change_members(change).await.unwrap();
        cluster.stop_member(learner, false).await;
    }
    assert_eq!(cluster.replica(leader).status().members.len(), 7);
    cluster.members[wiped].config.data_dir = cluster.dir.join("wiped");
    cluster.start_member(wiped).await;
    wait_to_vote(&cluster, wiped).await;
    wait_for("the others to be forgotten", || {
        let found = cluster.replica(leader).status().members;
        (found.len() == 3 && found.iter().all(|member| member.votes)).then_some(())
    })
    .await;
    put_surely(cluster.replica(wiped), "after", "v").await;
    cluster.assert_same_state().await;
    cluster.stop().await;
}

/// It has a log, as one has that was removed, and was never in: nobody has removed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_leader_was_lost_while_taking_it_in_comes_in_by_the_next() {
    let mut cluster = Cluster::prepare(3, Limits::default());
    let mut cuts = Vec::new();
    for i in 0..3 {
        let outside = free_listener();
        let address = format!("127.0.0.1:{}", outside.local_addr().unwrap().port());
        cuts.push(relay(outside, cluster.members[i].listen_on.clone()));
        let name = cluster.members[i].config.name.clone();
        cluster.members[i].config.peer_address = address.clone();
        for member in &mut cluster.members {
            member.config.initial_members.insert(name.clone(), address.clone());
        }
    }
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let old = cluster.leader().await;
    put_surely(cluster.replica(old), "before", "v").await;
    let late = cluster.add("late", None);
    cluster.start_member(late).await;
    let id = cluster.replica(late).member();

    // The leader takes it in, and reaches nobody who could agree.
    let others = [(old + 1) % 3, (old + 2) % 3];
    let cut = |cut: bool| {
        for i in others {
            cuts[i].send_replace(cut);
        }
    };
    cut(true);
    let taking_in = tokio::spawn({
        let leader = cluster.replica(old).clone();
        let peer_address = cluster.members[late].config.peer_address.clone();
        async move { leader.change_members(MemberChange::AddLearner { peer_address }).await }
    });
    let has_itself = |replica: &Replica| replica.status().members.iter().any(|member| member.id == id);
    wait_for("it to hear of it", || has_itself(cluster.replica(late)).then_some(())).await;
    taking_in.abort();
    cluster.stop_member(old, false).await;
    cut(false);
    let lead = cluster.leader_of(&others).await;
    put_surely(cluster.replica(lead), "meanwhile", "v").await;
    assert!(!has_itself(cluster.replica(lead)), "it was agreed on: the leader was not lost in time");

    cluster.stop_member(late, false).await;
    cluster.members[late].config.join = cluster.join();
    cluster.start_member(late).await;
    assert_eq!(cluster.replica(late).member(), id);
    wait_to_vote(&cluster, late).await;
    cluster.start_member(old).await;
    put_surely(cluster.replica(late), "after", "v").await;
    cluster.assert_same_state().await;

    // From now on it was in, and does not come back from being taken out.
    let lead = cluster.leader().await;
    let lead = if lead == late { old } else { lead };
    cluster.stop_member(late, false).await;
    cluster.replica(lead).change_members(MemberChange::Remove(id)).await.unwrap();
    cluster.start_member(late).await;
    wait_for("it to know that it was removed", || problem(cluster.replica(late), "was removed")).await;
    assert!(!voters(cluster.replica(lead)).contains(&id));
    cluster.stop().await;
}

/// It asks again all the time, and may have next to nothing of the state yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_removed_while_it_learns_stays_out() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    put_surely(cluster.replica(leader), "before", "v").await;
    let join = cluster.join();
    let late = cluster.add("late", join);
    let outside = free_listener();
    let address = format!("127.0.0.1:{}", outside.local_addr().unwrap().port());
    let cut = relay(outside, cluster.members[late].listen_on.clone());
    cluster.members[late].config.peer_address = address;
    cluster.start_member(late).await;
    let id = cluster.replica(late).member();
    let is_in = || cluster.replica(leader).status().members.iter().any(|member| member.id == id);
    wait_for("it to be taken in", || is_in().then_some(())).await;
    cut.send_replace(true);
    let mark = cluster.members[late].config.data_dir.join("NEWCOMER");
    wait_for("it to know that it was", || (!mark.exists()).then_some(())).await;

    cluster.replica(leader).change_members(MemberChange::Remove(id)).await.unwrap();
    cut.send_replace(false);
    wait_for("it to know that it was removed", || problem(cluster.replica(late), "was removed")).await;
    assert!(!is_in(), "it came in again by itself");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_is_not_made_up_for_by_a_minority() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let (wiped, down) = ((leader + 1) % 3, (leader + 2) % 3);
    put_surely(cluster.replica(leader), "before", "v").await;
    cluster.stop_member(down, false).await;
    let term = cluster.replica(leader).status().term;
    cluster.stop_member(wiped, false).await;
    cluster.members[wiped].config.data_dir = cluster.dir.join("wiped");
    cluster.start_member(wiped).await;
    wait_for("it to say why it stays out", || problem(cluster.replica(wiped), "joining the cluster")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // It has neither voted nor taken entries in the place of the one that it was.
    let status = cluster.replica(wiped).status();
    assert_eq!((status.last_log_index, status.term), (0, 0));
    assert!(!cluster.replica(wiped).votes());

    // With the majority back, nobody has to do anything.
    cluster.start_member(down).await;
    wait_to_vote(&cluster, wiped).await;
    let lead = cluster.leader().await;
    assert!(cluster.replica(lead).status().term >= term);
    put_surely(cluster.replica(wiped), "after", "v").await;
    cluster.assert_same_state().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_put_the_cluster_at_risk_is_refused() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let (other, down) = ((leader + 1) % 3, (leader + 2) % 3);
    put_surely(cluster.replica(leader), "k", "v").await;

    // Of the name of one that is alive.
    let join = cluster.join();
    let double = cluster.add("m0", join.clone());
    cluster.start_member(double).await;
    wait_for("the name to be refused", || problem(cluster.replica(double), "is alive")).await;
    assert_eq!(cluster.replica(leader).status().members.len(), 3);
    cluster.stop_member(double, false).await;

    // With one of three down, the other cannot be spared.
    let (other_id, down_id) = (cluster.replica(other).member(), cluster.replica(down).member());
    cluster.stop_member(down, false).await;
    // Nothing but time makes a silent member count as gone.
    tokio::time::sleep(cluster.members[leader].config.timing.no_leader + Duration::from_millis(500)).await;
    let refused = cluster.replica(leader).change_members(MemberChange::Remove(other_id)).await;
    assert_eq!(refused, Err(MemberError::QuorumAtRisk { healthy: 1, needed: 2 }));

    // The dead one is replaced by one of another name.
    let replaces = cluster.members[down].config.name.clone();
    let new = cluster.add("fresh", join.map(|join| Join { replaces: Some(replaces), ..join }));
    cluster.start_member(new).await;
    wait_to_vote(&cluster, new).await;
    // Both vote while the one change is on its way.
    let now = wait_for("the dead one to be out", || {
        let now = voters(cluster.replica(leader));
        (now.len() == 3 && !now.contains(&down_id)).then_some(now)
    })
    .await;

    // And stays out when it comes back: it may not know that it has been replaced.
    cluster.start_member(down).await;
    wait_for("it to know that it was removed", || problem(cluster.replica(down), "was removed")).await;
    assert_eq!(voters(cluster.replica(leader)), now);
    let again = MemberChange::AddLearner { peer_address: cluster.members[down].config.peer_address.clone() };
    let refused = cluster.replica(leader).change_members(again).await;
    assert_eq!(refused, Err(MemberError::Removed(down_id)));

    let (new_id, lead_id) = (cluster.replica(new).member(), cluster.replica(leader).member());
    let promoted = cluster.replica(other).change_members(MemberChange::Promote(new_id)).await;
    assert_eq!(promoted, Err(MemberError::NotALearner(new_id)));
    let replaced =
        cluster.replica(other).change_members(MemberChange::Replace { old: lead_id, new: MemberId(1) }).await;
    assert_eq!(replaced, Err(MemberError::Unknown(MemberId(1))));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_moved_tells_the_others() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let moved = (leader + 1) % 3;
    let id = cluster.replica(moved).member();
    cluster.stop_member(moved, false).await;
    let address = {
        let listener = crate::cluster::free_listener();
        format!("127.0.0.1:{}", listener.local_addr().unwrap().port())
    };
    cluster.members[moved].config.peer_address = address.clone();
    cluster.members[moved].listen_on = address.clone();
    cluster.start_member(moved).await;
    wait_for("the leader to know its address", || {
        let members = cluster.replica(leader).status().members;
        members.iter().any(|m| m.id == id && m.node.peer_address == address).then_some(())
    })
    .await;
    put_surely(cluster.replica(leader), "k", "v").await;
    cluster.assert_same_state().await;
    assert_eq!(cluster.replica(moved).member(), id);
    cluster.stop().await;
}

/// The calls of the clients' port, as `etcdctl member` makes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_promoted_and_updated_by_the_calls_of_etcd() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    put_surely(cluster.replica(leader), "before", "v").await;
    let certificates = cluster.ca.issue_client("operator");
    let channel = connect(&cluster.members[0].client_address, &certificates).await;
    let mut calls = ClusterClient::new(channel);
    let url = |address: &str| vec![format!("https://{address}")];

    let fourth = cluster.add("m4", None);
    cluster.start_member(fourth).await;
    let address = cluster.members[fourth].config.peer_address.clone();
    let add = pb::MemberAddRequest { peer_ur_ls: url(&address), is_learner: true };
    let added = calls.member_add(add).await.unwrap().into_inner().member.unwrap();
    assert!(added.is_learner && added.name == "m4", "{added:?}");
    let deadline = Instant::now() + WAIT;
    let members = loop {
        match calls.member_promote(pb::MemberPromoteRequest { id: added.id }).await {
            Ok(promoted) => break promoted.into_inner().members,
            Err(status) => assert!(
                status.message().contains("in sync with leader") && Instant::now() < deadline,
                "{status}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(members.iter().filter(|member| !member.is_learner).count(), 4);

    let update = |id: u64, address: &str| pb::MemberUpdateRequest { id, peer_ur_ls: url(address) };
    let updated = calls.member_update(update(added.id, &address)).await.unwrap().into_inner();
    assert_eq!(updated.members.iter().find(|m| m.id == added.id).unwrap().peer_ur_ls, url(&address));
    let outside = free_listener();
    let elsewhere = format!("127.0.0.1:{}", outside.local_addr().unwrap().port());
    let _relay = relay(outside, cluster.members[fourth].listen_on.clone());
    let another = cluster.members[leader].config.peer_address.clone();
    for (id, address, code, word) in [
        (added.id, &elsewhere, Code::FailedPrecondition, "says itself that it is at"),
        (added.id, &another, Code::Unavailable, "another member answers"),
        (1, &address, Code::NotFound, "member not found"),
    ] {
        let refused = calls.member_update(update(id, address)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(word), "{refused}");
    }
    let none = pb::MemberUpdateRequest { id: added.id, peer_ur_ls: Vec::new() };
    assert_eq!(calls.member_update(none).await.unwrap_err().code(), Code::InvalidArgument);

    let gone = calls.member_remove(pb::MemberRemoveRequest { id: added.id }).await.unwrap().into_inner();
    assert_eq!(gone.members.len(), 3);
    cluster.stop_member(fourth, false).await;
    cluster.assert_same_state().await;
    cluster.stop().await;
}
