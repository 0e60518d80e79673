//! A member whose directory was put back from a copy: it has forgotten what it gave its word for.

use std::path::Path;
use std::sync::{Arc, Mutex};

use trireme_raft::{Limits, Replica, StartError};

use crate::cluster::{Cluster, put_surely, wait_for};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Stops a member and waits until its state is closed: tasks of it that end later hold it open, and
/// what is copied meanwhile does not fit together.
async fn stop(cluster: &mut Cluster, i: usize) {
    cluster.stop_member(i, false).await;
    let log = cluster.members[i].config.data_dir.join("state/state-1/LOG");
    wait_for("the state to be closed", || {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        told.contains("Shutdown complete").then_some(())
    })
    .await;
}

/// Puts `copy_of` in the place of a stopped member's directory.
fn put_back(cluster: &Cluster, i: usize, copy_of: &Path) {
    let dir = &cluster.members[i].config.data_dir;
    std::fs::remove_dir_all(dir).unwrap();
    copy(copy_of, dir);
}

/// What its start comes to.
async fn start(cluster: &Cluster, i: usize) -> Result<Replica, StartError> {
    for _ in 0..1000 {
        let config = cluster.members[i].config.clone();
        let Ok(listener) = std::net::TcpListener::bind(&cluster.members[i].listen_on) else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        match Replica::start(config, listener).await {
            // What this process held of it before may take a moment to go.
            Err(StartError::Identity(_) | StartError::Store(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            started => return started,
        }
    }
    panic!("it does not come to a start")
}

async fn written(cluster: &Cluster, leader: usize, what: &str) {
    for i in 0..20 {
        put_surely(cluster.replica(leader), &format!("{what}{i}"), "v").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_is_found_by_whoever_has_seen_a_later_start() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    written(&cluster, leader, "before").await;
    cluster.assert_same_state().await;
    stop(&mut cluster, victim).await;
    let kept = cluster.dir.join("kept");
    copy(&cluster.members[victim].config.data_dir, &kept);
    // It lives on: starts again, twice, and acknowledges more.
    for round in ["first", "second"] {
        cluster.start_member(victim).await;
        wait_for("it to follow", || cluster.replica(victim).status().caught_up.then_some(())).await;
        let leader = cluster.leader().await;
        written(&cluster, leader, round).await;
        stop(&mut cluster, victim).await;
    }
    // The leader, which remembers what was acknowledged, is another one by then: the count alone tells.
    let other = (victim + 1) % 3;
    for i in [other, (victim + 2) % 3] {
        stop(&mut cluster, i).await;
    }
    for i in [other, (victim + 2) % 3] {
        cluster.start_member(i).await;
    }
    cluster.leader().await;
    put_back(&cluster, victim, &kept);
    for _ in 0..2 {
        let refused = start(&cluster, victim).await.map(|_| ()).unwrap_err();
        assert!(refused.is_damage() && refused.is_permanent(), "{refused}");
        assert!(
            refused.to_string().contains("old copy of the member's disk: this is start 2 of it"),
            "{refused}"
        );
    }
    let leader = cluster.leader().await;
    written(&cluster, leader, "after").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_running_member_is_found_by_what_it_has_acknowledged() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    written(&cluster, leader, "before").await;
    cluster.assert_same_state().await;
    stop(&mut cluster, victim).await;
    let kept = cluster.dir.join("kept");
    copy(&cluster.members[victim].config.data_dir, &kept);
    cluster.start_member(victim).await;
    // As if the copy had been made a moment later, of one that runs: it knows of this start.
    std::fs::copy(cluster.members[victim].config.data_dir.join("BOOTS"), kept.join("BOOTS")).unwrap();
    written(&cluster, leader, "more").await;
    cluster.assert_same_state().await;
    stop(&mut cluster, victim).await;
    assert_eq!(cluster.leader().await, leader, "the same leads on");
    put_back(&cluster, victim, &kept);
    let refused = start(&cluster, victim).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("has acknowledged entry"), "{refused}");
    assert!(refused.is_damage(), "{refused}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_whose_peers_come_back_later_ends_then() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    written(&cluster, leader, "before").await;
    stop(&mut cluster, victim).await;
    let kept = cluster.dir.join("kept");
    copy(&cluster.members[victim].config.data_dir, &kept);
    cluster.start_member(victim).await;
    wait_for("it to follow", || cluster.replica(victim).status().caught_up.then_some(())).await;
    cluster.leader().await;
    for i in 0..3 {
        stop(&mut cluster, i).await;
    }
    put_back(&cluster, victim, &kept);
    let why = Arc::new(Mutex::new(String::new()));
    let told = why.clone();
    cluster.members[victim].config.on_fatal = Arc::new(move |reason| {
        reason.clone_into(&mut told.lock().expect("no panic"));
    });
    // Nobody is there to know better.
    cluster.start_member(victim).await;
    for i in (0..3).filter(|i| *i != victim) {
        cluster.start_member(i).await;
    }
    let reason = wait_for("its end", || {
        let why = why.lock().expect("no panic").clone();
        (!why.is_empty()).then_some(why)
    })
    .await;
    assert!(reason.contains("old copy of the member's disk"), "{reason}");
    assert!(cluster.members[victim].config.data_dir.join("DAMAGED").exists());
    cluster.stop().await;
}
