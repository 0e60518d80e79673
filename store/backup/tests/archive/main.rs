//! The archive as a whole: what was archived comes back at every point, and what is wrong with it
//! is found and named.

#![allow(unreachable_pub)] // one binary, of several files

mod damage;
mod member;
mod merging;
mod pruning;
mod s3;
mod s3_stock;
mod storage;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use trireme_backup::{ArchiverConfig, Error, Point, base};
use trireme_store::Store;
use trireme_store::engine::{RocksEngine, RocksOptions};

use member::{Member, Working, archive, config, eventually, key};
use storage::Mortal;

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let storage = memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(40);
    let often = ArchiverConfig { base_every: Duration::from_millis(700), ..config(dir.path()) };
    let mut working = Working::start(archive(&storage), &member, often);
    working.reaches(39).await;
    let first = archive(&storage).points().await.unwrap().bases[0].clone();
    for _ in 0..6 {
        member.write(35);
        working.reaches(member.last_index()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    drop(working);
    let points = archive(&storage).points().await.unwrap();
    assert!(points.bases.len() >= 2, "{} bases", points.bases.len());
    assert_eq!((points.spans.len(), points.gaps.len()), (1, 0), "{points:?}");
    assert_eq!(points.spans[0].last_revision, member.applied().revision.0);

    let history = member.history();
    let restore = async |n: String, point| {
        let into = dir.path().join(n);
        let applied = archive(&storage).materialize(point, &into, &|_| {}).await;
        if let Ok(applied) = &applied {
            // What was made is a state that a store opens, and its hash is that of its content.
            let engine = RocksEngine::open(&into, RocksOptions::default()).unwrap();
            let store = Store::open(Arc::new(engine)).unwrap();
            assert_eq!(&store.applied(), applied);
            store.verify().unwrap();
        }
        applied
    };
    let latest = restore("latest".into(), Point::Latest).await.unwrap();
    assert_eq!(latest, member.applied());

    let from = first.index as usize;
    let revisions: BTreeSet<i64> = history[from..].iter().map(|moment| moment.applied.revision.0).collect();
    let (mut exact, mut within) = (0, 0);
    let all = first.revision..=latest.revision.0;
    let passed_over = all.clone().filter(|revision| !revisions.contains(revision)).take(3);
    for revision in all.clone().step_by(4).chain(passed_over) {
        let found = restore(format!("revision-{revision}"), Point::Revision(revision)).await;
        if !revisions.contains(&revision) {
            assert!(matches!(found, Err(Error::WithinEntry { .. })), "revision {revision}: {found:?}");
            within += 1;
            continue;
        }
        let found = found.unwrap();
        let alike = history.iter().filter(|moment| moment.applied.revision.0 == revision);
        assert!(alike.into_iter().any(|moment| moment.applied == found), "revision {revision}: {found:?}");
        exact += 1;
    }
    assert!(exact > 20 && within >= 3, "{exact} revisions, {within} within an entry");

    for moment in history[from + 1..].iter().step_by(17) {
        for (n, time_ms) in [(1, moment.time_ms), (2, moment.time_ms - 1), (3, moment.time_ms + 4)] {
            let name = format!("time-{}-{n}", moment.applied.position.unwrap().index);
            let expected = history.iter().rfind(|moment| moment.time_ms <= time_ms).unwrap();
            if expected.applied.position.unwrap().index < first.index {
                continue;
            }
            let found = restore(name, Point::Time(time_ms)).await.unwrap();
            assert_eq!(found.hash, expected.applied.hash, "time {time_ms}");
            assert_eq!(found.revision, expected.applied.revision, "time {time_ms}");
        }
    }
    let too_early = restore("x".into(), Point::Time(first.time_ms - 1)).await;
    assert!(matches!(too_early, Err(Error::TooEarly { .. })), "{too_early:?}");
    let too_late = restore("x".into(), Point::Revision(latest.revision.0 + 1)).await;
    assert!(matches!(too_late, Err(Error::Beyond { .. })), "{too_late:?}");
    let verified = archive(&storage).verify(&dir.path().join("verify"), &|_, _| {}).await.unwrap();
    assert!(verified.problems.is_empty() && verified.compared + 1 == points.bases.len(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_any_two_writes_leaves_an_archive() {
    for changes in 0..9 {
        let dir = tempfile::tempdir().unwrap();
        let storage = memory();
        let member = Member::new(&dir.path().join("state"));
        member.write(20);
        let mortal = Mortal::new(storage.clone(), changes);
        let dying: Arc<dyn ObjectStore> = mortal.clone();
        let working = Working::start(archive(&dying), &member, config(dir.path()));
        eventually("its death", async || {
            member.write(3);
            mortal.is_dead().then_some(())
        })
        .await;
        drop(working);
        // What is there is a moment of the past, or nothing.
        match archive(&storage).materialize(Point::Latest, &dir.path().join("after"), &|_| {}).await {
            Ok(applied) => {
                let known = member.history().iter().any(|moment| moment.applied == applied);
                assert!(known, "after {changes} changes: {applied:?}");
            }
            Err(error) => {
                let bases = archive(&storage).points().await.map_or(0, |points| points.bases.len());
                assert!(matches!(error, Error::Empty { .. }) && bases == 0, "{changes}: {error}");
            }
        }
        // And another goes on from there.
        let mut working = Working::start(archive(&storage), &member, config(dir.path()));
        member.write(10);
        working.reaches(member.last_index()).await;
        let points = archive(&storage).points().await.unwrap();
        assert_eq!(points.gaps, [], "after {changes} changes");
        let made = archive(&storage).materialize(Point::Latest, &dir.path().join("end"), &|_| {}).await;
        assert_eq!(made.unwrap(), member.applied(), "after {changes} changes");
    }
}

/// The last entry in any object of log, whether a base leads to it or not.
async fn log_end(storage: &Arc<dyn ObjectStore>) -> u64 {
    let listed: Vec<_> = storage.list(None).try_collect().await.unwrap();
    let last = |path: &str| path.split_once("/log/")?.1.split('-').nth(1)?.parse().ok();
    listed.iter().filter_map(|object| last(object.location.as_ref())).max().unwrap_or(0)
}

async fn archived(storage: &Arc<dyn ObjectStore>, index: u64) {
    eventually("the log", async || (log_end(storage).await >= index).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_is_purged_while_the_first_base_is_made_is_in_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Mortal::new(memory(), i64::MAX);
    let storage: Arc<dyn ObjectStore> = slow.clone();
    slow.hold_bases(true);
    let member = Member::new(&dir.path().join("state"));
    member.write(30);
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    working.until("the base", |told| told.base.is_some()).await;
    for _ in 0..4 {
        member.write(30);
        archived(&storage, member.last_index()).await;
        member.purged_below.store(member.last_index() - 10, Ordering::Relaxed);
    }
    let told = working.told();
    assert!(!told.written && told.index == 0, "nothing can be had back so far: {told:?}");
    slow.hold_bases(false);
    working.reaches(member.last_index()).await;
    drop(working);
    let points = archive(&storage).points().await.unwrap();
    assert_eq!((points.bases.len(), points.gaps.len()), (1, 0), "{points:?}");
    // The last of those that share a time.
    for moment in member.history()[32..].iter().step_by(15) {
        let into = dir.path().join(format!("{}", moment.applied.position.unwrap().index));
        let made = archive(&storage).materialize(Point::Time(moment.time_ms), &into, &|_| {}).await.unwrap();
        assert_eq!(made.revision, moment.applied.revision);
    }
    let made = archive(&storage).materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_comes_to_its_end_although_log_was_lost_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Mortal::new(memory(), i64::MAX);
    let storage: Arc<dyn ObjectStore> = slow.clone();
    slow.hold_bases(true);
    let member = Member::new(&dir.path().join("state"));
    member.write(30);
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    working.until("the base", |told| told.base.is_some()).await;
    member.purged_below.store(50, Ordering::Relaxed);
    member.write(40);
    // What is written before the loss is seen may be lost with it.
    let seen = eventually("what comes after the loss", async || {
        member.write(1);
        (log_end(&storage).await > 70).then(|| member.last_index())
    });
    let seen = seen.await;
    slow.hold_bases(false);
    working.reaches(seen).await;
    drop(working);
    let points = archive(&storage).points().await.unwrap();
    assert_eq!((points.bases.len(), points.gaps.len()), (2, 1), "{points:?}");
    assert_eq!(points.bases[0].index, 29);
    let made = archive(&storage).materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_archivers_at_once_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let storage = memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(5);
    let mut one = Working::start(archive(&storage), &member, config(&dir.path().join("one")));
    let other = ArchiverConfig {
        flush_every: Duration::from_millis(600),
        base_every: Duration::from_millis(900),
        ..config(&dir.path().join("other"))
    };
    let mut two = Working::start(archive(&storage), &member, other);
    for _ in 0..12 {
        member.write(23);
        tokio::time::sleep(Duration::from_millis(170)).await;
    }
    one.reaches(member.last_index()).await;
    two.reaches(member.last_index()).await;
    drop((one, two));
    let verified = archive(&storage).verify(&dir.path().join("verify"), &|_, _| {}).await.unwrap();
    assert!(verified.problems.is_empty(), "{verified:?}");
    let made = archive(&storage).materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied());
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_was_not_written_before_a_base_is_archived_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let storage = memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(20);
    let mut first = Working::start(archive(&storage), &member, config(&dir.path().join("first")));
    first.reaches(member.last_index()).await;
    drop(first);
    // Makes bases again and again, and writes no log but the first that it finds.
    let (base_every, flush_every) = (Duration::from_millis(50), Duration::from_secs(3600));
    let ahead = ArchiverConfig { base_every, flush_every, ..config(&dir.path().join("ahead")) };
    let mut ahead = Working::start(archive(&storage), &member, ahead);
    member.write(1);
    ahead.reaches(member.last_index()).await;
    member.write(9);
    let points = async || archive(&storage).points().await.unwrap();
    let newest = async || points().await.bases.last().map(|base| base.index);
    eventually("a base", async || (newest().await? == member.last_index()).then_some(())).await;
    drop(ahead);
    let left = points().await;
    assert_eq!((left.spans.len(), left.gaps.len()), (2, 1), "{left:?}");

    let mut next = Working::start(archive(&storage), &member, config(&dir.path().join("next")));
    member.write(3);
    next.reaches(member.last_index()).await;
    eventually("the gap to be filled", async || points().await.gaps.is_empty().then_some(())).await;
    drop(next);
    for moment in &member.history()[20..] {
        let index = moment.applied.position.unwrap().index;
        let into = dir.path().join(index.to_string());
        let point = Point::Revision(moment.applied.revision.0);
        let made = archive(&storage).materialize(point, &into, &|_| {}).await.unwrap();
        assert_eq!(made.revision, moment.applied.revision, "entry {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_unseen_is_a_gap_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let storage = memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(30);
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    working.reaches(29).await;
    member.write(30);
    working.reaches(59).await;
    drop(working);
    member.write(60);
    member.purged_below.store(90, Ordering::Relaxed);
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    member.write(10);
    working.reaches(member.last_index()).await;
    drop(working);
    let points = archive(&storage).points().await.unwrap();
    assert_eq!((points.spans.len(), points.gaps.len()), (2, 1), "{points:?}");
    assert_eq!(points.gaps[0].first_index, 60);
    let within = member.history()[75].time_ms;
    let refused = archive(&storage).materialize(Point::Time(within), &dir.path().join("gap"), &|_| {}).await;
    assert!(matches!(refused, Err(Error::Gap { first: 60, .. })), "{refused:?}");
    let latest = archive(&storage).materialize(Point::Latest, &dir.path().join("latest"), &|_| {}).await;
    assert_eq!(latest.unwrap(), member.applied());
    let before = member.history()[50].clone();
    let made =
        archive(&storage).materialize(Point::Time(before.time_ms), &dir.path().join("before"), &|_| {}).await;
    assert_eq!(made.unwrap().revision, before.applied.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let storage = memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(30);
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    working.reaches(29).await;
    for late in [0, 3] {
        member.readable_to.store(member.last_index() + late, Ordering::Relaxed);
        member.write(10);
        let reads = member.reads.load(Ordering::Relaxed);
        eventually("two looks at it", async || {
            (member.reads.load(Ordering::Relaxed) >= reads + 2).then_some(())
        })
        .await;
        member.readable_to.store(u64::MAX, Ordering::Relaxed);
        working.reaches(member.last_index()).await;
    }
    let points = archive(&storage).points().await.unwrap();
    assert_eq!((points.bases.len(), points.gaps.len()), (1, 0), "{points:?}");
    let made = archive(&storage).materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_continue_the_archive_gets_a_base_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let storage = memory();
    let lost = Member::new(&dir.path().join("lost"));
    lost.write(60);
    let mut working = Working::start(archive(&storage), &lost, config(dir.path()));
    working.reaches(59).await;
    lost.write(12);
    working.reaches(71).await;
    drop(working);
    // Recovered without the last entries, and other ones in their place.
    let survivor = Member::new(&dir.path().join("survivor"));
    survivor.write(50);
    survivor.term.store(member::TERM + 1, Ordering::Relaxed);
    survivor.write(5);
    // Who archives it first dies before there is a base of it.
    let slow = Mortal::new(storage.clone(), i64::MAX);
    slow.hold_bases(true);
    let held: Arc<dyn ObjectStore> = slow.clone();
    let first = ArchiverConfig { member: "first".into(), ..config(&dir.path().join("first")) };
    let dying = Working::start(archive(&held), &survivor, first);
    eventually("log without a base", async || {
        survivor.write(5);
        (log_end(&storage).await > 75).then_some(())
    })
    .await;
    drop(dying);
    let mut working = Working::start(archive(&storage), &survivor, config(dir.path()));
    survivor.write(30);
    let last = survivor.last_index();
    eventually("its end", async || {
        let points = archive(&storage).points().await.unwrap();
        (points.end()?.last_index >= last && points.end()?.last_term > member::TERM).then_some(())
    })
    .await;
    working.reaches(last).await;
    assert_eq!(archive(&storage).points().await.unwrap().bases.len(), 2);
    let made = archive(&storage).materialize(Point::Latest, &dir.path().join("made"), &|_| {}).await;
    assert_eq!(made.unwrap(), survivor.applied());
}

#[test]
fn a_single_file_holds_the_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::new(&dir.path().join("state"));
    member.write(80);
    for sealed in [None, Some(key())] {
        let name = if sealed.is_some() { "sealed" } else { "plain" };
        let path = dir.path().join(name);
        let store = member.store_handle();
        base::write_file(store, sealed.as_ref(), &path, &|_| {}).unwrap();
        assert!(base::write_file(store, sealed.as_ref(), &path, &|_| {}).is_err(), "a file was overwritten");
        let into = dir.path().join(format!("{name}-restored"));
        assert_eq!(base::read_file(&path, sealed.as_ref(), &into, &|_| {}).unwrap(), member.applied());
        let again = base::read_file(&path, sealed.as_ref(), &into, &|_| {});
        assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let other = dir.path().join(format!("{name}-damaged"));
        let refused = base::read_file(&path, sealed.as_ref(), &other, &|_| {}).unwrap_err();
        assert!(refused.to_string().contains(name) && matches!(refused, Error::Damaged { .. }), "{refused}");
        assert!(!other.exists() && !dir.path().join(format!("{name}-damaged.partial")).exists());
    }
}
