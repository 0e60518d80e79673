//! What is told of a damaged log: below what the state has, and above it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use trireme_store::engine::{Engine, EngineError, Model, View};
use trireme_store::{DeleteRequest, KeyRange, Op, Store, TxnRequest};

use super::stopped_test::{self, create, write};
use super::{Damaged, Written};
use crate::log::Log;
use crate::machine::store_entry;
use crate::types::{Entry, MemberId, MemberNode, Membership, Payload, Vote, log_id};

const ENTRIES: u64 = 300;
/// The state on the disk has the entries up to this.
const APPLIED: u64 = 100;

fn put(key: String) -> TxnRequest {
    stopped_test::put(key, "v".repeat(200))
}

/// A member's data, its log, which is open, and where the frame of each entry lies if all are in its first
/// segment.
async fn member(dir: &Path, segment_bytes: u64) -> (Arc<Model>, Log, Vec<u64>) {
    let (member, mut log) = create(dir, segment_bytes);
    let nodes = BTreeMap::from([(member, MemberNode { name: "one".into(), ..MemberNode::default() })]);
    let membership = Membership::new(vec![BTreeSet::from([member])], nodes).expect("a membership");
    let first = Entry { log_id: log_id(0, 0), payload: Payload::Membership(membership) };
    let mut entries = vec![first];
    entries.extend((1..ENTRIES).map(|index| write(3, index, put(format!("k{index}")))));
    let mut offsets = Vec::new();
    let mut at = 4096;
    for entry in &entries {
        log.blocking_append([entry.clone()]).await.expect("append");
        offsets.push(at);
        at = 4096 + log.written_bytes();
    }
    let model = Arc::new(Model::new());
    let store = Store::open(model.clone()).expect("a store");
    let applied = entries[..=APPLIED as usize].iter().map(|entry| store_entry(entry).expect("an entry"));
    store.apply(applied.collect()).expect("apply");
    model.flush().expect("flush");
    std::fs::create_dir(dir.join("state")).expect("state");
    (model, log, offsets)
}

fn segment(data: &Path, sequence: u64) -> PathBuf {
    data.join("log").join(format!("{sequence:016x}.log"))
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x55], at).expect("write");
}

fn look(data: &Path, model: &Arc<Model>) -> Damaged {
    let scratch = tempfile::tempdir().expect("a directory");
    let read = |_: &Path, _: &Path, reader: &mut dyn FnMut(&dyn View, &dyn View)| {
        model.read(&mut |view| reader(view, view));
        Ok(())
    };
    let open_copy =
        |_: &Path, _: &Path| Ok::<Arc<dyn Engine>, EngineError>(Arc::new(model.crashed(usize::MAX)));
    let looked = Damaged::look(data, &scratch.path().join("look"), &read, &open_copy, &mut |_| {});
    let mut damaged = looked.expect("a look");
    // It holds the directory.
    let rest = damaged.rest.take().map(|rest| rest.survey.last.1);
    assert_eq!(rest, damaged.log.last, "the state is whole");
    damaged
}

fn written(damaged: &Damaged) -> Vec<String> {
    let keys = damaged.log.behind_writes.keys();
    keys.map(|written| String::from_utf8_lossy(&written.key).into_owned()).collect()
}

#[tokio::test]
async fn damage_costs_what_lies_above_the_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (model, mut log, offsets) = member(&data, 16 << 20).await;
    log.save_committed(Some(log_id(3, ENTRIES - 1))).await.expect("committed");
    drop(log);
    let segment = segment(&data, 1);
    let sound = look(&data, &model);
    assert!(sound.is_nothing() && sound.log.damage.is_empty(), "{:?}", sound.log);
    assert_eq!(sound.log.last, Some(ENTRIES - 1));
    let newest = sound.log.applied.as_ref().expect("applied").clone();
    assert_eq!(newest.time_ms, 1_000 * (ENTRIES as i64 - 1));
    let before = std::fs::read(&segment).expect("read");

    // Of what the state has, up to the last entry of it: everything counts that comes after.
    for at in [0, 1, APPLIED - 1, APPLIED] {
        flip(&segment, offsets[at as usize] + 70);
        let damaged = look(&data, &model);
        assert_eq!(
            (damaged.log.damage.len(), damaged.is_nothing()),
            (1, true),
            "entry {at}: {:?}",
            damaged.log
        );
        assert_eq!(damaged.log.applied, Some(newest.clone()), "entry {at}");
        flip(&segment, offsets[at as usize] + 70);
    }

    // Above: in its header, in what it holds, and in two places.
    for offset in [0, 30, 70, 200] {
        flip(&segment, offsets[150] + offset);
        let damaged = look(&data, &model);
        let log = &damaged.log;
        assert_eq!(
            (log.last, &log.gone[..]),
            (Some(149), &[150..=150][..]),
            "byte {offset}: {:?}",
            damaged.log
        );
        assert_eq!(log.behind, ENTRIES - 151);
        assert!(!damaged.is_nothing() && damaged.state.as_ref().is_ok_and(|state| state.is_nothing()));
        let applied = log.applied.as_ref().expect("applied");
        assert_eq!((applied.time_ms, applied.position.map(|at| at.index)), (149_000, Some(149)));
        let keys = written(&damaged);
        assert_eq!(keys.len() as u64, ENTRIES - 151);
        assert!(keys.contains(&"k151".into()) && !keys.contains(&"k149".into()), "{keys:?}");
        flip(&segment, offsets[200] + 70);
        let damaged = look(&data, &model);
        assert_eq!(damaged.log.gone, [150..=150, 200..=200]);
        assert!(!written(&damaged).contains(&"k200".into()));
        flip(&segment, offsets[200] + 70);
        flip(&segment, offsets[150] + offset);
    }

    // A frame that was written to another's place is whole, and does not continue what is before it.
    let (at, astray) = (offsets[150] as usize, offsets[151] as usize..offsets[152] as usize);
    let mut bytes = before.clone();
    bytes.copy_within(astray, at);
    std::fs::write(&segment, bytes).expect("write");
    let log = look(&data, &model).log;
    assert_eq!((log.last, &log.gone[..]), (Some(149), &[150..=150][..]));
    std::fs::write(&segment, &before).expect("write");

    // The last entry: that it was there says the position that was noted behind it.
    flip(&segment, offsets[ENTRIES as usize - 1] + 70);
    let damaged = look(&data, &model);
    assert_eq!(damaged.log.gone, [ENTRIES - 1..=ENTRIES - 1], "{:?}", damaged.log);
    flip(&segment, offsets[ENTRIES as usize - 1] + 70);

    // The segment's header, on which nothing that was written rests.
    flip(&segment, 40);
    assert!(look(&data, &model).is_nothing());
    flip(&segment, 40);

    assert_eq!(std::fs::read(&segment).expect("read"), before, "nothing was changed");
    std::fs::remove_dir_all(data.join("log")).expect("remove");
    let gone = look(&data, &model);
    assert_eq!((gone.log.last, gone.log.is_missing, gone.is_nothing()), (Some(APPLIED), true, false));
    assert!(!data.join("log").exists());
}

/// Where a file has a key.
fn find(file: &Path, key: &str) -> Option<u64> {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes.windows(key.len()).position(|found| found == key.as_bytes()).map(|at| at as u64)
}

#[tokio::test]
async fn entries_end_with_a_segment_or_are_voided() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (model, mut log, _) = member(&data, 16 << 10).await;
    // Another leader voids the last ones. Which branch is taken is not known beforehand.
    log.truncate_after(Some(log_id(3, 249))).await.expect("truncate");
    let range = KeyRange { start: "x".into(), end: "y".into() };
    let failure = vec![Op::Delete(DeleteRequest { range: range.clone(), prev_kv: false })];
    let last =
        [write(4, 250, TxnRequest { failure, ..TxnRequest::default() }), write(4, 251, put("n251".into()))];
    for entry in last {
        log.blocking_append([entry]).await.expect("append");
    }
    log.save_vote(&Vote::new_committed(4, MemberId(7))).await.expect("vote");
    drop(log);
    let sound = look(&data, &model);
    assert!(sound.is_nothing(), "{:?}", sound.log);
    assert_eq!(sound.log.last, Some(251));

    // Below the state: what was voided does not count behind it either.
    let at = find(&segment(&data, 1), "k40").expect("an entry");
    flip(&segment(&data, 1), at);
    let damaged = look(&data, &model);
    assert_eq!((damaged.is_nothing(), &damaged.log.applied), (true, &sound.log.applied));
    flip(&segment(&data, 1), at);

    // The last one, with the vote alone behind it, of which it is the end that tells.
    let tail = (1..).find(|n| find(&segment(&data, *n), "n251").is_some()).expect("a segment");
    let at = find(&segment(&data, tail), "n251").expect("an entry");
    flip(&segment(&data, tail), at);
    assert_eq!(look(&data, &model).log.gone, [251..=251]);
    flip(&segment(&data, tail), at);

    // The last one of a segment, with nothing behind it there.
    let middle = (1..).find(|n| find(&segment(&data, *n), "k160").is_some()).expect("a segment");
    let file = segment(&data, middle);
    let is_there = |index: &u64| find(&file, &format!("k{index}")).is_some();
    let (first, end) = ((101..250).find(is_there), (101..250).rfind(is_there));
    let (first, end) = (first.expect("an entry"), end.expect("an entry"));
    assert!(APPLIED + 1 < first && end < 249 && middle < tail, "{first} to {end}");
    let at = find(&file, &format!("k{end}")).expect("an entry");
    flip(&file, at);
    let damaged = look(&data, &model);
    let log = &damaged.log;
    assert_eq!(
        (log.last, &log.gone[..], log.behind),
        (Some(end - 1), &[end..=end][..], 251 - end),
        "{log:?}"
    );
    assert!(log.behind_writes.contains_key(&Written { key: range.start, end: range.end }), "{log:?}");
    let keys = written(&damaged);
    assert!(keys.contains(&"n251".into()) && !keys.contains(&"k255".into()), "{keys:?}");

    // And with nothing behind it anywhere but the next one's header.
    let copy = dir.path().join("copy");
    let status = std::process::Command::new("cp").arg("-r").args([&data, &copy]).status();
    assert!(status.expect("cp").success());
    let next = segment(&copy, middle + 1);
    let mut bytes = std::fs::read(&next).expect("read");
    bytes[4096..].fill(0);
    std::fs::write(&next, bytes).expect("write");
    for later in (middle + 2..).map(|n| segment(&copy, n)).take_while(|later| later.exists()) {
        std::fs::remove_file(later).expect("remove");
    }
    let log = look(&copy, &model).log;
    assert_eq!((log.last, &log.gone[..], log.behind), (Some(end - 1), &[end..=end][..], 0), "{log:?}");
    flip(&file, at);

    // A segment that is gone.
    std::fs::rename(&file, dir.path().join("gone")).expect("rename");
    let log = look(&data, &model).log;
    assert_eq!((log.last, &log.gone[..], log.behind), (Some(first - 1), &[first..=end][..], 251 - end));
    assert!(log.damage[0].contains("the segment before it is missing"), "{:?}", log.damage);
}

#[tokio::test]
async fn a_truncation_that_is_gone_leaves_what_it_voided() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (model, mut log, _) = member(&data, 16 << 20).await;
    let truncation = 4096 + log.written_bytes();
    log.truncate_after(Some(log_id(3, 249))).await.expect("truncate");
    let newer = 4096 + log.written_bytes();
    log.blocking_append([write(4, 250, put("n250".into()))]).await.expect("append");
    let newest = 4096 + log.written_bytes();
    log.blocking_append([write(4, 251, put("n251".into()))]).await.expect("append");
    log.save_vote(&Vote::new_committed(5, MemberId(7))).await.expect("vote");
    drop(log);
    // With the newer entries there is no number that is gone, and they do not count.
    flip(&segment(&data, 1), truncation + 70);
    let damaged = look(&data, &model);
    assert_eq!((damaged.log.last, damaged.log.gone.len(), damaged.log.behind), (Some(249), 0, 2));
    let keys = vec!["n250".to_owned(), "n251".to_owned()];
    assert_eq!((damaged.log.may_be_void, written(&damaged)), (true, keys));
    // Without the first of them an older one is in its place.
    flip(&segment(&data, 1), newer + 70);
    let damaged = look(&data, &model);
    assert_eq!((damaged.log.last, damaged.log.gone.len(), damaged.log.behind), (Some(250), 0, 1));
    assert_eq!((damaged.log.may_be_void, written(&damaged)), (true, vec!["n251".to_owned()]));
    // Without either the older ones seem to be the last.
    flip(&segment(&data, 1), newest + 70);
    let damaged = look(&data, &model);
    assert_eq!((damaged.is_nothing(), damaged.log.may_be_void), (false, true), "{:?}", damaged.log);
}
