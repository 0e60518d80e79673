//! What is told of a damaged log: below what the state has, and above it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use trireme_store::engine::{Engine, EngineError, Model, View};
use trireme_store::log::{Command, CommandOp, ProposalId};
use trireme_store::{Op, PutRequest, Store, TxnRequest};

use super::Damaged;
use crate::identity::DataDir;
use crate::log::{Log, LogConfig, OsDir};
use crate::machine::store_entry;
use crate::types::{Entry, MemberNode, Membership, Payload, Proposal, log_id};

const ENTRIES: u64 = 300;
/// The state on the disk has the entries up to this.
const APPLIED: u64 = 100;

fn put(index: u64) -> Entry {
    let put = PutRequest::new(format!("k{index}"), "v".repeat(200));
    let op = CommandOp::Txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() });
    let proposal = ProposalId { client: 1, seq: index };
    let bytes = Command { proposal, time_ms: 1_000 * index as i64, op }.encode();
    Entry { log_id: log_id(3, index), payload: Payload::Normal(Proposal::encoded(bytes)) }
}

/// A member's data, and where in its only segment the frame of each entry lies.
async fn member(dir: &Path) -> (Arc<Model>, PathBuf, Vec<u64>) {
    let data = DataDir::open(dir, "blue").expect("a directory");
    let member = data.identity.member;
    let files = Arc::new(OsDir::open(dir.join("log")).expect("log"));
    let config = LogConfig { reserve_bytes: 0, ..LogConfig::new(crate::cluster_id("blue"), member.0) };
    let mut log = Log::open(files, config).expect("open");
    data.settle().expect("settle");
    let nodes = BTreeMap::from([(member, MemberNode { name: "one".into(), ..MemberNode::default() })]);
    let membership = Membership::new(vec![BTreeSet::from([member])], nodes).expect("a membership");
    let first = Entry { log_id: log_id(0, 0), payload: Payload::Membership(membership) };
    let mut entries = vec![first];
    entries.extend((1..ENTRIES).map(put));
    let mut offsets = Vec::new();
    let mut at = 4096;
    for entry in &entries {
        log.blocking_append([entry.clone()]).await.expect("append");
        offsets.push(at);
        at = 4096 + log.written_bytes();
    }
    log.save_committed(Some(log_id(3, ENTRIES - 1))).await.expect("committed");
    drop(log);
    let model = Arc::new(Model::new());
    let store = Store::open(model.clone()).expect("a store");
    let applied = entries[..=APPLIED as usize].iter().map(|entry| store_entry(entry).expect("an entry"));
    store.apply(applied.collect()).expect("apply");
    model.flush().expect("flush");
    std::fs::create_dir(dir.join("state")).expect("state");
    (model, dir.join("log").join(format!("{:016x}.log", 1)), offsets)
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
    let (model, segment, offsets) = member(&data).await;
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
