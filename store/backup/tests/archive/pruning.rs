//! What pruning leaves is all that it promises.

use std::time::Duration;

use trireme_backup::{ArchiverConfig, Error, Point, Retention};

use crate::member::{Member, Working, archive, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_within_the_time_kept_is_there_after_pruning() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(20);
    let often = ArchiverConfig { base_every: Duration::from_millis(300), ..config(dir.path()) };
    let working = Working::start(archive(&storage), &member, often);
    let points = async || archive(&storage).points().await.unwrap();
    eventually("a third base", async || {
        member.write(7);
        (points().await.bases.len() >= 3).then_some(())
    })
    .await;
    drop(working);
    // Nothing more is written by the archiver that was told to stop.
    // In a place of its own: the first may still be at work on a base.
    let mut working = Working::start(archive(&storage), &member, config(&dir.path().join("second")));
    member.write(7);
    working.reaches(member.last_index()).await;
    // Otherwise the base before stays for being the newest good one.
    eventually("the newest to be good", async || points().await.bases.last()?.good.filter(|good| *good))
        .await;
    drop(working);
    let before = points().await;
    let history = member.history();
    let newest = before.bases.last().unwrap();
    // Some entries before the newest base: one goes on to it from the base before.
    let since = history.iter().rfind(|moment| moment.time_ms < newest.time_ms).unwrap().time_ms;
    let second = before.bases.iter().rfind(|base| base.time_ms < since).unwrap();
    let now_ms = history.last().unwrap().time_ms;
    let keep = Duration::from_millis((now_ms - since) as u64);
    let dry = archive(&storage).prune(Retention { keep }, now_ms, true).await.unwrap();
    assert_eq!(points().await, before, "a dry run removed something");
    let pruned = archive(&storage).prune(Retention { keep }, now_ms, false).await.unwrap();
    assert_eq!(pruned, dry);
    assert!(pruned.bases >= 1, "{pruned:?}");
    assert_eq!(points().await.bases.first().unwrap().index, second.index);
    let mut times: Vec<i64> = history.iter().map(|moment| moment.time_ms).filter(|at| *at >= since).collect();
    times.dedup();
    for time_ms in times {
        let into = dir.path().join(time_ms.to_string());
        let made = archive(&storage).materialize(Point::Time(time_ms), &into, &|_| {}).await.unwrap();
        let expected = history.iter().rfind(|moment| moment.time_ms <= time_ms).unwrap();
        assert_eq!(made.hash, expected.applied.hash, "time {time_ms}");
    }
    let into = dir.path().join("gone");
    let gone = archive(&storage).materialize(Point::Time(history[0].time_ms), &into, &|_| {}).await;
    assert!(matches!(gone, Err(Error::TooEarly { .. })), "{gone:?}");
}
