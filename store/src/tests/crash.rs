//! Crashes between flushes, failed writes: the log replayed from the durable position gives the
//! state that was.

use std::sync::Arc;

use proptest::prelude::*;

use super::reference::command;
use super::{dump, entry, model, put};
use crate::Fault;
use crate::engine::{Engine, EngineError, Model};
use crate::log::{CommandOp, Entry, EntryBody};
use crate::machine::Store;

/// Cuts a log into runs, applies it, and crashes on the way.
fn entries(ops: Vec<CommandOp>) -> Vec<Entry> {
    let mut entries: Vec<_> = ops.into_iter().enumerate().map(|(i, op)| entry(i as u64 + 1, op)).collect();
    // Members change once in a while.
    for i in (4..entries.len()).step_by(9) {
        entries[i].body = EntryBody::Membership(format!("members {i}").into());
    }
    entries
}

fn applied_index(store: &Store) -> usize {
    store.applied().position.map_or(0, |at| at.index as usize)
}

/// Everything but history that physical compaction may or may not have removed.
fn logical(engine: &dyn Engine) -> Vec<(Vec<u8>, Vec<u8>)> {
    let cut = [crate::layout::VERSIONS, crate::layout::REVISIONS, crate::layout::OUTCOMES, b's'];
    dump(engine).into_iter().filter(|(key, _)| !cut.contains(&key[0])).collect()
}

fn crash_and_replay(
    ops: Vec<CommandOp>,
    run_len: usize,
    flush_every: usize,
    crash_at: usize,
    keep: usize,
) -> Result<(), TestCaseError> {
    let log = entries(ops);
    let (straight, expected) = model();
    for run in log.chunks(run_len) {
        expected.apply(run.to_vec()).expect("apply");
    }
    let (engine, store) = model();
    let mut durable = 0;
    for (i, run) in log.chunks(run_len).enumerate().take(crash_at) {
        store.apply(run.to_vec()).expect("apply");
        if i % flush_every == 0 {
            durable = store.flush().expect("flush").map_or(0, |at| at.index as usize);
        }
    }
    drop(store);
    engine.crash(keep);
    let store = Store::open(engine.clone()).expect("open after a crash");
    prop_assert!(applied_index(&store) >= durable, "a flush was lost");
    store.verify().expect("what a crash leaves is whole");
    // Other runs than before: how entries are grouped must not show.
    let from = applied_index(&store);
    for run in log[from..].chunks(run_len + 1) {
        store.apply(run.to_vec()).expect("apply");
    }
    prop_assert_eq!(store.applied(), expected.applied());
    prop_assert_eq!(logical(&*engine), logical(&*straight));
    store.verify().expect("verify");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn replay_gives_the_state_that_was(
        ops in proptest::collection::vec(command(), 1..60),
        run_len in 1usize..6,
        flush_every in 1usize..10,
        crash_at in 0usize..40,
        keep in 0usize..6,
    ) {
        crash_and_replay(ops, run_len, flush_every, crash_at, keep)?;
    }
}

#[test]
fn a_failed_write_applies_nothing() {
    let (engine, store) = model();
    store.apply(vec![entry(1, put("a", "1"))]).expect("apply");
    let before = (store.applied(), dump(&*engine));
    for (failure, fault) in [
        (EngineError::NoSpace, Fault::NoSpace),
        (EngineError::Io("broken".into()), Fault::Io("broken".into())),
    ] {
        engine.fail_writes(Some(failure));
        let run = vec![
            entry(2, put("a", "2")),
            entry(3, CommandOp::LeaseGrant { id: crate::LeaseId(1), ttl_s: 5 }),
        ];
        assert_eq!(store.apply(run.clone()), Err(fault));
        assert_eq!((store.applied(), dump(&*engine)), before);
        engine.fail_writes(None);
    }
    let run =
        vec![entry(2, put("a", "2")), entry(3, CommandOp::LeaseGrant { id: crate::LeaseId(1), ttl_s: 5 })];
    store.apply(run).expect("applies once there is room");
    store.verify().expect("verify");
}

#[test]
fn damage_is_found_when_it_is_verified() {
    let engine = Arc::new(Model::new());
    let store = Store::open(engine.clone()).expect("open");
    store.apply(vec![entry(1, put("a", "1")), entry(2, put("b", "1"))]).expect("apply");
    store.verify().expect("whole");
    let mut batch = crate::engine::Batch::default();
    let (key, mut value) =
        dump(&*engine).into_iter().find(|(key, _)| key[0] == crate::layout::VERSIONS).expect("a version");
    *value.last_mut().expect("a value") ^= 1;
    batch.put(&[&key], &[&value]);
    engine.write(batch).expect("write");
    assert!(matches!(store.verify(), Err(Fault::Corrupt(_))));
}

#[cfg(feature = "rocksdb")]
mod rocks {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::engine::{RocksEngine, RocksOptions};
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    fn open(dir: &Path) -> Store {
        // Buffers so small that the engine flushes by itself between ours.
        let options = RocksOptions { write_buffer_bytes: 64 << 10, ..Default::default() };
        Store::open(Arc::new(RocksEngine::open(dir, options).expect("open"))).expect("open")
    }

    /// The database is copied while it is open: what a power cut would leave of its files.
    #[test]
    fn replay_gives_the_state_that_was() {
        let ops = {
            let mut runner = TestRunner::deterministic();
            let strategy = proptest::collection::vec(command(), 400);
            strategy.new_tree(&mut runner).expect("commands").current()
        };
        let log = entries(ops);
        let (_, expected) = model();
        for run in log.chunks(7) {
            expected.apply(run.to_vec()).expect("apply");
        }
        for crash_after in [0, 1, 13, 30, 57] {
            let dir = tempfile::tempdir().expect("a directory");
            let (live, left) = (dir.path().join("live"), dir.path().join("left"));
            let store = open(&live);
            let mut durable = 0;
            for (i, run) in log.chunks(7).enumerate().take(crash_after) {
                store.apply(run.to_vec()).expect("apply");
                if i % 20 == 9 {
                    durable = store.flush().expect("flush").map_or(0, |at| at.index as usize);
                }
            }
            copy(&live, &left);
            drop(store);
            for dir in [&left, &live] {
                let store = open(dir);
                let from = applied_index(&store);
                assert!(from >= durable, "a flush was lost");
                store.verify().expect("what a crash leaves is whole");
                for run in log[from..].chunks(5) {
                    store.apply(run.to_vec()).expect("apply");
                }
                assert_eq!(store.applied(), expected.applied());
                store.verify().expect("verify");
            }
        }
    }

    /// Copies what stands still: the engine flushes and compacts behind its back, and what it removes
    /// in the middle of a copy would be missing from it.
    fn copy(from: &Path, to: &Path) {
        let still = (0..200).find(|_| {
            let before = files(from);
            let copied = before.is_some() && try_copy(from, to).is_ok();
            if copied && files(from) == before {
                return true;
            }
            let _ = std::fs::remove_dir_all(to);
            std::thread::sleep(Duration::from_millis(20));
            false
        });
        assert!(still.is_some(), "the database never stood still");
    }

    /// Names, lengths and times of change; `None` where one went meanwhile.
    fn files(dir: &Path) -> Option<BTreeMap<PathBuf, (u64, SystemTime)>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(dir).ok()? {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            if metadata.is_dir() {
                found.extend(files(&entry.path())?);
            } else {
                found.insert(entry.path(), (metadata.len(), metadata.modified().ok()?));
            }
        }
        Some(found)
    }

    fn try_copy(from: &Path, to: &Path) -> std::io::Result<()> {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                try_copy(&entry.path(), &target)?;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    }
}
