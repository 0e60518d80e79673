//! What a stopped member is found to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use trireme_store::engine::{Engine, EngineError, Model};
use trireme_store::log::{Command, CommandOp, ProposalId};
use trireme_store::{KeyRange, Op, PutRequest, RangeRequest, TxnRequest};

use super::{OfflineError, Stopped};
use crate::identity::DataDir;
use crate::log::{Log, LogConfig, OsDir};
use crate::types::{Entry, MemberId, MemberNode, Membership, Payload, Proposal, log_id};

const ENTRIES: u64 = 600;
const COMMITTED: u64 = 400;

pub(super) fn write(term: u64, index: u64, txn: TxnRequest) -> Entry {
    let (proposal, op) = (ProposalId { client: 1, seq: index }, CommandOp::Txn(txn));
    let bytes = Command { proposal, time_ms: 1_000 * index as i64, op }.encode();
    Entry { log_id: log_id(term, index), payload: Payload::Normal(Proposal::encoded(bytes)) }
}

pub(super) fn put(key: String, value: String) -> TxnRequest {
    TxnRequest { success: vec![Op::Put(PutRequest::new(key, value))], ..TxnRequest::default() }
}

/// A new member, and its log.
pub(super) fn create(dir: &Path, segment_bytes: u64) -> (MemberId, Log) {
    let data = DataDir::open(dir, "blue").expect("a directory");
    let member = data.identity.member;
    let files = Arc::new(OsDir::open(dir.join("log")).expect("log"));
    let cluster = crate::cluster_id("blue");
    let config = LogConfig { segment_bytes, reserve_bytes: 0, ..LogConfig::new(cluster, member.0) };
    let log = Log::open(files, config).expect("open");
    data.settle().expect("settle");
    (member, log)
}

fn nodes(member: MemberId) -> Entry {
    let node = |name: &str| MemberNode { name: name.into(), ..MemberNode::default() };
    let nodes = [(member, node("one")), (MemberId(7), node("two")), (MemberId(8), node("three"))];
    let voters: BTreeSet<MemberId> = [member, MemberId(7)].into();
    let membership = Membership::new(vec![voters], BTreeMap::from(nodes)).expect("a membership");
    Entry { log_id: log_id(0, 0), payload: Payload::Membership(membership) }
}

fn open_copy(_: &Path, _: &Path) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(Arc::new(Model::new()))
}

/// A member that knew of fewer entries as agreed on than its log has.
async fn member(dir: &Path) -> MemberId {
    let (member, mut log) = create(dir, 16 << 20);
    log.blocking_append([nodes(member)]).await.expect("append");
    for index in 1..ENTRIES {
        log.blocking_append([write(3, index, put(format!("k{index}"), "v".into()))]).await.expect("append");
        if index == COMMITTED {
            log.save_committed(Some(log_id(3, COMMITTED))).await.expect("committed");
        }
    }
    // On the disk with the last frame, which was written before it.
    std::fs::create_dir(dir.join("state")).expect("state");
    member
}

fn tree(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("read").flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(tree(&path)),
            path => all.push((path.clone(), std::fs::read(&path).expect("read"))),
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn every_entry_counts_and_nothing_of_the_member_is_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, scratch) = (dir.path().join("data"), dir.path().join("scratch"));
    let member = member(&data).await;
    let before = tree(&data);
    let mut works = 0;
    let stopped = Stopped::open(&data, &scratch, &open_copy, true, &mut |_| works += 1).expect("open");
    let survey = &stopped.survey;
    assert_eq!((survey.cluster.as_str(), survey.member), ("blue", member));
    assert_eq!((survey.last, survey.committed), ((3, ENTRIES - 1), COMMITTED));
    assert_eq!(survey.on_disk.position, None);
    assert_eq!(survey.applied.time_ms, 1_000 * (ENTRIES as i64 - 1));
    assert_eq!(survey.applied.revision.0, ENTRIES as i64);
    let known: Vec<_> = survey.members.iter().map(|m| (m.node.name.as_str(), m.votes)).collect();
    let mut sorted = known.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [("one", true), ("three", false), ("two", true)]);
    assert!(!survey.is_alone() && survey.own().is_some_and(|own| own.node.name == "one"));
    let last = RangeRequest::new(KeyRange::key(Bytes::from(format!("k{}", ENTRIES - 1))));
    assert_eq!(stopped.store.range(&last).expect("range").count, 1, "an entry past the commit index");
    assert!(works >= 3, "it tells how far it is");
    assert!(DataDir::open(&data, "blue").is_err(), "nobody starts it meanwhile");
    drop(stopped);
    assert_eq!(tree(&data), before);
}

#[tokio::test]
async fn damage_and_a_hole_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = |data: &Path, scratch: &str| {
        Stopped::open(data, &dir.path().join(scratch), &open_copy, true, &mut |_| {})
    };
    let nothing = open(&dir.path().join("nothing"), "a").err().expect("refused");
    assert!(matches!(nothing, OfflineError::NoMember(_)) && !nothing.is_damage());
    let data = dir.path().join("data");
    let _ = member(&data).await;
    let segment = data.join("log").join(format!("{:016x}.log", 1));
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[20_000] ^= 0x55;
    std::fs::write(&segment, bytes).expect("write");
    let damaged = open(&data, "b").err().expect("damaged");
    assert!(damaged.is_damage(), "{damaged}");
}
