//! Proposals that are sent again.

use std::sync::Arc;

use super::{entry, model, put};
use crate::engine::Model;
use crate::kv::{
    Compare, DeleteRequest, Error, KeyRange, LeaseId, Op, OpResponse, PutRequest, RangeRequest, Revision,
    TxnRequest,
};
use crate::limits::{DEDUP_AGE_MS_MAX, DEDUP_CLIENTS_MAX, DEDUP_OUTCOME_BYTES_MAX};
use crate::log::{
    Command, CommandOp, Entry, EntryBody, FEATURE_LEVEL, LogPosition, Mark, Outcome, ProposalId,
    REFUSALS_REMEMBERED,
};
use crate::machine::Store;

fn propose(store: &Store, proposal: ProposalId, time_ms: i64, op: CommandOp) -> Outcome {
    let index = store.applied().position.map_or(1, |at| at.index + 1);
    let at = LogPosition { term: 1, node_id: 1, index };
    let body = EntryBody::Command(Command { proposal, time_ms, op });
    store.apply(vec![Entry { at, body }]).expect("apply").remove(0)
}

/// Checks what changes nothing.
fn now_and_after_a_restart(model: Arc<Model>, store: Store, check: impl Fn(&Store)) {
    let revision = store.revision();
    let check = |store: &Store| {
        check(store);
        assert_eq!(store.revision(), revision);
        store.verify().expect("verify");
    };
    check(&store);
    drop(store);
    check(&Store::open(model).expect("open"));
}

fn id(client: u64, seq: u64) -> ProposalId {
    ProposalId { client, seq }
}

fn create(key: &'static str) -> CommandOp {
    CommandOp::Txn(TxnRequest {
        compare: vec![Compare::mod_revision(key, Revision(0))],
        success: vec![Op::Put(PutRequest::new(key, "v"))],
        ..Default::default()
    })
}

#[test]
fn a_swap_that_won_wins_again() {
    let (model, store) = model();
    let first = propose(&store, id(1, 1), 0, create("a"));
    let revision = store.revision();
    assert_eq!(propose(&store, id(1, 1), 0, create("a")), first);
    assert_eq!(store.revision(), revision, "done once");
    drop(store);
    let store = Store::open(model).expect("open");
    assert_eq!(propose(&store, id(1, 1), 0, create("a")), first, "after a restart too");
    match propose(&store, id(1, 2), 0, create("a")) {
        Outcome::Txn(lost) => assert!(!lost.succeeded),
        other => panic!("{other:?}"),
    }
    match propose(&store, id(0, 0), 0, put("a", "x")) {
        Outcome::Txn(won) => assert!(won.revision > revision, "client zero is not remembered"),
        other => panic!("{other:?}"),
    }
    store.verify().expect("verify");
}

fn delete(key: &'static str) -> CommandOp {
    let delete = DeleteRequest { range: KeyRange::key(key), prev_kv: false };
    CommandOp::Txn(TxnRequest { success: vec![Op::Delete(delete)], ..Default::default() })
}

#[test]
fn what_was_refused_stays_refused() {
    let (model, store) = model();
    propose(&store, id(9, 1), 0, CommandOp::FeatureLevel(FEATURE_LEVEL));
    propose(&store, id(2, 1), 0, put("a", "v"));
    propose(&store, id(2, 2), 0, CommandOp::LeaseGrant { id: LeaseId(7), ttl_s: 60 });
    let grant = || CommandOp::LeaseGrant { id: LeaseId(7), ttl_s: 60 };
    let read = || {
        let range = Op::Range(RangeRequest::new(KeyRange::key("a")));
        CommandOp::Txn(TxnRequest { success: vec![range], ..Default::default() })
    };
    let refused = [
        propose(&store, id(1, 1), 0, create("a")),
        propose(&store, id(1, 2), 0, delete("b")),
        propose(&store, id(1, 3), 0, grant()),
    ];
    assert!(matches!(&refused[0], Outcome::Txn(lost) if !lost.succeeded));
    assert_eq!(refused[2], Outcome::Failed(Error::LeaseExists));
    propose(&store, id(1, 4), 0, read());
    // What stood in their way goes, and a message that was long on its way brings them again.
    propose(&store, id(2, 3), 0, delete("a"));
    propose(&store, id(2, 4), 0, put("b", "v"));
    propose(&store, id(2, 5), 0, CommandOp::LeaseRevoke(LeaseId(7)));
    let revision = store.revision();
    let check = |store: &Store| {
        assert_eq!(propose(store, id(1, 1), 0, create("a")), refused[0]);
        assert_eq!(propose(store, id(1, 2), 0, delete("b")), refused[1]);
        assert_eq!(propose(store, id(1, 3), 0, grant()), refused[2]);
        assert!(store.lease(LeaseId(7)).expect("lease").is_none());
        // A read shows what is there now, however often it is asked.
        match propose(store, id(1, 4), 0, read()) {
            Outcome::Txn(found) => assert_eq!(found.revision, revision),
            other => panic!("{other:?}"),
        }
    };
    now_and_after_a_restart(model, store, check);
}

#[test]
fn why_a_request_is_not_valid_is_not_in_the_hash() {
    let nested = TxnRequest {
        raise_fences: vec!["s".into()],
        success: vec![Op::Put(PutRequest::new("a", "v"))],
        ..Default::default()
    };
    let fenced = CommandOp::Txn(TxnRequest { success: vec![Op::Txn(nested)], ..Default::default() });
    let unnamed = CommandOp::LeaseGrant { id: LeaseId(0), ttl_s: 60 };
    let refused = |op: CommandOp| {
        let (_, store) = model();
        propose(&store, id(9, 1), 0, CommandOp::FeatureLevel(FEATURE_LEVEL));
        let why = propose(&store, id(1, 1), 0, op.clone());
        let again = propose(&store, id(1, 1), 0, op);
        assert!(matches!(again, Outcome::Failed(Error::Invalid(_))), "{again:?}");
        match propose(&store, id(0, 0), 0, CommandOp::Mark(Mark::default())) {
            Outcome::Marked { own, .. } => (why, own.hash),
            other => panic!("{other:?}"),
        }
    };
    let (one, two) = (refused(fenced), refused(unnamed));
    assert!(matches!(&one.0, Outcome::Failed(Error::Invalid(_))), "{:?}", one.0);
    assert_ne!(one.0, two.0);
    assert_eq!(one.1, two.1);
}

#[test]
fn members_that_know_nothing_of_refusals_are_followed() {
    let (_, store) = model();
    propose(&store, id(9, 1), 0, CommandOp::FeatureLevel(REFUSALS_REMEMBERED - 1));
    propose(&store, id(2, 1), 0, put("a", "v"));
    assert!(matches!(propose(&store, id(1, 1), 0, create("a")), Outcome::Txn(lost) if !lost.succeeded));
    propose(&store, id(2, 2), 0, delete("a"));
    assert!(matches!(propose(&store, id(1, 1), 0, create("a")), Outcome::Txn(won) if won.succeeded));
}

#[test]
fn within_one_run_too() {
    let (_, store) = model();
    let (one, mut two) = (entry(1, create("a")), entry(2, create("a")));
    if let EntryBody::Command(command) = &mut two.body {
        command.proposal.seq = 1;
    }
    let outcomes = store.apply(vec![one, two]).expect("apply");
    assert_eq!(outcomes[0], outcomes[1]);
}

#[test]
fn what_is_forgotten_is_unknown_and_not_done_again() {
    let (model, store) = model();
    propose(&store, id(1, 5), 0, put("a", "1"));
    propose(&store, id(1, 6), DEDUP_AGE_MS_MAX + 1, put("b", "1"));
    let unknown = Outcome::Failed(Error::OutcomeUnknown);
    let check = |store: &Store| {
        assert_eq!(propose(store, id(1, 5), 0, put("a", "1")), unknown);
        assert_eq!(propose(store, id(1, 4), 0, put("a", "1")), unknown);
        assert!(matches!(propose(store, id(1, 6), 0, put("b", "1")), Outcome::Txn(_)));
    };
    now_and_after_a_restart(model, store, check);
}

#[test]
fn a_large_outcome_is_remembered_without_its_content() {
    let (_, store) = model();
    let value = vec![b'x'; DEDUP_OUTCOME_BYTES_MAX];
    propose(
        &store,
        id(1, 1),
        0,
        CommandOp::Txn(TxnRequest {
            success: vec![Op::Put(PutRequest::new("a", value))],
            ..Default::default()
        }),
    );
    let mut again = PutRequest::new("a", "small");
    again.prev_kv = true;
    let op = || CommandOp::Txn(TxnRequest { success: vec![Op::Put(again.clone())], ..Default::default() });
    match propose(&store, id(1, 2), 0, op()) {
        Outcome::Txn(txn) => assert!(matches!(txn.responses[..], [OpResponse::Put { prev_kv: Some(_) }])),
        other => panic!("{other:?}"),
    }
    assert_eq!(propose(&store, id(1, 2), 0, op()), Outcome::Failed(Error::OutcomeUnknown));
}

#[test]
fn clients_are_bounded() {
    let (model, store) = model();
    let clients = DEDUP_CLIENTS_MAX as u64 + 10;
    for client in 1..=clients {
        propose(&store, id(client, 1), 0, put("a", "1"));
    }
    propose(&store, id(clients + 1, 1), DEDUP_AGE_MS_MAX + 1, put("a", "1"));
    store.verify().expect("verify");
    let kept = super::dump(&*model).iter().filter(|(key, _)| key[0] == crate::layout::CLIENTS).count();
    assert_eq!(kept, DEDUP_CLIENTS_MAX);
    let records = super::dump(&*model).iter().filter(|(key, _)| key[0] == crate::layout::OUTCOMES).count();
    assert_eq!(records, 1, "records go with what they remember");
    let hash = store.applied();
    drop(store);
    assert_eq!(Store::open(model).expect("open").applied(), hash);
}
