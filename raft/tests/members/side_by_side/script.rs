//! The script: calls as data, in order, each with a name of its own. Both servers start empty, at
//! revision 1, and every revision in an answer is compared.

use super::play::{Say, Step};
use crate::pb::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

pub(crate) type Script = Vec<(String, Step)>;

/// Leases that the script grants, all for so long that none ends meanwhile.
const LEASE_A: i64 = 77;
const LEASE_B: i64 = 78;
const TTL_S: i64 = 10_000;

pub(crate) fn script() -> Script {
    let mut script = Script::new();
    for part in [puts, ranges, orders, deletes, compares, txns, leases, limits, compaction, watches, others] {
        script.extend(part());
    }
    let mut names: Vec<_> = script.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "every step has a name of its own");
    script
}

/// The prefix's end, for keys that end in an ordinary byte.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    end
}

fn steps<const N: usize>(steps: [(&str, Step); N]) -> Script {
    steps.into_iter().map(|(name, step)| (name.to_owned(), step)).collect()
}

pub(crate) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

pub(crate) fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

pub(crate) fn prefix(prefix: &str) -> pb::RangeRequest {
    pb::RangeRequest { range_end: prefix_end(prefix).into(), ..get(prefix) }
}

pub(crate) fn delete(key: &str, end: &[u8]) -> pb::DeleteRangeRequest {
    let (key, range_end) = (key.to_owned().into(), end.to_vec().into());
    pb::DeleteRangeRequest { key, range_end, ..Default::default() }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn puts() -> Script {
    use Step::Put;
    steps([
        ("a first put", Put(put("a", "1"))),
        ("a second put, with what was before", Put(pb::PutRequest { prev_kv: true, ..put("a", "2") })),
        ("a put of a new key, with nothing before", Put(pb::PutRequest { prev_kv: true, ..put("b", "1") })),
        ("a put of no key", Put(put("", "v"))),
        ("a put of no value", Put(put("empty", ""))),
        (
            "a put that keeps a value and gives one",
            Put(pb::PutRequest { ignore_value: true, ..put("a", "v") }),
        ),
        (
            "a put that keeps a lease and gives one",
            Put(pb::PutRequest { ignore_lease: true, lease: LEASE_A, ..put("a", "v") }),
        ),
        (
            "a put that keeps the value of no key",
            Put(pb::PutRequest { ignore_value: true, ..put("missing", "") }),
        ),
        (
            "a put that keeps the lease of no key",
            Put(pb::PutRequest { ignore_lease: true, ..put("missing", "v") }),
        ),
        ("a put that keeps the value", Put(pb::PutRequest { ignore_value: true, ..put("a", "") })),
        ("a put with an unknown lease", Put(pb::PutRequest { lease: 4711, ..put("a", "3") })),
        (
            "a put of bytes that are no text",
            Put(pb::PutRequest {
                key: vec![0, 0xff, 0, 1].into(),
                value: vec![0xff; 3].into(),
                ..Default::default()
            }),
        ),
        ("a put of a zero byte", Put(pb::PutRequest { key: vec![0].into(), ..put("", "zero") })),
        ("a put of the highest bytes", Put(pb::PutRequest { key: vec![0xff; 4].into(), ..put("", "high") })),
        ("k1", Put(put("k1", "v5"))),
        ("k2", Put(put("k2", "v3"))),
        ("k3", Put(put("k3", "v4"))),
        ("k4", Put(put("k4", "v1"))),
        ("k5", Put(put("k5", "v2"))),
        ("k2 again", Put(put("k2", "v3"))),
        ("k4 again", Put(put("k4", "v1"))),
        ("k4 a third time", Put(put("k4", "v1"))),
    ])
}

fn ranges() -> Script {
    use Step::Range;
    let all = || pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    let mut script = steps([
        ("a range of one key", Range(get("a"))),
        ("a range of no key", Range(get(""))),
        ("a range of no key to an end", Range(pb::RangeRequest { range_end: "b".into(), ..get("") })),
        ("a range of a missing key", Range(get("missing"))),
        ("a prefix", Range(prefix("k"))),
        ("an empty prefix", Range(prefix("nothing"))),
        ("everything", Range(all())),
        ("from a key on", Range(pb::RangeRequest { range_end: vec![0].into(), ..get("k4") })),
        ("an end before the start", Range(pb::RangeRequest { range_end: "a".into(), ..get("k") })),
        ("an end at the start", Range(pb::RangeRequest { range_end: "k".into(), ..get("k") })),
        ("serializable", Range(pb::RangeRequest { serializable: true, ..prefix("k") })),
        ("keys only", Range(pb::RangeRequest { keys_only: true, ..prefix("k") })),
        ("count only", Range(pb::RangeRequest { count_only: true, ..prefix("k") })),
        ("count only of one key", Range(pb::RangeRequest { count_only: true, ..get("k1") })),
        ("count only with a limit", Range(pb::RangeRequest { count_only: true, limit: 2, ..prefix("k") })),
        ("at a past revision", Range(pb::RangeRequest { revision: 3, ..get("a") })),
        ("a prefix at a past revision", Range(pb::RangeRequest { revision: 12, ..prefix("k") })),
        ("before a key was made", Range(pb::RangeRequest { revision: 2, ..get("b") })),
        ("at the first revision", Range(pb::RangeRequest { revision: 1, ..all() })),
        ("at a negative revision", Range(pb::RangeRequest { revision: -3, ..get("a") })),
        ("at a future revision", Range(pb::RangeRequest { revision: 9999, ..get("a") })),
        (
            "at a future revision, serializable",
            Range(pb::RangeRequest { revision: 9999, serializable: true, ..get("a") }),
        ),
        (
            "a target without an order, limited",
            Range(pb::RangeRequest { sort_target: SortTarget::Value as i32, limit: 2, ..prefix("k") }),
        ),
        ("an unknown order", Range(pb::RangeRequest { sort_order: 7, ..prefix("k") })),
    ]);
    for limit in [-5, 1, 3, 5, 6] {
        script.push((format!("limit {limit}"), Range(pb::RangeRequest { limit, ..prefix("k") })));
    }
    for (low, high) in [(0, 0), (14, 0), (0, 14), (12, 15), (15, 12), (-4, 0), (0, -4)] {
        for limit in [0, 1] {
            script.push((
                format!("changed from {low} to {high}, limit {limit}"),
                Range(pb::RangeRequest {
                    min_mod_revision: low,
                    max_mod_revision: high,
                    limit,
                    ..prefix("k")
                }),
            ));
            script.push((
                format!("made from {low} to {high}, limit {limit}"),
                Range(pb::RangeRequest {
                    min_create_revision: low,
                    max_create_revision: high,
                    limit,
                    ..prefix("k")
                }),
            ));
        }
    }
    script
}

fn orders() -> Script {
    let mut script = Script::new();
    for target in
        [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value]
    {
        for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
            for (limit, keys_only) in [(0, false), (2, false), (2, true)] {
                // etcd sorts too little of those.
                if limit > 0 && order == SortOrder::None && target != SortTarget::Key {
                    continue;
                }
                let request = pb::RangeRequest {
                    sort_target: target as i32,
                    sort_order: order as i32,
                    limit,
                    keys_only,
                    ..prefix("k")
                };
                let name = format!("by {target:?} {order:?}, limit {limit}, keys only {keys_only}");
                script.push((name, Step::Range(request)));
            }
        }
    }
    script
}

fn deletes() -> Script {
    use Step::{Delete, Put, Range};
    steps([
        ("d1", Put(put("d1", "1"))),
        ("d2", Put(put("d2", "2"))),
        ("d3", Put(put("d3", "3"))),
        ("d4", Put(put("d4", "4"))),
        ("a deletion of no key", Delete(delete("", b""))),
        ("a deletion of a missing key", Delete(delete("missing", b""))),
        ("a deletion", Delete(delete("d1", b""))),
        ("a deletion again", Delete(delete("d1", b""))),
        (
            "a deletion with what was before",
            Delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("d2", b"") }),
        ),
        ("a deletion to an end before the start", Delete(delete("d9", b"d1"))),
        (
            "a deletion of a prefix with what was before",
            Delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("d", b"e") }),
        ),
        ("a deleted key made again", Put(put("d1", "again"))),
        ("it counts from one again", Range(get("d1"))),
        ("a deletion from a key on", Delete(delete("\u{7f}", &[0]))),
    ])
}

fn compares() -> Script {
    let mut script = Script::new();
    let unions = [
        (CompareTarget::Version, TargetUnion::Version(1)),
        (CompareTarget::Version, TargetUnion::Version(0)),
        (CompareTarget::Create, TargetUnion::CreateRevision(10)),
        (CompareTarget::Create, TargetUnion::CreateRevision(0)),
        (CompareTarget::Mod, TargetUnion::ModRevision(14)),
        (CompareTarget::Mod, TargetUnion::ModRevision(0)),
        (CompareTarget::Value, TargetUnion::Value("v3".into())),
        (CompareTarget::Value, TargetUnion::Value("".into())),
        (CompareTarget::Lease, TargetUnion::Lease(0)),
        (CompareTarget::Lease, TargetUnion::Lease(LEASE_A)),
        // Of another target: read as zero.
        (CompareTarget::Version, TargetUnion::ModRevision(1)),
    ];
    let results =
        [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
    for (target, union) in unions {
        for result in results {
            for (key, end) in [("k2", ""), ("missing", ""), ("k", "l"), ("n", "o")] {
                let compare = pb::Compare {
                    result: result as i32,
                    target: target as i32,
                    key: key.into(),
                    range_end: end.into(),
                    target_union: Some(union.clone()),
                };
                let name = format!("{key:?} to {end:?}: {target:?} {result:?} {union:?}");
                let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
                script.push((name, Step::Txn(txn)));
            }
        }
    }
    for (name, target, result) in
        [("nothing to compare with", CompareTarget::Mod as i32, 0), ("an unknown target of a compare", 9, 0)]
    {
        let compare = pb::Compare { result, target, key: "k2".into(), ..Default::default() };
        let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
        script.push((name.to_owned(), Step::Txn(txn)));
    }
    let compare = pb::Compare { result: 9, key: "k2".into(), ..Default::default() };
    let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
    script.push(("an unknown result of a compare".to_owned(), Step::Txn(txn)));
    script
}

fn exists(key: &str) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        key: key.to_owned().into(),
        range_end: Default::default(),
        target_union: Some(TargetUnion::Version(0)),
    }
}

pub(crate) fn txn(compare: Vec<pb::Compare>, success: Vec<Request>, failure: Vec<Request>) -> pb::TxnRequest {
    pb::TxnRequest {
        compare,
        success: success.into_iter().map(op).collect(),
        failure: failure.into_iter().map(op).collect(),
    }
}

fn txns() -> Script {
    use Request::{RequestDeleteRange as Del, RequestPut as Put, RequestRange as Get, RequestTxn as Nested};
    let one = |requests| Step::Txn(txn(vec![], requests, vec![]));
    let mut script = steps([
        ("an empty transaction", one(vec![])),
        (
            "one that reads what it writes",
            one(vec![
                Get(get("t")),
                Put(put("t", "1")),
                Get(get("t")),
                Del(delete("a", b"")),
                Get(prefix("a")),
            ]),
        ),
        ("one that deletes nothing, then writes", one(vec![Del(delete("no", b"")), Put(put("t", "2"))])),
        ("one that only reads", one(vec![Get(get("t")), Get(prefix("k"))])),
        ("one that only deletes nothing", one(vec![Del(delete("no", b""))])),
        (
            "the branch of success",
            Step::Txn(txn(vec![exists("t")], vec![Put(put("t", "3"))], vec![Put(put("t", "4"))])),
        ),
        (
            "the branch of failure",
            Step::Txn(txn(vec![exists("no")], vec![Put(put("t", "5"))], vec![Put(put("t", "6"))])),
        ),
        (
            "two compares of which one fails",
            Step::Txn(txn(vec![exists("t"), exists("no")], vec![Put(put("t", "7"))], vec![Get(get("t"))])),
        ),
        (
            "nested ones",
            one(vec![
                Put(put("n1", "1")),
                Nested(txn(
                    vec![exists("n1")],
                    vec![Put(put("n2", "1"))],
                    vec![
                        Put(put("n3", "1")),
                        Nested(txn(vec![exists("t")], vec![Put(put("n4", "1")), Get(prefix("n"))], vec![])),
                    ],
                )),
                Get(prefix("n")),
            ]),
        ),
        ("a nested one that changes nothing", one(vec![Nested(txn(vec![], vec![Get(get("t"))], vec![]))])),
        ("a key put twice", one(vec![Put(put("x", "1")), Put(put("x", "2"))])),
        (
            "a key put twice in the other branch",
            Step::Txn(txn(vec![], vec![], vec![Put(put("x", "1")), Put(put("x", "2"))])),
        ),
        ("a key put and deleted", one(vec![Put(put("x", "1")), Del(delete("x", b""))])),
        ("a key deleted and put", one(vec![Del(delete("x", b"")), Put(put("x", "1"))])),
        ("a key put and deleted with a range", one(vec![Put(put("x", "1")), Del(delete("w", b"y"))])),
        ("a key at the end of what is deleted", one(vec![Put(put("y", "1")), Del(delete("w", b"y"))])),
        ("a key deleted twice", one(vec![Del(delete("n1", b"")), Del(delete("n", b"o"))])),
        (
            "a key put inside and outside",
            one(vec![Put(put("x", "1")), Nested(txn(vec![], vec![Put(put("x", "2"))], vec![]))]),
        ),
        (
            "a key put in both branches inside",
            one(vec![Nested(txn(vec![], vec![Put(put("x", "2"))], vec![Put(put("x", "3"))]))]),
        ),
        (
            "a key put in two nested ones",
            one(vec![
                Nested(txn(vec![], vec![Put(put("x", "2"))], vec![])),
                Nested(txn(vec![], vec![], vec![Put(put("x", "3"))])),
            ]),
        ),
        ("an operation on no key", one(vec![Put(put("ok", "1")), Put(put("", "1"))])),
        ("a range of no key in one", one(vec![Get(get(""))])),
        ("a deletion of no key in one", one(vec![Del(delete("", b""))])),
        ("a compare of no key", Step::Txn(txn(vec![exists("")], vec![], vec![]))),
        (
            "a read at a future revision in one",
            one(vec![Put(put("ok", "2")), Get(pb::RangeRequest { revision: 9999, ..get("t") })]),
        ),
        ("what a refused one wrote", Step::Range(prefix("ok"))),
        (
            "a read at a past revision in one",
            one(vec![Put(put("ok", "3")), Get(pb::RangeRequest { revision: 12, ..prefix("k") })]),
        ),
        (
            "a put with an unknown lease in one",
            one(vec![Put(put("ok", "4")), Put(pb::PutRequest { lease: 4711, ..put("t", "8") })]),
        ),
        (
            "a put that keeps the value of a key made before it in one",
            one(vec![
                Put(put("fresh", "1")),
                Nested(txn(
                    vec![],
                    vec![Put(pb::PutRequest { ignore_value: true, ..put("no", "") })],
                    vec![],
                )),
            ]),
        ),
        (
            "contradictory flags in one",
            one(vec![Put(pb::PutRequest { ignore_value: true, ..put("t", "v") })]),
        ),
        (
            "what was before, in one",
            one(vec![
                Put(pb::PutRequest { prev_kv: true, ..put("t", "9") }),
                Del(pb::DeleteRangeRequest { prev_kv: true, ..delete("n", b"o") }),
            ]),
        ),
    ]);
    let nothing = pb::RequestOp { request: None };
    script.push((
        "an operation of no kind".to_owned(),
        Step::Txn(pb::TxnRequest { success: vec![nothing], ..Default::default() }),
    ));
    script
}

fn leases() -> Script {
    use Step::{Delete, Grant, KeepAlive, Leases, Put, Range, Revoke, TimeToLive};
    let grant = |id, ttl| Grant(pb::LeaseGrantRequest { id, ttl });
    let left = |id, keys| TimeToLive(pb::LeaseTimeToLiveRequest { id, keys });
    let leased = |key, value, lease| Put(pb::PutRequest { lease, ..put(key, value) });
    steps([
        ("no leases", Leases),
        ("a lease", grant(LEASE_A, TTL_S)),
        ("another lease", grant(LEASE_B, 2 * TTL_S)),
        ("a lease that exists", grant(LEASE_A, 5)),
        ("a lease of a negative id", grant(-9, TTL_S)),
        ("a lease of no time", grant(90, 0)),
        ("a lease of negative time", grant(91, -7)),
        ("a lease of too much time", grant(92, 9_000_000_001)),
        ("a lease of the most time", grant(93, 9_000_000_000)),
        ("the end of the one of negative id", Revoke(-9)),
        ("the end of the one of no time", Revoke(90)),
        ("the end of the one of negative time", Revoke(91)),
        ("the end of the longest", Revoke(93)),
        ("the end of an unknown one", Revoke(4711)),
        ("the end of none", Revoke(0)),
        ("a key with a lease", leased("l1", "1", LEASE_A)),
        ("a second key with it", leased("l2", "1", LEASE_A)),
        ("a third key with it", leased("l3", "1", LEASE_A)),
        ("a fourth key with it", leased("l4", "1", LEASE_A)),
        ("its keys", left(LEASE_A, true)),
        ("its time", left(LEASE_A, false)),
        ("an unknown one's time", left(4711, true)),
        ("the lease moves", leased("l2", "2", LEASE_B)),
        ("the lease is taken away", Put(put("l3", "2"))),
        ("the lease is kept", Put(pb::PutRequest { ignore_lease: true, ..put("l1", "2") })),
        ("the key is deleted", Delete(delete("l4", b""))),
        ("its keys then", left(LEASE_A, true)),
        ("the other's keys", left(LEASE_B, true)),
        ("the keys themselves", Range(prefix("l"))),
        ("all leases", Leases),
        ("keepalives", KeepAlive(vec![LEASE_A, 4711, LEASE_B, 0])),
        ("a fifth key with it", leased("l5", "1", LEASE_A)),
        ("the end of a lease", Revoke(LEASE_A)),
        ("the end of a lease again", Revoke(LEASE_A)),
        ("its keys are gone", Range(prefix("l"))),
        ("its time then", left(LEASE_A, true)),
        ("a lease of that id again", grant(LEASE_A, TTL_S)),
        ("it has no keys", left(LEASE_A, true)),
    ])
}

fn limits() -> Script {
    let many =
        |n: usize| (0..n).map(|i| Request::RequestPut(put(&format!("m{i:03}"), "v"))).collect::<Vec<_>>();
    let one = |requests| Step::Txn(txn(vec![], requests, vec![]));
    let nested = |requests| Request::RequestTxn(txn(vec![], requests, vec![]));
    let large = |bytes: usize| pb::PutRequest { value: vec![b'x'; bytes].into(), ..put("large", "") };
    steps([
        ("as many operations as may be", one(many(128))),
        ("one operation too many", one(many(129))),
        ("too many in the branch that is not taken", Step::Txn(txn(vec![], vec![], many(129)))),
        ("too many compares", Step::Txn(txn(vec![exists("a"); 129], vec![], vec![]))),
        ("as many nested as may be", one(vec![nested(many(127))])),
        ("one nested too many", one(vec![nested(many(128))])),
        ("a large value", Step::Put(large(1_500_000))),
        ("too large a value", Step::Put(large(1_600_000))),
        (
            "too large a transaction",
            one(vec![
                Request::RequestPut(pb::PutRequest { key: "large2".into(), ..large(800_000) }),
                Request::RequestPut(pb::PutRequest { key: "large3".into(), ..large(800_000) }),
            ]),
        ),
        ("the large value", Step::Range(get("large"))),
    ])
}

fn compaction() -> Script {
    let compact = |revision, physical| Step::Compact(pb::CompactionRequest { revision, physical });
    let at = |revision, request: pb::RangeRequest| Step::Range(pb::RangeRequest { revision, ..request });
    steps([
        ("a hash of the history", Step::HashKv(20)),
        ("a hash at a future revision", Step::HashKv(9999)),
        ("compaction to the future", compact(9999, false)),
        ("compaction to a negative revision", compact(-1, false)),
        ("compaction", compact(25, true)),
        ("compaction to the same", compact(25, false)),
        ("compaction backwards", compact(10, false)),
        ("compaction to zero", compact(0, false)),
        ("below what is compacted", at(24, prefix("k"))),
        ("below it, one key", at(24, get("k1"))),
        ("below it, a missing key", at(24, get("missing"))),
        (
            "below it, serializable",
            Step::Range(pb::RangeRequest { serializable: true, revision: 3, ..get("a") }),
        ),
        ("at it", at(25, prefix("k"))),
        ("at it, a key deleted before", at(25, get("d2"))),
        (
            "below it, in a transaction",
            Step::Txn(txn(
                vec![],
                vec![Request::RequestRange(pb::RangeRequest { revision: 5, ..get("k1") })],
                vec![],
            )),
        ),
        ("a hash below it", Step::HashKv(24)),
        ("a hash at it", Step::HashKv(25)),
        ("a hash of all", Step::HashKv(0)),
    ])
}

fn create(key: &str, end: &[u8]) -> pb::WatchCreateRequest {
    let (key, range_end) = (key.to_owned().into(), end.to_vec().into());
    pb::WatchCreateRequest { key, range_end, ..Default::default() }
}

fn watches() -> Script {
    use RequestUnion::{CancelRequest, CreateRequest, ProgressRequest};
    use Say::{Call, Send, Take};
    let make = |request: pb::WatchCreateRequest| Send(CreateRequest(request));
    let cancel = |watch_id| Send(CancelRequest(pb::WatchCancelRequest { watch_id }));
    let progress = || Send(ProgressRequest(pb::WatchProgressRequest {}));
    let call = |step| Call(Box::new(step));
    let write = |key: &str, value: &str| Call(Box::new(Step::Put(put(key, value))));
    let from = |revision, key: &str, end: &[u8]| pb::WatchCreateRequest {
        start_revision: revision,
        ..create(key, end)
    };
    let id = |watch_id, request: pb::WatchCreateRequest| pb::WatchCreateRequest { watch_id, ..request };
    let only = |filters: &[FilterType], request: pb::WatchCreateRequest| pb::WatchCreateRequest {
        filters: filters.iter().map(|filter| *filter as i32).collect(),
        prev_kv: true,
        ..request
    };
    let twice = || vec![write("w1", "1"), write("w1", "2"), call(Step::Delete(delete("w1", b"")))];
    let with = |mut says: Vec<Say>, more: Vec<Say>, last: Say| {
        says.extend(more);
        says.push(last);
        Step::Watch(says)
    };
    let big =
        |key: &str| Request::RequestPut(pb::PutRequest { value: vec![b'x'; 250_000].into(), ..put(key, "") });
    steps([
        ("events from now on", with(vec![make(create("w1", b"")), Take(1)], twice(), Take(3))),
        (
            "events with what was before",
            with(
                vec![make(pb::WatchCreateRequest { prev_kv: true, ..create("w", b"x") }), Take(1)],
                twice(),
                Take(3),
            ),
        ),
        (
            "no puts, no deletions, neither",
            with(
                vec![
                    make(only(&[FilterType::Noput], create("w", b"x"))),
                    make(only(&[FilterType::Nodelete], create("w", b"x"))),
                    make(only(&[FilterType::Noput, FilterType::Nodelete], create("w", b"x"))),
                    Take(3),
                ],
                twice(),
                Take(3),
            ),
        ),
        ("the past", Step::Watch(vec![make(from(26, "k", b"l")), Take(1), write("k9", "1"), Take(1)])),
        ("all of the past", Step::Watch(vec![make(from(30, "\0", &[0])), Take(60)])),
        ("no key at all means all", Step::Watch(vec![make(from(40, "", &[0])), Take(60)])),
        (
            "from the future on",
            Step::Watch(vec![make(from(9999, "w", b"x")), Take(1), write("w1", "3"), progress(), Take(1)]),
        ),
        ("what is compacted", Step::Watch(vec![make(from(3, "k", b"l")), Take(2)])),
        ("at the compacted revision", Step::Watch(vec![make(from(25, "d", b"e")), Take(2)])),
        ("from a negative revision", Step::Watch(vec![make(from(-1, "k", b"l")), Take(1)])),
        ("an empty range", Step::Watch(vec![make(create("x", b"w")), Take(1)])),
        ("a range of no length", Step::Watch(vec![make(create("x", b"x")), Take(1)])),
        (
            "ids that the client chooses",
            Step::Watch(vec![
                make(id(5, create("w1", b""))),
                Take(1),
                make(id(5, create("w2", b""))),
                Take(1),
                make(create("w1", b"")),
                make(create("w1", b"")),
                make(id(1, create("w1", b""))),
                make(id(-7, create("w1", b""))),
                Take(4),
                write("w1", "4"),
                Take(4),
                cancel(5),
                Take(1),
                make(id(5, create("w2", b""))),
                Take(1),
                write("w2", "1"),
                Take(1),
            ]),
        ),
        (
            "an id that steps over one chosen",
            Step::Watch(vec![
                make(id(1, create("w1", b""))),
                make(create("w1", b"")),
                make(create("w1", b"")),
                Take(3),
                write("w1", "5"),
                Take(3),
            ]),
        ),
        (
            "the end of a watch",
            Step::Watch(vec![
                make(create("w1", b"")),
                make(create("w2", b"")),
                Take(2),
                cancel(0),
                Take(1),
                cancel(0),
                cancel(17),
                write("w1", "6"),
                write("w2", "6"),
                Take(1),
            ]),
        ),
        (
            "progress on request",
            Step::Watch(vec![
                make(create("w1", b"")),
                make(create("w2", b"")),
                Take(2),
                progress(),
                Take(1),
                write("elsewhere", "1"),
                write("w1", "7"),
                Take(1),
                progress(),
                Take(1),
            ]),
        ),
        (
            "a transaction is one revision",
            Step::Watch(vec![
                make(create("w", b"x")),
                Take(1),
                call(Step::Txn(txn(
                    vec![],
                    vec![
                        Request::RequestPut(put("w3", "1")),
                        Request::RequestPut(put("w0", "1")),
                        Request::RequestDeleteRange(delete("w1", b"w3")),
                    ],
                    vec![],
                ))),
                Take(4),
            ]),
        ),
        (
            "the end of a lease is one revision",
            Step::Watch(vec![
                make(pb::WatchCreateRequest { prev_kv: true, ..create("z", b"zz") }),
                Take(1),
                call(Step::Put(pb::PutRequest { lease: LEASE_A, ..put("z2", "1") })),
                call(Step::Put(pb::PutRequest { lease: LEASE_A, ..put("z1", "1") })),
                call(Step::Revoke(LEASE_A)),
                Take(4),
            ]),
        ),
        (
            "a large revision in parts",
            Step::Watch(vec![
                make(pb::WatchCreateRequest { fragment: true, ..create("f", b"g") }),
                make(create("f", b"g")),
                Take(2),
                call(Step::Txn(txn(vec![], (0..5).map(|i| big(&format!("f{i}"))).collect(), vec![]))),
                call(Step::Txn(txn(vec![], (0..5).map(|i| big(&format!("f{i}"))).collect(), vec![]))),
                Take(20),
                call(Step::Delete(delete("f", b"g"))),
                Take(10),
                make(pb::WatchCreateRequest { fragment: true, prev_kv: true, ..create("f", b"g") }),
                Take(1),
            ]),
        ),
    ])
}

fn others() -> Script {
    let alarm = |action, alarm| Step::Alarm(pb::AlarmRequest { action, alarm, ..Default::default() });
    steps([
        ("alarms", alarm(0, 0)),
        ("alarms for want of space", alarm(0, 1)),
        ("an alarm that is not raised is cleared", alarm(2, 1)),
        ("defragmentation", Step::Defragment),
        ("leadership to nobody", Step::MoveLeader(4711)),
        ("whether users are kept", Step::AuthStatus),
        ("a user's token", Step::Authenticate),
        ("the users", Step::UserList),
        ("the roles", Step::RoleList),
        ("a user without a name", Step::UserAdd),
        ("users are wanted", Step::AuthEnable),
    ])
}
