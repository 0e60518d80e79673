//! etcd's semantics, told as plainly as possible: a whole map for every revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRequest, Error, Event, EventKind, KeyRange, KeyValue,
    LeaseGrant, LeaseId, Op, OpResponse, PutRequest, RangeRequest, RangeResponse, Revision, SortOrder,
    SortTarget, TxnRequest, TxnResponse,
};
use crate::log::{CommandOp, Outcome};

type Map = BTreeMap<Bytes, KeyValue>;

pub(super) struct Reference {
    /// The state at revision 1 + its place.
    pub(super) states: Vec<Map>,
    pub(super) compact: Revision,
    pub(super) leases: BTreeMap<LeaseId, i64>,
}

impl Reference {
    pub(super) fn new() -> Self {
        Self { states: vec![Map::new()], compact: Revision(0), leases: BTreeMap::new() }
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.states.len() as i64)
    }

    fn newest(&self) -> &Map {
        self.states.last().expect("never empty")
    }

    pub(super) fn apply(&mut self, op: &CommandOp) -> Outcome {
        match op {
            CommandOp::Txn(txn) => self.txn(txn).map_or_else(Outcome::Failed, Outcome::Txn),
            CommandOp::Compact(to) if *to <= self.compact => {
                Outcome::Failed(Error::Compacted { compact_revision: self.compact })
            }
            CommandOp::Compact(to) if *to > self.revision() => {
                Outcome::Failed(Error::FutureRevision { current: self.revision() })
            }
            CommandOp::Compact(to) => {
                self.compact = *to;
                Outcome::Compacted(self.revision())
            }
            CommandOp::LeaseGrant { id, .. } if self.leases.contains_key(id) => {
                Outcome::Failed(Error::LeaseExists)
            }
            CommandOp::LeaseGrant { id, ttl_s } => {
                self.leases.insert(*id, *ttl_s);
                Outcome::Granted(LeaseGrant { revision: self.revision(), id: *id, ttl_s: *ttl_s })
            }
            CommandOp::LeaseRevoke(id) => {
                if self.leases.remove(id).is_none() {
                    return Outcome::Failed(Error::LeaseNotFound);
                }
                let mut state = self.newest().clone();
                state.retain(|_, kv| kv.lease != *id);
                if state.len() != self.newest().len() {
                    self.states.push(state);
                }
                Outcome::Revoked(self.revision())
            }
            other => panic!("not in the reference: {other:?}"),
        }
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let at = if request.revision.0 > 0 { request.revision } else { self.revision() };
        self.readable(at)?;
        Ok(answer(&self.states[at.0 as usize - 1], request, self.revision()))
    }

    fn readable(&self, at: Revision) -> Result<(), Error> {
        if at > self.revision() {
            return Err(Error::FutureRevision { current: self.revision() });
        }
        if at.0 > 0 && at < self.compact {
            return Err(Error::Compacted { compact_revision: self.compact });
        }
        Ok(())
    }

    /// What happened at a revision, by key: the order within a revision is not etcd's promise.
    pub(super) fn events(&self, revision: Revision) -> Vec<Event> {
        let (old, new) = (&self.states[revision.0 as usize - 2], &self.states[revision.0 as usize - 1]);
        let mut events = Vec::new();
        for (key, kv) in new {
            if old.get(key) != Some(kv) {
                events.push(Event { kind: EventKind::Put, kv: kv.clone(), prev_kv: old.get(key).cloned() });
            }
        }
        for (key, kv) in old {
            if !new.contains_key(key) {
                let gone = KeyValue { key: key.clone(), mod_revision: revision, ..Default::default() };
                events.push(Event { kind: EventKind::Delete, kv: gone, prev_kv: Some(kv.clone()) });
            }
        }
        events.sort_by(|a, b| a.kv.key.cmp(&b.kv.key));
        events
    }

    fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, Error> {
        txn.check()?;
        let before = self.newest().clone();
        self.check_chosen(&before, txn)?;
        let revision = Revision(self.revision().0 + 1);
        let mut state = before.clone();
        let mut changed = false;
        let mut response = self.execute(&before, &mut state, &mut changed, txn, revision);
        if changed {
            self.states.push(state);
        }
        stamp(&mut response, self.revision());
        Ok(response)
    }

    fn check_chosen(&self, before: &Map, txn: &TxnRequest) -> Result<(), Error> {
        for op in chosen(before, txn) {
            match op {
                Op::Range(range) => self.readable(range.revision)?,
                Op::Put(put) => {
                    if (put.ignore_value || put.ignore_lease) && !before.contains_key(&put.key) {
                        return Err(Error::KeyNotFound);
                    }
                    if put.lease.0 != 0 && !self.leases.contains_key(&put.lease) {
                        return Err(Error::LeaseNotFound);
                    }
                }
                Op::Delete(_) => {}
                Op::Txn(nested) => self.check_chosen(before, nested)?,
            }
        }
        Ok(())
    }

    fn execute(
        &self,
        before: &Map,
        state: &mut Map,
        changed: &mut bool,
        txn: &TxnRequest,
        revision: Revision,
    ) -> TxnResponse {
        let mut responses = Vec::new();
        for op in chosen(before, txn) {
            responses.push(match op {
                Op::Range(range) => {
                    let current = if *changed { revision } else { Revision(revision.0 - 1) };
                    let past = range.revision.0 > 0;
                    let map = if past { &self.states[range.revision.0 as usize - 1] } else { &*state };
                    OpResponse::Range(answer(map, range, current))
                }
                Op::Put(put) => {
                    *changed = true;
                    let old = state.get(&put.key).cloned();
                    let kept = old.clone().unwrap_or_default();
                    let kv = KeyValue {
                        key: put.key.clone(),
                        create_revision: if old.is_some() { kept.create_revision } else { revision },
                        mod_revision: revision,
                        version: kept.version + 1,
                        value: if put.ignore_value { kept.value } else { put.value.clone() },
                        lease: if put.ignore_lease { kept.lease } else { put.lease },
                    };
                    state.insert(put.key.clone(), kv);
                    OpResponse::Put { prev_kv: old.filter(|_| put.prev_kv) }
                }
                Op::Delete(delete) => {
                    let prev_kvs: Vec<_> =
                        state.values().filter(|kv| delete.range.contains(&kv.key)).cloned().collect();
                    *changed |= !prev_kvs.is_empty();
                    state.retain(|key, _| !delete.range.contains(key));
                    let deleted = prev_kvs.len() as i64;
                    OpResponse::Delete { deleted, prev_kvs: if delete.prev_kv { prev_kvs } else { vec![] } }
                }
                Op::Txn(nested) => OpResponse::Txn(self.execute(before, state, changed, nested, revision)),
            });
        }
        TxnResponse { revision: Revision(0), succeeded: succeeds(before, txn), responses }
    }
}

fn stamp(response: &mut TxnResponse, revision: Revision) {
    response.revision = revision;
    for response in &mut response.responses {
        if let OpResponse::Txn(nested) = response {
            stamp(nested, revision);
        }
    }
}

fn succeeds(before: &Map, txn: &TxnRequest) -> bool {
    txn.compare.iter().all(|compare| {
        let keys: Vec<_> = before.values().filter(|kv| compare.range.contains(&kv.key)).cloned().collect();
        if keys.is_empty() {
            let value = matches!(compare.target, CompareTarget::Value(_));
            return !value && compares(compare, &KeyValue::default());
        }
        keys.iter().all(|kv| compares(compare, kv))
    })
}

fn compares(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(n) => kv.version.cmp(n),
        CompareTarget::Create(n) => kv.create_revision.cmp(n),
        CompareTarget::Mod(n) => kv.mod_revision.cmp(n),
        CompareTarget::Value(v) => kv.value.cmp(v),
        CompareTarget::Lease(n) => kv.lease.cmp(n),
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
    }
}

fn chosen<'t>(before: &Map, txn: &'t TxnRequest) -> &'t [Op] {
    if succeeds(before, txn) { &txn.success } else { &txn.failure }
}

fn answer(map: &Map, request: &RangeRequest, revision: Revision) -> RangeResponse {
    let mut kvs: Vec<KeyValue> = map.values().filter(|kv| request.range.contains(&kv.key)).cloned().collect();
    let count = kvs.len() as i64;
    if request.count_only {
        return RangeResponse { revision, kvs: Vec::new(), more: false, count };
    }
    let zero = Revision(0);
    kvs.retain(|kv| {
        (request.min_mod_revision == zero || kv.mod_revision >= request.min_mod_revision)
            && (request.max_mod_revision == zero || kv.mod_revision <= request.max_mod_revision)
            && (request.min_create_revision == zero || kv.create_revision >= request.min_create_revision)
            && (request.max_create_revision == zero || kv.create_revision <= request.max_create_revision)
    });
    match request.sort_target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
    }
    if request.sort_order == SortOrder::Descend {
        // Equal ones keep the order of keys.
        kvs.reverse();
        kvs.sort_by(|a, b| match request.sort_target {
            SortTarget::Key => b.key.cmp(&a.key),
            SortTarget::Version => b.version.cmp(&a.version).then(a.key.cmp(&b.key)),
            SortTarget::Create => b.create_revision.cmp(&a.create_revision).then(a.key.cmp(&b.key)),
            SortTarget::Mod => b.mod_revision.cmp(&a.mod_revision).then(a.key.cmp(&b.key)),
            SortTarget::Value => b.value.cmp(&a.value).then(a.key.cmp(&b.key)),
        });
    }
    let limit = if request.limit > 0 { request.limit as usize } else { usize::MAX };
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResponse { revision, kvs, more, count }
}

fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&'static [u8]; 8] = [b"a", b"ab", b"a\0", b"a\0b", b"b", b"\0", b"b\xff", b"\xff"];
    proptest::sample::select(keys.to_vec()).prop_map(Bytes::from_static)
}

fn value() -> impl Strategy<Value = Bytes> {
    proptest::sample::select(vec!["", "x", "y", "zz"]).prop_map(|v| Bytes::from_static(v.as_bytes()))
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (1i64..4).prop_map(LeaseId)
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => key().prop_map(KeyRange::key),
        2 => key().prop_map(KeyRange::prefix),
        2 => (key(), key()).prop_map(|(start, end)| KeyRange { start, end }),
        1 => Just(KeyRange::prefix("")),
    ]
}

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![3 => Just(Revision(0)), 2 => (1i64..30).prop_map(Revision)]
}

pub(super) fn range_request() -> impl Strategy<Value = RangeRequest> {
    let order = proptest::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = proptest::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let flags = (any::<bool>(), proptest::bool::weighted(0.2));
    let bounds = proptest::array::uniform4(prop_oneof![6 => Just(Revision(0)), 1 => revision()]);
    (key_range(), 0i64..4, revision(), order, target, flags, bounds).prop_map(
        |(range, limit, revision, sort_order, sort_target, (keys_only, count_only), bounds)| RangeRequest {
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only,
            count_only,
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
            ..RangeRequest::new(range)
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let result = proptest::sample::select(vec![
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ]);
    let target = prop_oneof![
        (0i64..4).prop_map(CompareTarget::Version),
        revision().prop_map(CompareTarget::Create),
        revision().prop_map(CompareTarget::Mod),
        value().prop_map(CompareTarget::Value),
        (0i64..4).prop_map(|id| CompareTarget::Lease(LeaseId(id))),
    ];
    (key_range(), result, target).prop_map(|(range, result, target)| Compare { range, result, target })
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![3 => Just(LeaseId(0)), 1 => lease()];
    let rare = || proptest::bool::weighted(0.1);
    (key(), value(), lease, any::<bool>(), rare(), rare()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { LeaseId(0) } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        4 => put_request().prop_map(Op::Put),
        2 => (key_range(), any::<bool>())
            .prop_map(|(range, prev_kv)| Op::Delete(DeleteRequest { range, prev_kv })),
        2 => range_request().prop_map(Op::Range),
    ];
    let op = leaf.prop_recursive(2, 6, 2, |inner| {
        let ops = || proptest::collection::vec(inner.clone(), 0..3);
        let compares = proptest::collection::vec(compare(), 0..2);
        (compares, ops(), ops()).prop_map(|(compare, success, failure)| {
            Op::Txn(TxnRequest { compare, success, failure, ..Default::default() })
        })
    });
    let ops = || proptest::collection::vec(op.clone(), 0..4);
    (proptest::collection::vec(compare(), 0..3), ops(), ops()).prop_map(|(compare, success, failure)| {
        TxnRequest { compare, success, failure, ..Default::default() }
    })
}

pub(super) fn command() -> impl Strategy<Value = CommandOp> {
    prop_oneof![
        8 => put_request().prop_map(|put| CommandOp::Txn(TxnRequest {
            success: vec![Op::Put(put)],
            ..Default::default()
        })),
        10 => txn().prop_map(CommandOp::Txn),
        1 => (1i64..30).prop_map(|n| CommandOp::Compact(Revision(n))),
        2 => (lease(), 1i64..100).prop_map(|(id, ttl_s)| CommandOp::LeaseGrant { id, ttl_s }),
        1 => lease().prop_map(CommandOp::LeaseRevoke),
    ]
}
