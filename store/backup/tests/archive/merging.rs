//! Many small objects become few, and nothing is lost by it, wherever it is interrupted.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use trireme_backup::Point;

use crate::member::{Member, Working, archive, config};
use crate::storage::Mortal;

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A base and many objects of log.
async fn archived(dir: &Path, storage: &Arc<dyn ObjectStore>) -> Arc<Member> {
    let member = Member::new(&dir.join("state"));
    member.write(20);
    let mut working = Working::start(archive(storage), &member, config(dir));
    working.reaches(19).await;
    for _ in 0..8 {
        member.write(11);
        working.reaches(member.last_index()).await;
    }
    drop(working);
    member
}

async fn logs(storage: &Arc<dyn ObjectStore>) -> Vec<ObjectPath> {
    let found: Vec<_> = storage.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = found.into_iter().map(|meta| meta.location).collect();
    paths.retain(|path| path.as_ref().contains("/log/"));
    paths.sort();
    paths
}

async fn is_all_there(dir: &Path, storage: &Arc<dyn ObjectStore>, member: &Member, what: &str) {
    let points = archive(storage).points().await.unwrap();
    assert_eq!((points.spans.len(), points.gaps.len()), (1, 0), "{what}: {points:?}");
    let into = dir.join("made");
    let made = archive(storage).materialize(Point::Latest, &into, &|_| {}).await;
    assert_eq!(made.unwrap(), member.applied(), "{what}");
    std::fs::remove_dir_all(&into).unwrap();
    let moment = member.history()[60].clone();
    let made = archive(storage).materialize(Point::Time(moment.time_ms), &into, &|_| {}).await.unwrap();
    assert_eq!(
        made.revision,
        member.history().iter().rfind(|m| m.time_ms <= moment.time_ms).unwrap().applied.revision
    );
    std::fs::remove_dir_all(&into).unwrap();
    let verified = archive(storage).verify(&dir.join("verify"), &|_, _| {}).await.unwrap();
    assert!(verified.problems.is_empty(), "{what}: {verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_objects_become_few_and_hold_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = archived(dir.path(), &storage).await;
    let before = logs(&storage).await;
    assert!(before.len() >= 8, "{before:?}");
    let young = archive(&storage).merge(now_ms()).await.unwrap();
    assert_eq!((young.made, young.removed), (0, 0), "what was just written is being read");

    let merged = archive(&storage).merge(now_ms() + HOUR_MS / 2).await.unwrap();
    assert_eq!((merged.made, merged.of, merged.removed), (1, before.len(), 0), "{merged:?}");
    is_all_there(dir.path(), &storage, &member, "both there").await;
    // Also what no restore needs any more is read by a verification.
    let whole = storage.get(&before[0]).await.unwrap().bytes().await.unwrap();
    storage.put(&before[0], whole.slice(1..).into()).await.unwrap();
    let verified = archive(&storage).verify(&dir.path().join("verify"), &|_, _| {}).await.unwrap();
    let told = verified.problems.iter().any(|problem| problem.to_string().contains(before[0].as_ref()));
    assert!(told && verified.problems.len() == 1, "{verified:?}");
    storage.put(&before[0], whole.into()).await.unwrap();
    let again = archive(&storage).merge(now_ms() + HOUR_MS / 2).await.unwrap();
    assert_eq!((again.made, again.removed), (0, 0), "it was merged again: {again:?}");

    let removed = archive(&storage).merge(now_ms() + HOUR_MS).await.unwrap();
    assert_eq!((removed.made, removed.removed), (0, before.len()), "{removed:?}");
    assert_eq!(logs(&storage).await.len(), 1);
    is_all_there(dir.path(), &storage, &member, "only the merged one").await;

    // Archiving goes on from it, and what comes then is merged with it.
    let mut working = Working::start(archive(&storage), &member, config(dir.path()));
    member.write(9);
    working.reaches(member.last_index()).await;
    drop(working);
    let grown = archive(&storage).merge(now_ms() + HOUR_MS).await.unwrap();
    assert!(grown.made == 1 && grown.of >= 2, "{grown:?}");
    is_all_there(dir.path(), &storage, &member, "grown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_may_be_interrupted_anywhere_and_never_covers_up_damage() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = archived(dir.path(), &storage).await;
    let before = logs(&storage).await;
    for changes in 0..4 {
        for later in [HOUR_MS / 2, HOUR_MS] {
            let mortal: Arc<dyn ObjectStore> = Mortal::new(storage.clone(), changes);
            let _ = archive(&mortal).merge(now_ms() + later).await;
            is_all_there(dir.path(), &storage, &member, &format!("after {changes} changes")).await;
        }
    }
    archive(&storage).merge(now_ms() + HOUR_MS).await.unwrap();
    let left = logs(&storage).await;
    assert!(left.len() < before.len(), "{left:?}");

    // What covers others is damaged: they stay.
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = archived(dir.path(), &storage).await;
    let before = logs(&storage).await;
    archive(&storage).merge(now_ms() + HOUR_MS / 2).await.unwrap();
    let merged = logs(&storage).await.into_iter().find(|path| !before.contains(path)).unwrap();
    let whole = storage.get(&merged).await.unwrap().bytes().await.unwrap();
    let mut changed = whole.to_vec();
    changed[whole.len() / 2] ^= 1;
    storage.put(&merged, changed.into()).await.unwrap();
    let kept = archive(&storage).merge(now_ms() + HOUR_MS).await.unwrap();
    assert!(kept.removed == 0 && kept.problems[0].contains(merged.as_ref()), "{kept:?}");
    storage.delete(&merged).await.unwrap();
    is_all_there(dir.path(), &storage, &member, "the small ones").await;
    // And a damaged one among the small ones is not merged.
    let whole = storage.get(&before[3]).await.unwrap().bytes().await.unwrap();
    storage.put(&before[3], whole.slice(..whole.len() - 1).into()).await.unwrap();
    let around = archive(&storage).merge(now_ms() + HOUR_MS).await.unwrap();
    assert_eq!((around.made, around.of), (2, before.len() - 1), "{around:?}");
    storage.put(&before[3], whole.into()).await.unwrap();
    is_all_there(dir.path(), &storage, &member, "around a damaged one").await;
}

/// Storage in which small objects go while a restore reads them.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_listed_before_the_merge_goes_on_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::memory();
    let member = archived(dir.path(), &storage).await;
    let (merging, told) = (archive(&storage), std::sync::Mutex::new(false));
    let handle = tokio::runtime::Handle::current();
    let made = archive(&storage)
        .materialize(Point::Latest, &dir.path().join("made"), &|_| {
            // At the first news of the base everything was listed, and no log was read.
            if !std::mem::replace(&mut *told.lock().unwrap(), true) {
                tokio::task::block_in_place(|| {
                    handle.block_on(async {
                        merging.merge(now_ms() + HOUR_MS / 2).await.unwrap();
                        assert!(merging.merge(now_ms() + HOUR_MS).await.unwrap().removed > 0);
                    });
                });
            }
        })
        .await;
    assert_eq!(made.unwrap(), member.applied());
}
