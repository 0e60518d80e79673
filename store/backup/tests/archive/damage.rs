//! What is wrong with an archive is found and named.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use trireme_backup::{Archive, ArchiverConfig, Error, Key, Point};

use crate::member::{CLUSTER, Member, Working, archive, config, eventually, key};

/// An archive of a base and some objects of log.
async fn archived(dir: &Path, storage: &Arc<dyn ObjectStore>) -> Arc<Member> {
    let member = Member::new(&dir.join("state"));
    member.write(30);
    let mut working = Working::start(archive(storage), &member, config(dir));
    working.reaches(29).await;
    for _ in 0..4 {
        member.write(20);
        working.reaches(member.last_index()).await;
    }
    drop(working);
    member
}

async fn objects(storage: &Arc<dyn ObjectStore>, part: &str) -> Vec<ObjectPath> {
    let found: Vec<_> = storage.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = found.into_iter().map(|meta| meta.location).collect();
    paths.retain(|path| path.as_ref().contains(part));
    paths.sort();
    paths
}

async fn read(storage: &Arc<dyn ObjectStore>, path: &ObjectPath) -> Bytes {
    storage.get(path).await.unwrap().bytes().await.unwrap()
}

async fn write(storage: &Arc<dyn ObjectStore>, path: &ObjectPath, bytes: impl Into<Bytes>) {
    storage.put(path, bytes.into().into()).await.unwrap();
}

/// The error both of a restore and of a verification, which must be about `path`.
async fn found(dir: &Path, storage: &Arc<dyn ObjectStore>, path: &ObjectPath) -> Error {
    let error = archive(storage).materialize(Point::Latest, &dir.join("x"), &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains(path.as_ref()), "{path} is not named: {error}");
    assert!(!dir.join("x").exists() && !dir.join("x.partial").exists(), "something was left");
    let verified = archive(storage).verify(&dir.join("verify"), &|_, _| {}).await.unwrap();
    let told = verified.problems.iter().any(|problem| problem.to_string().contains(path.as_ref()));
    assert!(told, "{path} is not named by verify: {verified:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_cut_or_swapped_object_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    archived(dir.path(), &storage).await;
    let log = objects(&storage, "/log/").await;
    assert!(log.len() >= 4, "{log:?}");
    for part in ["/part-", "MANIFEST", "/log/"] {
        let path = objects(&storage, part).await.remove(0);
        let whole = read(&storage, &path).await;
        for at in [12, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.to_vec();
            changed[at] ^= 4;
            write(&storage, &path, changed).await;
            let error = found(dir.path(), &storage, &path).await;
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
        for length in [0, 30, whole.len() - 1] {
            write(&storage, &path, whole.slice(..length)).await;
            let error = found(dir.path(), &storage, &path).await;
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
        write(&storage, &path, whole).await;
    }
    // One object under another's name.
    let (one, other) = (read(&storage, &log[1]).await, read(&storage, &log[2]).await);
    write(&storage, &log[1], other).await;
    write(&storage, &log[2], one).await;
    assert!(matches!(found(dir.path(), &storage, &log[1]).await, Error::Damaged { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_named_and_so_is_a_wrong_key() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = archived(dir.path(), &storage).await;
    let other = Archive::over(storage.clone(), Key::from_bytes([1; 32]), CLUSTER, "memory");
    let error = other.materialize(Point::Latest, &dir.path().join("x"), &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    // Another cluster's folder is none of this one's.
    let other = Archive::over(storage.clone(), key(), CLUSTER + 1, "memory");
    let error = other.materialize(Point::Latest, &dir.path().join("x"), &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Empty { .. }), "{error}");

    let log = objects(&storage, "/log/").await;
    let whole = read(&storage, &log[1]).await;
    storage.delete(&log[1]).await.unwrap();
    let error =
        archive(&storage).materialize(Point::Latest, &dir.path().join("x"), &|_| {}).await.unwrap_err();
    let first: u64 = log[1].filename().unwrap()[..20].parse().unwrap();
    assert!(matches!(error, Error::Gap { first: gap, .. } if gap == first), "{error}");
    let gaps = archive(&storage).points().await.unwrap().gaps;
    assert!(gaps.len() == 1 && gaps[0].first_index == first, "{gaps:?}");
    // Before the gap everything is there.
    let time_ms = member.history()[first as usize - 4].time_ms;
    let history = member.history();
    let before = history.iter().rfind(|moment| moment.time_ms == time_ms).unwrap();
    let made =
        archive(&storage).materialize(Point::Time(before.time_ms), &dir.path().join("b"), &|_| {}).await;
    assert_eq!(made.unwrap().revision, before.applied.revision);
    write(&storage, &log[1], whole).await;
    let part = objects(&storage, "/part-").await.remove(0);
    storage.delete(&part).await.unwrap();
    let error =
        archive(&storage).materialize(Point::Latest, &dir.path().join("x"), &|_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::Missing { object } if object == part.as_ref()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_leads_to_another_state_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(30);
    // Written and sealed well, and yet not what was applied.
    member.lies_at.store(37, Ordering::Relaxed);
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    working.reaches(29).await;
    member.write(20);
    working.reaches(49).await;
    drop(working);
    let soon = ArchiverConfig { base_every: std::time::Duration::from_millis(1), ..config(dir.path()) };
    let working = Working::start(archive(&storage), &member, soon);
    eventually("a second base", async || {
        member.write(1);
        (archive(&storage).points().await.unwrap().bases.len() > 1).then_some(())
    })
    .await;
    let end = member.last_index();
    let mut working = working;
    working.reaches(end).await;
    drop(working);
    let verified = archive(&storage).verify(&dir.path().join("verify"), &|_, _| {}).await.unwrap();
    let other_hash = verified.problems.iter().any(|problem| matches!(problem, Error::OtherHash { .. }));
    assert!(other_hash, "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_base_is_restored_for_a_test() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = Member::new(&dir.path().join("state"));
    member.write(30);
    let working = Working::start(archive(&storage), &member, config(dir.path()));
    let good =
        eventually("a check", async || archive(&storage).points().await.unwrap().bases.first()?.good).await;
    assert!(good, "a good base was not found so");
    drop(working);
    let check = objects(&storage, "/check/").await.remove(0);
    storage.delete(&check).await.unwrap();
    let part = objects(&storage, "/part-").await.remove(0);
    let mut changed = read(&storage, &part).await.to_vec();
    changed[100] ^= 1;
    write(&storage, &part, changed).await;
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    working
        .until("the problem", |told| told.base_problem.as_ref().is_some_and(|why| why.contains("part-00000")))
        .await;
    assert_eq!(archive(&storage).points().await.unwrap().bases[0].good, Some(false));
}
