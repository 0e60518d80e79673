//! A hundred thousand leases, through a change of leader: none ends early, those that nobody renews
//! end, and renewals go on.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use trireme_raft::{Limits, Replica};
use trireme_store::{
    Error, EventKind, KeyRange, Kv, LeaseId, Op, PutRequest, Revision, TxnRequest, WatchItem, WatchRequest,
};

use crate::cluster::{Cluster, WAIT};

const LEASES: usize = 100_000;
/// Renewed all the time.
const KEPT: usize = 1_000;
/// Renewed by nobody, with the time of those that are.
const ENDING: usize = 4_000;
/// Of the kept ones and those that end. Longer than a machine with other work stands still.
const TTL_S: i64 = 12;
/// Of the rest, which outlive the test.
const LONG_TTL_S: i64 = 3_600;
const CALLS_AT_ONCE: usize = 1_024;
/// From one renewal of a lease to the next.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// While nothing but renewals happens: what leases cost.
const QUIET: Duration = Duration::from_secs(3);

/// What a lease is for, by its place.
fn ttl_s(n: usize) -> i64 {
    if n < KEPT + ENDING { TTL_S } else { LONG_TTL_S }
}

fn id(n: usize) -> LeaseId {
    LeaseId(1_000_000 + n as i64)
}

fn key(n: usize) -> String {
    format!("/leased/{n:06}")
}

/// Calls until it is answered for good.
async fn surely<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> Result<T, Error> {
    let deadline = Instant::now() + WAIT;
    loop {
        match call().await {
            Err(Error::NoLeader | Error::Unavailable(_) | Error::TooManyRequests | Error::OutcomeUnknown)
                if Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answered => return answered,
        }
    }
}

/// Grants every lease; when each was asked for.
async fn grant_all(replica: &Replica) -> Vec<Instant> {
    stream::iter(0..LEASES)
        .map(|n| async move {
            let asked = Instant::now();
            match surely(|| replica.lease_grant(id(n), ttl_s(n))).await {
                // Asked again after its outcome was not known.
                Ok(_) | Err(Error::LeaseExists) => Ok(asked),
                Err(error) => Err(error),
            }
        })
        .buffered(CALLS_AT_ONCE)
        .try_collect()
        .await
        .expect("every lease is granted")
}

/// Hangs a key on each lease whose end is looked for, and on as many that stay.
async fn attach(replica: &Replica) {
    stream::iter(0..2 * (KEPT + ENDING))
        .map(|n| async move {
            let put = Op::Put(PutRequest { lease: id(n), ..PutRequest::new(key(n), "v") });
            let txn = TxnRequest { success: vec![put], ..TxnRequest::default() };
            surely(|| replica.txn(txn.clone())).await
        })
        .buffer_unordered(CALLS_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await
        .expect("every key is written");
}

/// Renews the kept ones until told to stop; how often that was, and what was refused for good.
async fn renew_on(replica: Replica, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<(usize, Error)> {
    let mut refused = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let round = stream::iter(0..KEPT).map(|n| {
            let replica = &replica;
            async move { (n, surely(|| replica.lease_keep_alive(id(n))).await) }
        });
        let round: Vec<_> = round.buffer_unordered(CALLS_AT_ONCE).collect().await;
        for (n, renewed) in round {
            match renewed {
                Ok(left_s) if left_s > 0 => drop(done.fetch_add(1, Ordering::Relaxed)),
                Ok(_) => refused.push((n, Error::LeaseNotFound)),
                Err(error) => refused.push((n, error)),
            }
        }
        tokio::time::sleep(RENEW_EVERY.saturating_sub(began.elapsed())).await;
    }
    refused
}

/// Seconds of CPU of this process, and bytes that it has in memory.
fn used() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("stat").split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("ticks");
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    // A hundred ticks a second and pages of 4 KiB, on every Linux that this runs on.
    ((ticks(11) + ticks(12)) / 100.0, pages * 4096)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "many_leases: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_leases_outlive_a_leader_and_none_ends_early() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let first = cluster.leader().await;
    let (leader, follower) = (cluster.replica(first).clone(), cluster.replica((first + 1) % 3).clone());
    let (_, before) = used();
    let began = Instant::now();
    let asked = grant_all(&leader).await;
    let took = began.elapsed();
    let (_, after) = used();
    say(&format!(
        "{LEASES} granted in {:.1} s; {:.1} MB more for three members",
        took.as_secs_f64(),
        after.saturating_sub(before) as f64 / 1e6
    ));

    let stop = Arc::new(AtomicBool::new(false));
    let renewals = Arc::new(AtomicU64::new(0));
    // Through a follower, whose renewals go to whoever leads.
    let renewing = tokio::spawn(renew_on(follower.clone(), stop.clone(), renewals.clone()));
    let from = |revision| WatchRequest::new(KeyRange::prefix("/leased/"), Revision(revision));
    let (mut seen, mut watch) = (0, follower.watch(from(1)).await.expect("a watch"));
    attach(&leader).await;

    // Whoever leads next grants each its whole time again.
    let moved = Instant::now();
    leader.hand_over(None).await.expect("leadership is handed over");
    let second = cluster.leader().await;
    assert_ne!(second, first);

    let (cpu_before, count) = (used().0, renewals.load(Ordering::Relaxed));
    tokio::time::sleep(QUIET).await;
    let cpu = (used().0 - cpu_before) / QUIET.as_secs_f64() * 100.0;
    let renewed = (renewals.load(Ordering::Relaxed) - count) as f64 / QUIET.as_secs_f64();
    say(&format!(
        "{cpu:.1} % of a core for three members and their clients with {renewed:.0} renewals a second"
    ));

    // The ends, as they are seen: what is seen too early was too early.
    let mut ended: BTreeMap<String, Instant> = BTreeMap::new();
    let deadline = Instant::now() + WAIT;
    while ended.len() < ENDING {
        let left = deadline.saturating_duration_since(Instant::now());
        let item = tokio::time::timeout(left, watch.next()).await;
        let item = item.unwrap_or_else(|_| panic!("{} of {ENDING} have ended", ended.len()));
        let (revision, events) = match item.expect("the watch goes on") {
            Ok(WatchItem::Events { revision, events }) => (revision, events),
            Ok(WatchItem::Progress { .. }) => continue,
            // On a machine that is too busy for an election: watched again from there.
            Err(Error::NoLeader) => {
                cluster.leader().await;
                watch = follower.watch(from(seen + 1)).await.expect("a watch");
                continue;
            }
            Err(error) => panic!("the watch ended: {error}"),
        };
        seen = revision.0;
        let deletions = events.iter().filter(|event| event.kind == EventKind::Delete);
        let now = Instant::now();
        ended.extend(deletions.map(|event| (String::from_utf8_lossy(&event.kv.key).into_owned(), now)));
    }
    let expected: HashSet<String> = (KEPT..KEPT + ENDING).map(key).collect();
    let wrong: Vec<_> = ended.keys().filter(|key| !expected.contains(*key)).collect();
    assert!(wrong.is_empty(), "ended, and should not have: {wrong:?}");
    let ttl = Duration::from_secs(TTL_S as u64);
    for n in KEPT..KEPT + ENDING {
        let at = ended[&key(n)];
        let since = asked[n].max(moved);
        assert!(at >= since + ttl, "lease {n} ended {:?} early", since + ttl - at);
    }
    let ends = ended.values().copied();
    let spread = ends.clone().max().expect("ends") - ends.min().expect("ends");
    say(&format!("{ENDING} ended within {} ms of each other", spread.as_millis()));

    // Nobody else's has ended, neither by its keys nor by name.
    let ids: HashSet<LeaseId> = surely(|| follower.leases()).await.expect("leases").into_iter().collect();
    let stays = |n: &usize| !(KEPT..KEPT + ENDING).contains(n);
    let lost: Vec<usize> = (0..LEASES).filter(stays).filter(|n| !ids.contains(&id(*n))).collect();
    assert!(lost.is_empty(), "{} leases are gone, {:?} among them", lost.len(), lost.first());
    assert_eq!(ids.len(), LEASES - ENDING, "some that ended are still there");
    stop.store(true, Ordering::Relaxed);
    let refused = renewing.await.expect("the renewals");
    assert!(refused.is_empty(), "renewals were refused: {refused:?}");
    let kept = surely(|| follower.lease_time_to_live(id(0), true)).await.expect("the first kept one");
    assert_eq!(kept.keys.len(), 1);
    cluster.assert_same_state().await;
    cluster.stop().await;
}
