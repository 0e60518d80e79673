//! A new cluster's state out of an old one's, against the reference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::reference::{Reference, command};
use super::{apply, dump, entry, model, put};
use crate::Fault;
use crate::engine::{Batch, Engine, Model};
use crate::kv::{
    Compare, CompareResult, CompareTarget, Error, Fence, KeyRange, KeyValue, LeaseId, Op, PutRequest,
    RangeRequest, Revision, TxnRequest, WatchRequest,
};
use crate::limits::{REBIRTH_EPOCHS, REBIRTH_LEASE_TTL_S, REBIRTH_REVISIONS_MIN, REBIRTH_REVISIONS_PER_S};
use crate::log::{Command, CommandOp, Entry, EntryBody, LogPosition, Outcome, ProposalId};
use crate::machine::{Rebirth, Reborn, Store};

const POSITION: LogPosition = LogPosition { term: 0, node_id: 0, index: 1 };

fn rebirth() -> Rebirth {
    Rebirth {
        at: None,
        seen: Revision(0),
        membership: Bytes::from_static(b"new members"),
        position: POSITION,
        now_ms: 0,
        without: Vec::new(),
    }
}

fn make(store: &Store, rebirth: &Rebirth) -> (Store, Reborn) {
    let engine = Arc::new(Model::new());
    let made = store.reborn(&*engine, rebirth, &mut |_, _| {}).expect("a new state");
    engine.crash(0);
    (Store::open(engine).expect("open"), made)
}

fn live(store: &Store) -> Vec<KeyValue> {
    store.range(&RangeRequest::new(KeyRange::prefix(""))).expect("range").kvs
}

/// What is the same before and after: everything but the revision and the version.
fn content(kvs: &[KeyValue]) -> Vec<(Bytes, Bytes, LeaseId, Revision)> {
    kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone(), kv.lease, kv.create_revision)).collect()
}

fn compare(store: &Store, key: &Bytes, target: CompareTarget) -> bool {
    let compare = Compare { range: KeyRange::key(key.clone()), result: CompareResult::Equal, target };
    match apply(store, CommandOp::Txn(TxnRequest { compare: vec![compare], ..Default::default() })) {
        Outcome::Txn(answer) => answer.succeeded,
        other => panic!("{other:?}"),
    }
}

fn check(
    engine: Arc<dyn Engine>,
    into: Arc<dyn Engine>,
    runs: Vec<CommandOp>,
    pick: usize,
) -> Result<(), TestCaseError> {
    let store = Store::open(engine).expect("open");
    let mut reference = Reference::new();
    for op in runs {
        reference.apply(&op);
        apply(&store, op);
    }
    let oldest = reference.compact.0.max(1);
    let at = oldest + pick as i64 % (reference.revision().0 - oldest + 1);
    let newest = at == reference.revision().0;
    let expected: Vec<KeyValue> = reference.states[at as usize - 1].values().cloned().collect();
    let rebirth = Rebirth { at: (!newest).then_some(Revision(at)), ..rebirth() };
    let (mut keys, mut bytes) = (0, 0);
    let mut progress = |k, b| (keys, bytes) = (keys + k, bytes + b);
    let made = store.reborn(&*into, &rebirth, &mut progress).expect("a new state");
    prop_assert_eq!((made.keys, made.bytes, made.at), (keys, bytes, Revision(at)));
    let (again, same) = make(&store, &rebirth);
    prop_assert_eq!(&same, &made, "the same of the same");

    let new = Store::open(into).expect("open");
    prop_assert_eq!(new.applied(), made.applied.clone());
    prop_assert_eq!(again.applied(), made.applied);
    new.verify().expect("its hash is that of its content");
    let kvs = live(&new);
    prop_assert_eq!(content(&kvs), content(&expected));

    // Nothing that was seen in the old cluster comes again.
    let first = Revision(reference.revision().0 + REBIRTH_REVISIONS_MIN);
    prop_assert!(kvs.iter().all(|kv| kv.mod_revision == made.revision) && made.revision >= first);
    prop_assert_eq!(new.revision(), Revision(made.revision.0 + 1));
    for revision in [1, at, reference.revision().0, made.revision.0] {
        let compacted = Error::Compacted { compact_revision: new.revision() };
        let watch = new.watch(WatchRequest::new(KeyRange::prefix(""), Revision(revision)));
        prop_assert_eq!(watch.err(), Some(compacted.clone()));
        let range = RangeRequest { revision: Revision(revision), ..RangeRequest::new(KeyRange::prefix("")) };
        prop_assert_eq!(new.range(&range), Err(compacted));
    }
    prop_assert!(new.watch(WatchRequest::new(KeyRange::prefix(""), new.revision())).is_ok());
    for old in reference.states.iter().flat_map(|state| state.values()) {
        prop_assert!(!compare(&new, &old.key, CompareTarget::Mod(old.mod_revision)));
        prop_assert!(!compare(&new, &old.key, CompareTarget::Version(old.version)));
    }
    for kv in &kvs {
        prop_assert!(compare(&new, &kv.key, CompareTarget::Mod(made.revision)));
    }

    let mut leases: BTreeMap<LeaseId, BTreeSet<Bytes>> = BTreeMap::new();
    for kv in expected.into_iter().filter(|kv| kv.lease != LeaseId(0)) {
        leases.entry(kv.lease).or_default().insert(kv.key);
    }
    let found: Vec<LeaseId> = new.leases().expect("leases").into_iter().map(|lease| lease.id).collect();
    prop_assert_eq!(&found, &leases.keys().copied().collect::<Vec<_>>());
    for (id, keys) in leases {
        let ttl_s = reference.leases.get(&id).copied().unwrap_or(REBIRTH_LEASE_TTL_S);
        prop_assert_eq!(new.lease(id).expect("lease").expect("it is there").ttl_s, ttl_s);
        prop_assert_eq!(new.lease_keys(id).expect("keys"), keys.iter().cloned().collect::<Vec<_>>());
        // And they end together, as ever.
        apply(&new, CommandOp::LeaseRevoke(id));
        prop_assert!(live(&new).iter().all(|kv| !keys.contains(&kv.key)));
    }
    new.verify().expect("it goes on as any other");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn is_the_old_content_and_nothing_that_was_seen(
        runs in proptest::collection::vec(command(), 1..40),
        pick in prop_oneof![Just(0usize), Just(usize::MAX / 2), 0usize..40],
    ) {
        check(Arc::new(Model::new()), Arc::new(Model::new()), runs, pick)?;
    }
}

#[cfg(feature = "rocksdb")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..Default::default() })]

    #[test]
    fn is_the_same_on_rocksdb(runs in proptest::collection::vec(command(), 20..60), pick in 0usize..40) {
        use crate::engine::{RocksEngine, RocksOptions};
        let dir = tempfile::tempdir().expect("a directory");
        let open = |name: &str| {
            Arc::new(RocksEngine::open(&dir.path().join(name), RocksOptions::default()).expect("open"))
        };
        check(open("old"), open("new"), runs, pick)?;
    }
}

fn raise(store: &Store, scope: &str) {
    apply(store, CommandOp::Txn(TxnRequest { raise_fences: vec![scope.into()], ..Default::default() }));
}

/// Whether a write with this fence lands.
fn lands(store: &Store, scope: &str, epoch: u64) -> bool {
    let fences = vec![Fence { scope: scope.into(), epoch }];
    let request =
        TxnRequest { fences, success: vec![Op::Put(PutRequest::new("f", "v"))], ..Default::default() };
    matches!(apply(store, CommandOp::Txn(request)), Outcome::Txn(answer) if answer.succeeded)
}

#[test]
fn no_leader_of_the_old_cluster_writes_in_the_new_one() {
    let (_, old) = model();
    for _ in 0..3 {
        raise(&old, "a/known");
    }
    let (new, made) = make(&old, &rebirth());
    assert_eq!(made.fences, 1);
    // The old cluster went on after the copy: its later epochs, and scopes that the copy lacks.
    for _ in 0..5 {
        raise(&old, "a/known");
        raise(&old, "a/later");
    }
    for scope in ["a/known", "a/later", "a/never"] {
        for epoch in 0..=old.fence_epoch(scope).expect("epoch") {
            assert!(!lands(&new, scope, epoch), "{scope} {epoch}");
        }
        let before = new.fence_epoch(scope).expect("epoch");
        assert!(before >= REBIRTH_EPOCHS && lands(&new, scope, before));
        raise(&new, scope);
        assert_eq!(new.fence_epoch(scope), Ok(before + 1));
        assert!(!lands(&new, scope, before) && lands(&new, scope, before + 1));
    }
    new.verify().expect("the hash follows");
    // And a new cluster of the new one.
    let (third, _) = make(&new, &rebirth());
    for scope in ["a/known", "a/later", "a/fourth"] {
        assert!(!lands(&third, scope, new.fence_epoch(scope).expect("epoch")), "{scope}");
    }
}

#[test]
fn two_new_clusters_of_one_copy_share_no_revision() {
    let (_, old) = model();
    apply(&old, put("a", "1"));
    let copied_ms = old.applied().time_ms;
    let at = |seconds: i64| make(&old, &Rebirth { now_ms: copied_ms + 1000 * seconds, ..rebirth() }).1;
    let (first, second) = (at(60), at(120));
    assert_eq!(second.revision.0 - first.revision.0, 60 * REBIRTH_REVISIONS_PER_S);
    let clock_behind = at(-1_000_000).revision;
    assert_eq!(clock_behind, Revision(old.revision().0 + REBIRTH_REVISIONS_MIN));
    let seen = make(&old, &Rebirth { seen: Revision(5000), ..rebirth() }).1;
    assert_eq!(seen.revision, Revision(5000 + REBIRTH_REVISIONS_MIN), "what is known to be seen counts");
    let too_late = Rebirth { now_ms: i64::MAX, ..rebirth() };
    assert!(old.reborn(&Model::new(), &too_late, &mut |_, _| {}).is_err());
}

#[test]
fn time_goes_on_and_finds_old_revisions_and_new_ones() {
    let (_, old) = model();
    let at = |time_ms, key: &str| {
        let index = old.applied().position.map_or(1, |at| at.index + 1);
        let Entry { at, body: EntryBody::Command(command) } = entry(index, put(key, "v")) else { panic!() };
        let body = EntryBody::Command(Command { time_ms, ..command });
        old.apply(vec![Entry { at, body }]).expect("apply");
        old.revision()
    };
    let (_, second, third) = (at(100_000, "a"), at(200_000, "b"), at(300_000, "c"));
    let (new, made) = make(&old, &Rebirth { now_ms: 400_000, ..rebirth() });
    assert_eq!(new.applied().time_ms, 400_000);
    assert_eq!(new.revision_at(399_000), old.revision_at(399_000));
    assert_eq!(new.revision_at(400_000), Ok(Some(made.applied.revision)));
    // A clock that lags does not turn it back.
    let (new, _) = make(&old, &Rebirth { now_ms: 5, ..rebirth() });
    assert_eq!(new.applied().time_ms, 300_000);
    // What came after the revision that was taken did not happen here.
    let rebirth = Rebirth { at: Some(second), now_ms: 400_000, ..rebirth() };
    let (new, _) = make(&old, &rebirth);
    assert!(new.revision_at(350_000).expect("time") < Some(third));
}

#[test]
fn what_was_proposed_to_the_old_cluster_is_not_known_to_the_new_one() {
    let (_, old) = model();
    let proposal = ProposalId { client: 77, seq: 1 };
    let command = |value: &str| Command { proposal, time_ms: 1, op: put("a", value) };
    let position = |index| LogPosition { term: 1, node_id: 1, index };
    let entry = |index, value| Entry { at: position(index), body: EntryBody::Command(command(value)) };
    old.apply(vec![entry(1, "old")]).expect("apply");
    let (new, _) = make(&old, &rebirth());
    new.apply(vec![entry(2, "new")]).expect("apply");
    assert_eq!(live(&new)[0].value, "new");
    assert_eq!(new.applied().membership, "new members");
    assert_eq!(new.applied().membership_position, Some(POSITION));
}

#[test]
fn what_is_left_behind_is_left_with_its_lease() {
    let (_, old) = model();
    apply(&old, CommandOp::LeaseGrant { id: LeaseId(4), ttl_s: 60 });
    apply(&old, CommandOp::LeaseGrant { id: LeaseId(5), ttl_s: 60 });
    let token = PutRequest { lease: LeaseId(4), ..PutRequest::new("/tokens/a", "secret") };
    apply(&old, CommandOp::Txn(TxnRequest { success: vec![Op::Put(token)], ..Default::default() }));
    apply(&old, put("/tokens", "stays"));
    let without = vec!["/other".into(), "/tokens/".into()];
    let (new, made) = make(&old, &Rebirth { without, ..rebirth() });
    assert_eq!((made.keys, made.left_behind, made.leases, made.leases_ended), (1, vec![0, 1], 0, 2));
    assert_eq!(live(&new)[0].key, "/tokens");
    assert_eq!(new.leases(), Ok(vec![]));
    new.verify().expect("verify");
}

#[test]
fn damage_is_found_and_a_compacted_revision_refused() {
    let (engine, old) = model();
    for i in 0..20 {
        apply(&old, put(&format!("k{i}"), "value"));
    }
    apply(&old, CommandOp::Compact(Revision(10)));
    let refused = |at| {
        let rebirth = Rebirth { at: Some(Revision(at)), ..rebirth() };
        old.reborn(&Model::new(), &rebirth, &mut |_, _| {}).expect_err("refused").to_string()
    };
    assert!(refused(9).contains("compacted"), "{}", refused(9));
    assert!(refused(99).contains("future"), "{}", refused(99));
    let not_empty = old.reborn(&*engine, &rebirth(), &mut |_, _| {});
    assert_eq!(not_empty, Err(Fault::Io("the new cluster's state is not empty".into())));
    // A value that is another than was written, with every checksum below it right.
    let (key, mut value) =
        dump(&*engine).into_iter().find(|(key, _)| key[0] == crate::layout::VERSIONS).expect("a version");
    *value.last_mut().expect("a value") ^= 1;
    let mut batch = Batch::default();
    batch.put(&[&key], &[&value]);
    engine.write(batch).expect("write");
    let found = old.reborn(&Model::new(), &rebirth(), &mut |_, _| {});
    assert!(matches!(found, Err(Fault::Corrupt(_))), "{found:?}");
}
