//! Snapshots: made, verified, installed, refused, interrupted.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;

use super::{apply, put};
use crate::Fault;
use crate::engine::{Engine, Model};
use crate::kv::{Error, KeyRange, RangeRequest, Revision, WatchItem, WatchRequest};
use crate::log::CommandOp;
use crate::machine::{SNAPSHOT_FILE, SnapshotMeta, Store};

type MakeEngine = fn(&Path) -> Arc<dyn Engine>;

fn engines() -> Vec<MakeEngine> {
    let model: MakeEngine = |_| Arc::new(Model::new());
    #[cfg(feature = "rocksdb")]
    let rocks: MakeEngine = |dir| {
        use crate::engine::{RocksEngine, RocksOptions};
        Arc::new(RocksEngine::open(dir, RocksOptions::default()).expect("open"))
    };
    #[cfg(feature = "rocksdb")]
    return vec![model, rocks];
    #[cfg(not(feature = "rocksdb"))]
    vec![model]
}

fn filled(engine: Arc<dyn Engine>, n: usize) -> Store {
    let store = Store::open(engine).expect("open");
    apply(&store, CommandOp::LeaseGrant { id: crate::LeaseId(5), ttl_s: 60 });
    for i in 0..n {
        apply(&store, put(&format!("k{}", i % 10), &format!("value {i}")));
    }
    store
}

fn all(store: &Store) -> Vec<crate::KeyValue> {
    store.range(&RangeRequest::new(KeyRange::prefix(""))).expect("range").kvs
}

#[test]
fn a_snapshot_is_the_state() {
    for make in engines() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = filled(make(&dir.path().join("a")), 30);
        let snapshot = dir.path().join("snapshot");
        let meta = source.checkpoint(&snapshot).expect("checkpoint");
        assert_eq!(meta.applied, source.applied());
        assert_eq!(SnapshotMeta::read(&snapshot).expect("description"), meta);
        assert_eq!(source.durable(), meta.applied.position, "what a snapshot has is durable");
        let target_engine = make(&dir.path().join("b"));
        let target = filled(target_engine.clone(), 3);
        assert_eq!(target.install(&snapshot).expect("install"), source.applied());
        assert!(!snapshot.exists(), "consumed");
        assert_eq!((target.applied(), all(&target)), (source.applied(), all(&source)));
        target.verify().expect("verify");
        apply(&target, put("after", "1"));
        apply(&source, put("after", "1"));
        assert_eq!(target.applied(), source.applied());
        drop(target);
        drop(target_engine);
    }
}

#[test]
fn an_older_or_damaged_snapshot_is_refused() {
    for make in engines() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = filled(make(&dir.path().join("a")), 30);
        let target = filled(make(&dir.path().join("b")), 40);
        let snapshot = dir.path().join("old");
        source.checkpoint(&snapshot).expect("checkpoint");
        let before = (target.applied(), all(&target));
        assert_eq!(target.install(&snapshot), Err(Fault::Snapshot("it is older than the state".into())));
        for i in 0..30 {
            apply(&source, put("more", &i.to_string()));
        }
        let fresh = |name: &str| {
            let snapshot = dir.path().join(name);
            let meta = source.checkpoint(&snapshot).expect("checkpoint");
            (snapshot, meta)
        };
        let largest = |meta: &SnapshotMeta| {
            meta.files.iter().max_by_key(|file| file.len).map(|file| file.name.clone()).expect("files")
        };
        let (snapshot, meta) = fresh("flipped");
        let file = snapshot.join(largest(&meta));
        let mut raw = std::fs::read(&file).expect("read");
        let middle = raw.len() / 2;
        raw[middle] ^= 1;
        // A checkpoint's files may be links: replace, so that the source stays whole.
        std::fs::remove_file(&file).expect("remove");
        std::fs::write(&file, raw).expect("write");
        assert!(matches!(target.install(&snapshot), Err(Fault::Snapshot(_))));
        let (snapshot, meta) = fresh("missing");
        std::fs::remove_file(snapshot.join(largest(&meta))).expect("remove");
        assert!(target.install(&snapshot).is_err());
        let (snapshot, _) = fresh("torn");
        let description = std::fs::read(snapshot.join(SNAPSHOT_FILE)).expect("read");
        std::fs::write(snapshot.join(SNAPSHOT_FILE), &description[..description.len() - 1]).expect("write");
        assert!(matches!(target.install(&snapshot), Err(Fault::Snapshot(_))));
        let (snapshot, mut meta) = fresh("lying");
        meta.applied.hash ^= 1;
        std::fs::write(snapshot.join(SNAPSHOT_FILE), meta.encode()).expect("write");
        assert!(matches!(target.install(&snapshot), Err(Fault::Snapshot(_))));
        assert_eq!((target.applied(), all(&target)), before, "refused snapshots change nothing");
        let (snapshot, _) = fresh("good");
        std::fs::write(snapshot.join("stranger"), "x").expect("write");
        target.install(&snapshot).expect("a whole one");
        assert_eq!(all(&target), all(&source));
    }
}

#[test]
fn a_name_that_is_a_path_is_refused() {
    for name in ["../x", "a/b", "", ".hidden"] {
        let file = crate::machine::SnapshotFile { name: name.into(), ..Default::default() };
        let meta = SnapshotMeta { files: vec![file], ..Default::default() };
        assert!(SnapshotMeta::decode(meta.encode()).is_err(), "{name}");
    }
}

/// Watches of a follower that is given a snapshot miss nothing, or are told what was compacted.
#[test]
fn watches_live_through_an_install() {
    for make in engines() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = filled(make(&dir.path().join("a")), 20);
        let target = filled(make(&dir.path().join("b")), 20);
        let mut read_all =
            target.watch(WatchRequest::new(KeyRange::prefix("k"), Revision(2))).expect("watch");
        let mut now = target.watch(WatchRequest::new(KeyRange::prefix("k"), Revision(0))).expect("watch");
        apply(&target, put("k1", "told live"));
        apply(&source, put("k1", "told live"));
        for i in 0..5 {
            apply(&source, put("k2", &format!("missed {i}")));
        }
        let snapshot = dir.path().join("snapshot");
        source.checkpoint(&snapshot).expect("checkpoint");
        target.install(&snapshot).expect("install");
        apply(&target, put("k3", "after"));
        for (stream, n) in [(&mut read_all, 27), (&mut now, 7)] {
            let mut values = Vec::new();
            futures::executor::block_on(async {
                while values.len() < n {
                    match stream.next().await {
                        Some(Ok(WatchItem::Events { events, .. })) => {
                            values.extend(events.into_iter().map(|event| event.kv.value));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            });
            assert_eq!(values.len(), n);
            let last: Vec<_> = values[n - 7..].to_vec();
            let expected = ["told live", "missed 0", "missed 1", "missed 2", "missed 3", "missed 4", "after"];
            assert_eq!(last, expected);
        }
        // A second install whose history begins after what the watch has seen.
        apply(&source, put("k3", "after"));
        apply(&source, put("k2", "never seen"));
        apply(&source, put("k2", "last"));
        let revision = source.revision();
        apply(&source, CommandOp::Compact(revision));
        let snapshot = dir.path().join("compacted");
        source.checkpoint(&snapshot).expect("checkpoint");
        target.install(&snapshot).expect("install");
        let end = futures::executor::block_on(now.next());
        assert_eq!(end, Some(Err(Error::Compacted { compact_revision: revision })));
        assert_eq!(futures::executor::block_on(now.next()), None);
    }
}

/// An install that is interrupted anywhere leaves the old state or the new one.
#[cfg(feature = "rocksdb")]
#[test]
fn an_interrupted_install_is_old_or_new() {
    use crate::engine::{RocksEngine, RocksOptions};
    use std::sync::atomic::Ordering;
    let open = |dir: &Path| Arc::new(RocksEngine::open(dir, RocksOptions::default()).expect("open"));
    let dir = tempfile::tempdir().expect("a directory");
    let source = filled(open(&dir.path().join("source")), 30);
    // The fourth step is the swap of the pointer.
    for step in 1..=4 {
        let state = dir.path().join(format!("state after {step}"));
        let engine = open(&state);
        let target = filled(engine.clone(), 5);
        target.flush().expect("flush");
        let old = all(&target);
        let snapshot = dir.path().join(format!("snapshot {step}"));
        source.checkpoint(&snapshot).expect("checkpoint");
        engine.die_after.store(step, Ordering::Relaxed);
        assert_eq!(target.install(&snapshot), Err(Fault::Io(format!("died after step {step}"))));
        let index = target.applied().position.map_or(0, |at| at.index);
        let refused = target.apply(vec![super::entry(index + 1, put("k", "v"))]);
        assert!(matches!(refused, Err(Fault::Stopped(_))), "{refused:?}");
        drop((target, engine));
        // A pointer that was written but not swapped is nothing.
        std::fs::write(state.join("ACTIVE.new"), "state-2\n").expect("write");
        let target = Store::open(open(&state)).expect("open after a crash");
        assert_eq!(all(&target), if step == 4 { all(&source) } else { old }, "after step {step}");
        target.verify().expect("verify");
        let snapshot = dir.path().join(format!("again {step}"));
        apply(&source, put("again", &step.to_string()));
        source.checkpoint(&snapshot).expect("checkpoint");
        target.install(&snapshot).expect("a later install");
        assert_eq!(all(&target), all(&source));
        let left =
            std::fs::read_dir(&state).expect("read").filter(|e| e.as_ref().is_ok_and(|e| e.path().is_dir()));
        assert_eq!(left.count(), 1, "replaced states are removed");
    }
}
