//! A member that hears nobody and is heard by all: the cut that disturbs a naive cluster most.

use std::net::TcpListener;
use std::time::Duration;

use crate::cluster::{Cluster, free_listener, put_surely, wait_for};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use trireme_raft::{Limits, Role};
use trireme_store::{Error, KeyRange, Kv, RangeRequest};

/// Passes connections on to `to` until it is cut, which ends them and refuses new ones.
pub(crate) fn relay(listener: TcpListener, to: String) -> watch::Sender<bool> {
    let (cut, is_cut) = watch::channel(false);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let (to, mut is_cut) = (to.clone(), is_cut.clone());
            tokio::spawn(async move {
                let pass = async {
                    let mut to = TcpStream::connect(to).await?;
                    copy_bidirectional(&mut from, &mut to).await
                };
                tokio::select! {
                    _ = pass => {}
                    _ = is_cut.wait_for(|cut| *cut) => {}
                }
            });
        }
    });
    cut
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_nobody_disturbs_nobody() {
    let mut cluster = Cluster::prepare(3, Limits::default());
    // The others reach it through the relay; it reaches them as ever.
    let outside = free_listener();
    let address = format!("127.0.0.1:{}", outside.local_addr().unwrap().port());
    let away = 2;
    let name = cluster.members[away].config.name.clone();
    let cut = relay(outside, cluster.members[away].listen_on.clone());
    cluster.members[away].config.peer_address = address.clone();
    for member in &mut cluster.members {
        member.config.initial_members.insert(name.clone(), address.clone());
    }
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    if cluster.leader().await == away {
        cluster.replica(away).hand_over(None).await.unwrap();
        wait_for("another leader", || (cluster.replica(away).status().role != Role::Leader).then_some(()))
            .await;
    }
    let leader = cluster.leader().await;
    let lead = cluster.replica(leader).clone();
    for i in 0..20 {
        put_surely(&lead, &format!("before{i}"), "v").await;
    }
    let term = lead.status().term;

    cut.send_replace(true);
    wait_for("it to miss the leader", || {
        let problems = cluster.replica(away).status().problems;
        problems.iter().any(|problem| problem.contains("no leader is heard of")).then_some(())
    })
    .await;
    // It asks for votes all the time now, and is refused: the leader is heard by the others.
    for i in 0..100 {
        lead.txn(crate::cluster::put(format!("during{i}"), "v")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = lead.status();
    assert_eq!((status.role, status.term), (Role::Leader, term));
    assert_eq!(cluster.replica(away).status().term, term, "it has raised its term");
    // What it cannot know to be fresh, it does not serve: unless it still reaches the leader, and asks.
    let read = cluster.replica(away).range(RangeRequest::new(KeyRange::prefix("during"))).await;
    assert!(!matches!(&read, Ok(read) if read.count < 100), "{read:?}");
    let acceptable =
        matches!(&read, Ok(_) | Err(Error::NoLeader | Error::Unavailable(_) | Error::OutcomeUnknown));
    assert!(acceptable, "{read:?}");

    cut.send_replace(false);
    wait_for("it to catch up", || {
        let there = cluster.replica(away).store().range(&RangeRequest::new(KeyRange::prefix("during")));
        (there.unwrap().count == 100).then_some(())
    })
    .await;
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(lead.status().term, term);
    cluster.assert_same_state().await;
    drop(lead);
    cluster.stop().await;
}
