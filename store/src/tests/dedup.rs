//! Proposals that are sent again.

use super::{entry, model, put};
use crate::kv::{Compare, Error, Op, OpResponse, PutRequest, Revision, TxnRequest};
use crate::limits::{DEDUP_AGE_MS_MAX, DEDUP_CLIENTS_MAX, DEDUP_OUTCOME_BYTES_MAX};
use crate::log::{Command, CommandOp, Entry, EntryBody, LogPosition, Outcome, ProposalId};
use crate::machine::Store;

fn propose(store: &Store, proposal: ProposalId, time_ms: i64, op: CommandOp) -> Outcome {
    let index = store.applied().position.map_or(1, |at| at.index + 1);
    let at = LogPosition { term: 1, node_id: 1, index };
    let body = EntryBody::Command(Command { proposal, time_ms, op });
    store.apply(vec![Entry { at, body }]).expect("apply").remove(0)
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
    let revision = store.revision();
    let unknown = Outcome::Failed(Error::OutcomeUnknown);
    let check = |store: &Store| {
        assert_eq!(propose(store, id(1, 5), 0, put("a", "1")), unknown);
        assert_eq!(propose(store, id(1, 4), 0, put("a", "1")), unknown);
        assert!(matches!(propose(store, id(1, 6), 0, put("b", "1")), Outcome::Txn(_)));
        assert_eq!(store.revision(), revision);
        store.verify().expect("verify");
    };
    check(&store);
    drop(store);
    check(&Store::open(model).expect("open"));
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
