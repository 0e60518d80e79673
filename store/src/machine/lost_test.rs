//! Bits that flip in the files of a state: every key is read, told to be lost, or within told bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::lost::{How, Lost, Seen, walk};
use crate::engine::{Engine, EngineError, RocksEngine, RocksOptions};
use crate::kv::{LeaseId, Op, PutRequest, Revision, TxnRequest};
use crate::layout::{self, Version};
use crate::log::CommandOp;
use crate::tests::apply;
use crate::tests::disk::{flip, tables};

/// Keys and the revision of their newest version; `false`: it is a deletion.
type Keys = BTreeMap<Bytes, (Revision, bool)>;

const KEYS: u64 = 1200;

/// A value that does not get smaller by compression.
fn value(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    (0..250).map(|_| draw()).collect()
}

fn put(i: u64, round: u64, lease: i64) -> CommandOp {
    let put = PutRequest::new(format!("/registry/things/{i:05}"), value(i * 31 + round));
    let put = PutRequest { lease: LeaseId(lease), ..put };
    CommandOp::Txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() })
}

fn delete(i: u64) -> CommandOp {
    let range = crate::kv::KeyRange::key(format!("/registry/things/{i:05}"));
    let delete = Op::Delete(crate::kv::DeleteRequest { range, prev_kv: false });
    CommandOp::Txn(TxnRequest { success: vec![delete], ..TxnRequest::default() })
}

/// A state in many files: most of it compacted, some of it not.
fn fill(dir: &Path) {
    let engine = Arc::new(RocksEngine::open(dir, RocksOptions::default()).expect("an engine"));
    let store = Store::open(engine.clone()).expect("a store");
    apply(&store, CommandOp::LeaseGrant { id: LeaseId(77), ttl_s: 600 });
    let fence = TxnRequest { raise_fences: vec!["scheduler".into()], ..TxnRequest::default() };
    apply(&store, CommandOp::Txn(fence));
    for part in 0..4 {
        for i in part * KEYS / 4..(part + 1) * KEYS / 4 {
            apply(&store, put(i, 0, if i % 100 == 3 { 77 } else { 0 }));
        }
        engine.flush().expect("flush");
    }
    for i in (0..KEYS).step_by(9) {
        apply(&store, if i % 2 == 0 { put(i, 1, 0) } else { delete(i) });
    }
    let compact = store.revision();
    apply(&store, CommandOp::Compact(compact));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(store.scrubbed(compact)).expect("scrubbed");
    engine.flush().expect("flush");
    for round in 2..4 {
        for i in (round..KEYS).step_by(13) {
            apply(&store, put(i, round, 0));
        }
        engine.flush().expect("flush");
    }
}

/// What is lost, and the newest version of each key that can be read at all.
fn look(dir: &Path, scratch: &Path) -> Result<(Lost, Keys), EngineError> {
    let mut found = None;
    RocksEngine::inspect_damaged(dir, scratch, RocksOptions::default(), &mut |view, whole| {
        let mut keys = Keys::new();
        walk(view, &mut |seen| {
            if let Seen::Record(stored, value) = seen
                && stored[0] == layout::VERSIONS
            {
                let (prefix, revision) = layout::split_version(stored).expect("a version");
                let key = Bytes::from(layout::unescape(prefix).expect("a key").into_owned());
                let is_live = Version::parse(value).expect("a version") != Version::Tombstone;
                keys.entry(key).or_insert((revision, is_live));
            }
        });
        found = Some((Lost::find(view, whole, &mut |_| {}), keys));
    })?;
    fs::remove_dir_all(scratch).expect("remove");
    Ok(found.expect("it was shown"))
}

/// Checks what is told of a damaged state against what it was; keys that are neither known to be whole
/// nor named.
fn check(lost: &Lost, read: &Keys, truth: &Keys, what: &str) -> u64 {
    let named: BTreeSet<_> = lost.keys.iter().map(|lost| lost.key.clone()).collect();
    let live = truth.iter().filter(|(_, (_, is_live))| *is_live);
    let live: BTreeSet<_> = live.map(|(key, _)| key.clone()).collect();
    let named_live = live.intersection(&named).count() as u64;
    let hidden = live.len() as u64 - named_live - lost.whole_keys;
    assert!(lost.whole_keys + named_live <= live.len() as u64, "{what}: more than there were");
    let within = |key: &Bytes| {
        lost.gaps.iter().filter_map(|gap| gap.keys()).any(|(after, before)| {
            after.is_none_or(|after| after < key) && before.is_none_or(|before| key < before)
        })
    };
    let mut in_bounds = 0;
    for (key, newest) in truth {
        let is_read = read.get(key) == Some(newest);
        // None missing: what is not read is named, or within bounds, or gone either way.
        if !is_read && !named.contains(key) && newest.1 {
            assert!(within(key) && !lost.is_nothing(), "{what}: {key:?} is missing");
            in_bounds += 1;
        }
        // None falsely lost: what is outside of every gap, and read, is not named.
        let at_edge = |place: Option<&Bytes>| place == Some(key);
        let edge = lost.gaps.iter().filter_map(|gap| gap.keys()).any(|(a, b)| at_edge(a) || at_edge(b));
        if is_read && !within(key) && !edge {
            assert!(!named.contains(key), "{what}: {key:?} is not lost");
        }
    }
    assert!(hidden <= in_bounds, "{what}: {hidden} hidden, {in_bounds} in bounds");
    if lost.hash_is_right == Some(true) {
        assert_eq!((hidden, lost.keys.len()), (0, 0), "{what}: the hash says that nothing is");
    }
    hidden
}

#[test]
fn every_key_is_read_or_named_or_within_bounds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, scratch) = (folder.path().join("state"), folder.path().join("scratch"));
    fill(&dir);
    let before: Vec<_> = tables(&dir).iter().map(|path| fs::read(path).expect("read")).collect();
    let (sound, truth) = look(&dir, &scratch).expect("it can be read");
    assert!(sound.is_nothing() && sound.hash_is_right == Some(true), "{sound:?}");
    assert_eq!(
        sound.applied.as_ref().map(|applied| applied.compact_revision > Revision(KEYS as i64)),
        Some(true)
    );
    let files = tables(&dir);
    assert!(files.len() >= 3, "{files:?}");
    let (mut flips, mut precise, mut named) = (0, 0, 0);
    for (file, bytes) in files.iter().zip(&before) {
        // Blocks of data come first; what follows them are filters, the index, and what describes it.
        let data = bytes.len() as u64 * 7 / 10;
        for offset in (100..data).step_by((data as usize / 12).max(1)) {
            let what = format!("byte {offset} of {} in {}", bytes.len(), file.display());
            flip(file, offset);
            let (lost, read) = look(&dir, &scratch).expect("it can be read");
            flip(file, offset);
            let hidden = check(&lost, &read, &truth, &what);
            assert!(!lost.is_nothing(), "{what}: nothing is lost");
            // A block has some thirty versions. By the filters one in a hundred more is doubted.
            let told = hidden + lost.keys.len() as u64;
            assert!(told <= 80, "{what}: {hidden} hidden, {} named", lost.keys.len());
            (flips, precise) = (flips + 1, precise + u64::from(told < 40));
            named += lost.keys.iter().filter(|lost| lost.how == How::Unreadable).count();
        }
    }
    assert!(flips >= 40 && named >= 100, "{flips} flips, {named} named");
    assert!(precise * 4 >= flips * 3, "{precise} of {flips} cost little more than a block");
    assert_eq!(tables(&dir).iter().map(|path| fs::read(path).expect("read")).collect::<Vec<_>>(), before);
}

#[test]
fn several_pieces_a_whole_file_and_what_describes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, scratch) = (folder.path().join("state"), folder.path().join("scratch"));
    fill(&dir);
    let (_, truth) = look(&dir, &scratch).expect("it can be read");
    let files = tables(&dir);
    let len = |file: &PathBuf| file.metadata().expect("its length").len();
    let largest = files.iter().max_by_key(|file| len(file)).expect("a file").clone();
    let size = len(&largest);

    // Three blocks of one file, and what lies between them is read.
    let places = [size / 10, size * 3 / 10, size * 5 / 10];
    places.iter().for_each(|at| flip(&largest, *at));
    let (lost, read) = look(&dir, &scratch).expect("it can be read");
    let hidden = check(&lost, &read, &truth, "three blocks");
    assert!(lost.gaps.len() >= 3 && hidden + (lost.keys.len() as u64) < 200, "{hidden} of {:?}", lost.gaps);
    places.iter().for_each(|at| flip(&largest, *at));

    // The index, wherever it is hit, and the end of each file: it cannot be opened.
    for file in &files {
        let size = len(file);
        for offset in (size * 7 / 10..size).step_by((size as usize / 9).max(1)).chain([size - 2, size - 30]) {
            flip(file, offset);
            let (lost, read) = look(&dir, &scratch).expect("it can be read");
            check(&lost, &read, &truth, &format!("byte {offset} of {size}"));
            flip(file, offset);
        }
    }

    // A file that is gone.
    fs::rename(&largest, folder.path().join("gone")).expect("rename");
    let (lost, read) = look(&dir, &scratch).expect("it can be read");
    check(&lost, &read, &truth, "gone");
    assert!(lost.hides_keys() && !lost.keys.is_empty(), "{:?}", lost.gaps);
    fs::rename(folder.path().join("gone"), &largest).expect("rename");

    let (sound, _) = look(&dir, &scratch).expect("it can be read");
    assert!(sound.is_nothing(), "{sound:?}");
    let current = fs::read_dir(dir.join("state-1")).expect("read").flatten();
    let manifest = current.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("MANIFEST"));
    flip(&manifest.expect("a manifest"), 20);
    look(&dir, &scratch).expect_err("without the list of tables nothing can be read");
}
