//! The machine against the plain reference, and what the reference does not know.

use std::sync::Arc;

use futures::StreamExt;
use proptest::prelude::*;

use super::reference::{Reference, command, range_request};
use super::{apply, dump, entry, model, put};
use crate::engine::{Engine, Model};
use crate::kv::{
    DeleteRequest, Error, Fence, KeyRange, LeaseId, Op, PutRequest, RangeRequest, Revision, SortOrder,
    TxnRequest, WatchItem, WatchRequest,
};
use crate::log::{
    Command, CommandOp, Entry, EntryBody, FENCES_FORGOTTEN, LeaseExpiry, LogPosition, Mark, MarkedHash,
    Outcome, ProposalId,
};
use crate::machine::Store;

fn watched(store: &Store, from: Revision) -> Vec<crate::kv::Event> {
    let request = WatchRequest {
        prev_kv: true,
        progress_notify: true,
        ..WatchRequest::new(KeyRange::prefix(""), from)
    };
    let mut stream = store.watch(request).expect("watch");
    let mut all = Vec::new();
    futures::executor::block_on(async {
        while let Some(item) = stream.next().await {
            match item.expect("a watch from the compact revision on") {
                WatchItem::Events { revision, events } => {
                    all.extend(events);
                    if revision == store.revision() {
                        return;
                    }
                }
                WatchItem::Progress { revision } => {
                    assert_eq!(revision, store.revision());
                    return;
                }
            }
        }
    });
    all.sort_by(|a, b| (a.kv.mod_revision, &a.kv.key).cmp(&(b.kv.mod_revision, &b.kv.key)));
    all
}

fn check(
    engine: Arc<dyn Engine>,
    runs: Vec<Vec<CommandOp>>,
    reads: Vec<RangeRequest>,
) -> Result<(), TestCaseError> {
    let store = Store::open(engine.clone()).expect("open");
    let mut reference = Reference::new();
    let mut index = 0;
    for run in runs {
        let expected: Vec<_> = run.iter().map(|op| reference.apply(op)).collect();
        let entries: Vec<_> = run
            .into_iter()
            .map(|op| {
                index += 1;
                // Through its encoding, as a log would.
                let Entry { at, body: EntryBody::Command(command) } = entry(index, op) else {
                    unreachable!()
                };
                let decoded = Command::decode(command.encode()).expect("decode");
                assert_eq!(decoded, command);
                Entry { at, body: EntryBody::Command(decoded) }
            })
            .collect();
        let outcomes = store.apply(entries).expect("apply");
        for outcome in &outcomes {
            prop_assert_eq!(&Outcome::decode(outcome.encode()).expect("decode"), outcome);
        }
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(store.revision(), reference.revision());
        if index % 3 == 0 {
            store.flush().expect("flush");
        }
    }
    for request in &reads {
        prop_assert_eq!(store.range(request), reference.range(request), "{:?}", request);
    }
    store.verify().expect("the incremental hash is that of the content");
    let from = Revision(reference.compact.0.max(2));
    let mut expected: Vec<_> =
        (from.0..=reference.revision().0).flat_map(|n| reference.events(Revision(n))).collect();
    // The ring still has what was before a version, even past a compaction.
    let mut live = watched(&store, from);
    // A store opened again knows nothing but the engine, and scrubs while it is read.
    store.flush().expect("flush");
    let hash = store.applied();
    drop(store);
    let store = Store::open(engine).expect("open");
    prop_assert_eq!(store.applied(), hash);
    if reference.compact.0 > 0 {
        futures::executor::block_on(store.scrubbed(reference.compact)).expect("scrub");
    }
    for request in &reads {
        prop_assert_eq!(store.range(request), reference.range(request), "after a restart: {:?}", request);
    }
    let mut past = watched(&store, from);
    let at_compaction = |e: &crate::kv::Event| e.kv.mod_revision.0 <= reference.compact.0;
    for events in [&mut expected, &mut live, &mut past] {
        events.iter_mut().filter(|e| at_compaction(e)).for_each(|e| e.prev_kv = None);
    }
    prop_assert_eq!(&live, &expected);
    prop_assert_eq!(&past, &expected);
    store.verify().expect("scrubbing changes nothing logical");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn does_what_the_reference_does(
        runs in proptest::collection::vec(proptest::collection::vec(command(), 1..8), 1..8),
        reads in proptest::collection::vec(range_request(), 1..12),
    ) {
        check(Arc::new(Model::new()), runs, reads)?;
    }
}

#[cfg(feature = "rocksdb")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..Default::default() })]

    #[test]
    fn does_what_the_reference_does_on_rocksdb(
        runs in proptest::collection::vec(proptest::collection::vec(command(), 1..8), 4..20),
        reads in proptest::collection::vec(range_request(), 1..40),
    ) {
        use crate::engine::{RocksEngine, RocksOptions};
        let dir = tempfile::tempdir().expect("a directory");
        check(Arc::new(RocksEngine::open(dir.path(), RocksOptions::default()).expect("open")), runs, reads)?;
    }
}

/// After a compaction the engine holds the live keys and nothing older.
#[test]
fn scrubbing_leaves_what_is_reachable() {
    let (model, store) = model();
    for i in 0..50 {
        apply(&store, put(&format!("k{}", i % 5), "v"));
    }
    let revision = store.revision();
    apply(&store, CommandOp::Compact(revision));
    futures::executor::block_on(store.scrubbed(revision)).expect("scrub");
    let count = |table: u8| dump(&*model).iter().filter(|(key, _)| key[0] == table).count();
    assert_eq!(count(crate::layout::VERSIONS), 5);
    assert_eq!(count(crate::layout::REVISIONS), 1, "the compact revision itself");
}

#[test]
fn what_changes_no_key_makes_no_revision() {
    let (_, store) = model();
    let first = store.revision();
    let blank = Entry { at: LogPosition { term: 1, node_id: 1, index: 1 }, body: EntryBody::Blank };
    store.apply(vec![blank]).expect("apply");
    apply(&store, CommandOp::LeaseGrant { id: LeaseId(1), ttl_s: 10 });
    apply(&store, CommandOp::LeaseRenew(LeaseId(1)));
    apply(&store, CommandOp::LeaseRevoke(LeaseId(1)));
    apply(&store, CommandOp::FeatureLevel(3));
    apply(&store, CommandOp::Mark(Mark::default()));
    assert_eq!(store.revision(), first);
    apply(&store, put("a", "1"));
    assert_eq!(store.revision(), Revision(first.0 + 1));
    let revision = store.revision();
    apply(&store, CommandOp::Compact(revision));
    assert_eq!(store.revision(), revision);
    assert_eq!(store.applied().feature_level, 3);
    apply(&store, CommandOp::FeatureLevel(2));
    assert_eq!(store.applied().feature_level, 3, "never lowered");
}

#[test]
fn an_expiry_loses_to_a_renewal_and_to_another_term() {
    let (_, store) = model();
    let id = LeaseId(1);
    apply(&store, CommandOp::LeaseGrant { id, ttl_s: 10 });
    let expire = |term, generation| {
        let expiry = LeaseExpiry { term, leases: vec![(id, generation), (LeaseId(2), 0)] };
        match apply(&store, CommandOp::LeaseExpire(expiry)) {
            Outcome::Expired { leases, .. } => leases,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expire(2, 0), []);
    apply(&store, CommandOp::LeaseRenew(id));
    assert_eq!(store.lease(id).expect("lease").expect("alive").generation, 1);
    assert_eq!(expire(1, 0), []);
    assert_eq!(expire(1, 1), [id]);
    assert_eq!(store.lease(id), Ok(None));
}

#[test]
fn time_never_runs_backwards_and_finds_revisions() {
    let (_, store) = model();
    let at = |time_ms, key: &str| {
        let index = store.applied().position.map_or(1, |at| at.index + 1);
        let command = Command { proposal: ProposalId::default(), time_ms, op: put(key, "v") };
        let at = LogPosition { term: 1, node_id: 1, index };
        store.apply(vec![Entry { at, body: EntryBody::Command(command) }]).expect("apply");
        store.revision()
    };
    let first = at(100_000, "a");
    at(90_000, "b");
    assert_eq!(store.applied().time_ms, 100_000);
    let second = at(101_000, "c");
    at(200_000, "d");
    assert_eq!(store.revision_at(99_999), Ok(None));
    assert_eq!(store.revision_at(150_000), Ok(Some(Revision(first.0 - 1))));
    assert_eq!(store.revision_at(200_000), Ok(Some(second)));
    // At 100 s nothing was there but the first revision's predecessor; what followed came later.
    let (early, late) = ((100_000, Revision(first.0 - 1)), (200_000, second));
    assert_eq!(store.times(Revision(0)), Ok(vec![early, late]));
    assert_eq!(store.times(second), Ok(vec![early, late]));
    assert_eq!(store.times(Revision(second.0 + 1)), Ok(vec![late]));
}

#[test]
fn a_mark_finds_a_replica_that_diverged() {
    let replicas = [model().1, model().1];
    let hash_at = |store: &Store| match apply(store, CommandOp::Mark(Mark::default())) {
        Outcome::Marked { own, agrees: None } => own,
        other => panic!("{other:?}"),
    };
    apply(&replicas[0], put("a", "1"));
    apply(&replicas[1], put("a", "1"));
    let leader = hash_at(&replicas[0]);
    assert_eq!(hash_at(&replicas[1]), leader);
    let mark = |previous| CommandOp::Mark(Mark { previous: Some(previous) });
    let agrees = |outcome| match outcome {
        Outcome::Marked { agrees, .. } => agrees,
        other => panic!("{other:?}"),
    };
    assert_eq!(agrees(apply(&replicas[1], mark(leader))), Some(true));
    let next = MarkedHash { index: leader.index + 1, hash: leader.hash };
    assert_eq!(agrees(apply(&replicas[1], mark(next))), Some(false));
    assert_eq!(agrees(apply(&replicas[1], mark(leader))), None, "not the mark before");
}

#[test]
fn an_entry_out_of_order_is_refused() {
    let (_, store) = model();
    apply(&store, put("a", "1"));
    let before = store.applied();
    let fault = store.apply(vec![entry(2, put("a", "2")), entry(4, put("a", "3"))]);
    assert_eq!(fault, Err(crate::Fault::OutOfOrder { applied: 2, found: 4 }));
    assert_eq!(store.applied(), before, "all of a run or none");
    apply(&store, put("a", "2"));
    store.verify().expect("verify");
}

#[test]
fn an_unknown_command_is_an_error() {
    let EntryBody::Command(command) = entry(1, put("a", "1")).body else { unreachable!() };
    let mut raw = command.encode().to_vec();
    raw[0] = 2;
    let error = Command::decode(raw.into()).expect_err("version 2");
    assert_eq!(error.to_string(), "command: version 2 is not known to this build");
    let encoded = command.encode();
    for len in 0..encoded.len() {
        assert!(Command::decode(encoded.slice(..len)).is_err(), "cut at {len}");
    }
}

#[test]
fn compacted_history_is_not_watched() {
    let (_, store) = model();
    apply(&store, put("a", "1"));
    apply(&store, put("a", "2"));
    let revision = store.revision();
    apply(&store, CommandOp::Compact(revision));
    let early = store.watch(WatchRequest::new(KeyRange::key("a"), Revision(revision.0 - 1))).err();
    assert_eq!(early, Some(Error::Compacted { compact_revision: revision }));
}

#[test]
fn limits_refuse_what_is_past_them() {
    use crate::limits::*;
    let (_, store) = model();
    let failed = |op| match apply(&store, op) {
        Outcome::Failed(error) => Some(error),
        _ => None,
    };
    let key = |len: usize| put(&"k".repeat(len), "v");
    assert_eq!(failed(key(KEY_BYTES_MAX)), None);
    assert_eq!(failed(key(KEY_BYTES_MAX + 1)), Some(Error::TooLarge));
    let raise =
        |scopes: Vec<String>| CommandOp::Txn(TxnRequest { raise_fences: scopes, ..Default::default() });
    assert_eq!(failed(raise(vec!["s".repeat(FENCE_SCOPE_BYTES_MAX)])), None);
    assert!(matches!(failed(raise(vec!["s".repeat(FENCE_SCOPE_BYTES_MAX + 1)])), Some(Error::Invalid(_))));
    assert!(matches!(failed(raise(vec![String::new()])), Some(Error::Invalid(_))));
    assert_eq!(failed(raise(vec!["s".into(); TXN_OPS_MAX + 1])), Some(Error::TooManyOps));
    let scopes: Vec<_> = (1..FENCE_SCOPES_MAX).map(|i| i.to_string()).collect();
    for some in scopes.chunks(TXN_OPS_MAX) {
        assert_eq!(failed(raise(some.to_vec())), None);
    }
    assert!(matches!(failed(raise(vec!["one more".into()])), Some(Error::Invalid(_))));
    assert_eq!(failed(raise(vec!["1".into()])), None, "a known one can be raised");
    assert_eq!(store.fence_epoch("1"), Ok(2));
    let short = apply(&store, CommandOp::LeaseGrant { id: LeaseId(1), ttl_s: LEASE_TTL_MIN_S - 1 });
    assert!(matches!(short, Outcome::Granted(grant) if grant.ttl_s == LEASE_TTL_MIN_S));
    let zero = failed(CommandOp::LeaseGrant { id: LeaseId(0), ttl_s: 10 });
    assert!(matches!(zero, Some(Error::Invalid(_))));
    let deep = (0..TXN_OPS_MAX).fold(TxnRequest::default(), |inner, _| TxnRequest {
        success: vec![Op::Txn(inner)],
        ..Default::default()
    });
    assert_eq!(failed(CommandOp::Txn(deep.clone())), None);
    let deeper = TxnRequest { success: vec![Op::Txn(deep)], ..Default::default() };
    assert_eq!(failed(CommandOp::Txn(deeper)), Some(Error::TooManyOps));
    let large = PutRequest::new("k", vec![0; REQUEST_BYTES_MAX]);
    let large = TxnRequest { success: vec![Op::Put(large)], ..Default::default() };
    assert_eq!(failed(CommandOp::Txn(large)), Some(Error::TooLarge));
    store.verify().expect("verify");
}

#[test]
fn the_oldest_fences_are_forgotten_and_their_holders_stay_fenced() {
    use crate::limits::*;
    let (engine, store) = model();
    apply(&store, CommandOp::FeatureLevel(FENCES_FORGOTTEN));
    let raise = |scopes: &[String]| {
        let txn = TxnRequest { raise_fences: scopes.to_vec(), ..Default::default() };
        assert!(matches!(apply(&store, CommandOp::Txn(txn)), Outcome::Txn(_)), "{:?}", scopes[0]);
    };
    let epoch = |scope: &str| store.fence_epoch(scope).unwrap();
    let names = |what: &str, count: usize| (0..count).map(|i| format!("{what}{i:06}")).collect::<Vec<_>>();
    for _ in 0..3 {
        raise(&["moved".into()]);
    }
    for some in names("once", FENCE_SCOPES_MAX - 1).chunks(TXN_OPS_MAX) {
        raise(some);
    }
    assert_eq!((epoch("once000000"), epoch("never")), (1, 0), "all are known yet");

    // What its proposer has read of the new scope's epoch holds, though it is the lowest of all.
    let new = TxnRequest {
        fences: vec![Fence { scope: "new".into(), epoch: 0 }],
        raise_fences: vec!["new".into()],
        ..Default::default()
    };
    assert!(matches!(apply(&store, CommandOp::Txn(new)), Outcome::Txn(_)));
    assert_eq!((epoch("new"), epoch("moved")), (1, 3));
    let forgotten = FENCE_SCOPES_FORGOTTEN;
    assert_eq!(epoch(&format!("once{:06}", forgotten - 1)), 2, "that of all that are not known");
    assert_eq!((epoch(&format!("once{forgotten:06}")), epoch("never")), (1, 2));
    let deposed =
        TxnRequest { fences: vec![Fence { scope: "once000000".into(), epoch: 1 }], ..Default::default() };
    let refused = Outcome::Failed(Error::Fenced { scope: "once000000".into(), current: 2 });
    assert_eq!(apply(&store, CommandOp::Txn(deposed)), refused);
    raise(&["once000000".into()]);
    assert_eq!(epoch("once000000"), 3, "an epoch that nobody has had");

    // For ever: there is always room.
    for some in names("later", FENCE_SCOPES_MAX).chunks(TXN_OPS_MAX) {
        raise(some);
    }
    let kept = dump(&*engine).iter().filter(|(key, _)| key[0] == crate::layout::FENCES).count();
    assert!(kept <= FENCE_SCOPES_MAX, "{kept}");
    assert!(epoch("later065535") > 0 && epoch("later000000") == epoch("never"));
    store.verify().expect("verify");
    let hash = store.applied().hash;
    assert_eq!(Store::open(engine).expect("open").applied().hash, hash);
}

#[test]
fn the_answer_to_a_transaction_is_bounded() {
    let (_, store) = model();
    for i in 0..12 {
        let value = "x".repeat(1 << 20);
        apply(&store, put(&format!("big/{i:02}"), &value));
    }
    apply(&store, put("small", "v"));
    let before = store.revision();
    let range = |limit: i64| RangeRequest { limit, ..RangeRequest::new(KeyRange::prefix("big/")) };
    let key = |i: usize| RangeRequest::new(KeyRange::key(format!("big/{:02}", i % 12)));
    let delete = |prev_kv| Op::Delete(DeleteRequest { range: KeyRange::prefix("big/"), prev_kv });
    let txn = |ops: Vec<Op>| {
        let put = Op::Put(PutRequest::new("marker", "v"));
        let nested = TxnRequest { success: ops, ..Default::default() };
        CommandOp::Txn(TxnRequest { success: vec![put, Op::Txn(nested)], ..Default::default() })
    };
    let all = |prefix: &str| Op::Range(RangeRequest::new(KeyRange::prefix(prefix.to_owned())));
    let own = (0..100).map(|i| Op::Put(PutRequest::new(format!("own/{i}"), "x".repeat(10_000))));
    let past: Vec<Vec<Op>> = vec![
        vec![Op::Range(range(0))],
        vec![Op::Range(RangeRequest { sort_order: SortOrder::Descend, ..range(1) })],
        vec![Op::Range(range(4)), Op::Range(range(4))],
        (0..9).map(|i| Op::Range(key(i))).collect(),
        vec![delete(true)],
        own.chain((0..9).map(|_| all("own/"))).collect(),
    ];
    for (i, ops) in past.into_iter().enumerate() {
        let outcome = apply(&store, txn(ops));
        let Outcome::Failed(Error::Invalid(said)) = &outcome else { panic!("{i}: it was answered") };
        assert!(said.contains("8388608 bytes"), "{said}");
        assert_eq!(store.revision(), before, "{i}: nothing was changed");
    }
    let within: Vec<Vec<Op>> = vec![
        vec![Op::Range(range(4)), Op::Range(range(3))],
        vec![Op::Range(RangeRequest { count_only: true, ..range(0) })],
        vec![Op::Range(RangeRequest { keys_only: true, ..range(0) })],
        (0..7).map(|i| Op::Range(key(i))).collect(),
        (0..100).map(|_| all("small")).collect(),
        vec![delete(false)],
    ];
    for (i, ops) in within.into_iter().enumerate() {
        let outcome = apply(&store, txn(ops));
        assert!(matches!(outcome, Outcome::Txn(_)), "{i} was refused");
    }
    // Only what runs counts.
    let unused = TxnRequest { failure: vec![Op::Range(range(0)); 100], ..Default::default() };
    assert!(matches!(apply(&store, CommandOp::Txn(unused)), Outcome::Txn(_)));
}

#[test]
fn what_frees_space_is_told_from_what_takes_it() {
    let delete = || Op::Delete(DeleteRequest { range: KeyRange::key("a"), prev_kv: false });
    let read = || Op::Range(RangeRequest::new(KeyRange::key("a")));
    let put = || Op::Put(PutRequest::new("a", "1"));
    let txn = |success: Vec<Op>, failure: Vec<Op>| TxnRequest { success, failure, ..Default::default() };
    let check = |request: TxnRequest, frees: bool| {
        assert_eq!(CommandOp::Txn(request.clone()).frees_space(), frees, "{request:?}");
    };
    check(txn(vec![delete()], vec![read()]), true);
    check(txn(vec![read()], vec![Op::Txn(txn(vec![delete()], vec![]))]), true);
    check(txn(vec![read()], vec![]), false);
    check(txn(vec![delete()], vec![put()]), false);
    check(txn(vec![delete(), Op::Txn(txn(vec![], vec![put()]))], vec![]), false);
    assert!(CommandOp::Compact(Revision(5)).frees_space());
    assert!(CommandOp::LeaseRevoke(LeaseId(5)).frees_space());
    assert!(!CommandOp::LeaseGrant { id: LeaseId(5), ttl_s: 5 }.frees_space());
}

#[test]
fn the_index_of_times_is_bounded() {
    use crate::limits::TIME_INDEX_AGE_MS_MAX;
    let (model, store) = model();
    let day_ms = 24 * 3600 * 1000;
    for day in 1..=100 {
        let index = store.applied().position.map_or(1, |at| at.index + 1);
        let command = Command { proposal: ProposalId::default(), time_ms: day * day_ms, op: put("a", "v") };
        let at = LogPosition { term: 1, node_id: 1, index };
        store.apply(vec![Entry { at, body: EntryBody::Command(command) }]).expect("apply");
    }
    let revision = store.revision();
    apply(&store, CommandOp::Compact(revision));
    futures::executor::block_on(store.scrubbed(revision)).expect("scrub");
    let kept = dump(&*model).iter().filter(|(key, _)| key[0] == crate::layout::TIMES).count();
    assert_eq!(kept as i64, TIME_INDEX_AGE_MS_MAX / day_ms + 1);
    assert!(
        store.revision_at(99 * day_ms).expect("index").is_some_and(|at| at < revision),
        "outlives compaction"
    );
}

/// Readers of the past beside a writer, compactions and their clean-up: the right answer, or
/// `Compacted`.
fn reads_are_right_while_history_goes(engine: Arc<dyn Engine>, writes: i64) {
    use std::sync::atomic::{AtomicBool, Ordering};
    const KEYS: i64 = 10;
    let store = Store::open(engine).expect("open");
    let done = AtomicBool::new(false);
    let (mut right, mut compacted) = (0, 0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut right, mut compacted) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let now = store.revision();
                for back in [0, 7, 30, 60] {
                    let mut request = RangeRequest::new(KeyRange::prefix("k"));
                    request.revision = Revision((now.0 - back).max(1));
                    match store.range(&request) {
                        Ok(response) => {
                            right += 1;
                            let newest = |key: i64| (2..=request.revision.0).rev().find(|n| n % KEYS == key);
                            let expected: Vec<_> =
                                (0..KEYS).filter_map(newest).map(|n| n.to_string()).collect();
                            let values: Vec<_> = response.kvs.into_iter().map(|kv| kv.value).collect();
                            assert_eq!(values, expected, "at {}", request.revision);
                        }
                        Err(Error::Compacted { .. }) => compacted += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            (right, compacted)
        });
        for n in 2..writes + 2 {
            apply(&store, put(&format!("k{}", n % KEYS), &n.to_string()));
            if n % 20 == 0 && n > 40 {
                apply(&store, CommandOp::Compact(Revision(n - 20)));
            }
        }
        done.store(true, Ordering::Relaxed);
        (right, compacted) = reader.join().expect("reader");
    });
    assert!(right > 0 && compacted > 0, "{right} {compacted}");
    store.verify().expect("verify");
}

#[test]
fn reads_are_right_while_history_goes_on_the_model() {
    reads_are_right_while_history_goes(Arc::new(Model::new()), 3000);
}

#[cfg(feature = "rocksdb")]
#[test]
fn reads_are_right_while_history_goes_on_rocksdb() {
    use crate::engine::{RocksEngine, RocksOptions};
    let dir = tempfile::tempdir().expect("a directory");
    let options = RocksOptions { write_buffer_bytes: 64 << 10, ..Default::default() };
    reads_are_right_while_history_goes(Arc::new(RocksEngine::open(dir.path(), options).expect("open")), 5000);
}
