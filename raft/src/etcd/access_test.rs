use trireme_store::{Compare, DeleteRequest, RangeRequest, Revision};

use super::*;

fn grant(prefix: &'static str, write: bool) -> Grant {
    Grant { prefix: prefix.into(), write }
}

fn limited(grants: &[Grant]) -> Access {
    Access(Some(Arc::new(Limits { grants: grants.to_vec(), tag: lease_tag("name") })))
}

fn range(start: &'static str, end: &'static [u8]) -> KeyRange {
    KeyRange { start: start.into(), end: Bytes::from_static(end) }
}

#[test]
fn a_grant_survives_the_certificate() {
    let odd = Bytes::from_static(&[0, b'a', b'&', b'=', b'%', b' ', 0xff]);
    for grant in [
        grant("/registry/", true),
        grant("/registry/", false),
        grant("", false),
        grant("", true),
        Grant { prefix: odd, write: true },
    ] {
        assert_eq!(Grant::parse(&grant.to_uri()), Some(grant.clone()), "{}", grant.to_uri());
        assert!(grant.to_uri().is_ascii());
    }
    assert_eq!(grant("/a/", false).to_uri(), "trireme:store?prefix=/a/&access=read");
    assert_eq!(Grant::parse("trireme:store?prefix=/a/"), Some(grant("/a/", true)));
}

#[test]
fn what_is_not_understood_is_no_grant() {
    for uri in [
        "trireme:store",
        "trireme:store?",
        "trireme:store?prefix",
        "trireme:store?prefix=",
        "trireme:store?prefix=/a/&prefix=/b/",
        "trireme:store?prefix=/a/&access=all",
        "trireme:store?prefix=/a/&access=read&access=write",
        "trireme:store?prefix=/a/&until=tomorrow",
        "trireme:stores?prefix=/a/",
        "trireme:other",
        "TRIREME:STORE?prefix=/a/",
    ] {
        assert_eq!(Grant::parse(uri), None, "{uri}");
    }
}

#[test]
fn a_range_must_lie_within_one_prefix() {
    let check = |grants: &[Grant], range: KeyRange, expected: bool| {
        assert_eq!(limited(grants).may_read(&range).is_ok(), expected, "{grants:?} {range:?}");
    };
    let a = [grant("a/", true)];
    check(&a, range("a/", b""), true);
    check(&a, range("a/x", b""), true);
    check(&a, range("a", b""), false);
    check(&a, range("b", b""), false);
    check(&a, range("a/", b"a0"), true);
    check(&a, range("a/x", b"a/y"), true);
    check(&a, range("a/x", b"a00"), false);
    check(&a, range("a", b"a0"), false);
    check(&a, range("a/", &[0]), false);
    check(&a, range("\0", &[0]), false);
    let both = [grant("a/", true), grant("a0", true)];
    check(&both, range("a0", b""), true);
    // Side by side is not one prefix.
    check(&both, range("a/", b"a1"), false);
    let last = [Grant { prefix: Bytes::from_static(&[0xff]), write: true }];
    let from_last = KeyRange { start: Bytes::from_static(&[0xff, 1]), end: Bytes::from_static(&[0]) };
    check(&last, from_last, true);
    check(&[grant("", false)], range("\0", &[0]), true);
    check(&[], range("a/", b""), false);
}

#[test]
fn a_transaction_is_looked_at_whole() {
    let access = limited(&[grant("w/", true), grant("r/", false)]);
    let put = |key: &'static str| Op::Put(PutRequest::new(key, "v"));
    let get = |key: &'static str| Op::Range(RangeRequest::new(KeyRange::key(key)));
    let delete = |key: &'static str| Op::Delete(DeleteRequest { range: KeyRange::key(key), prev_kv: false });
    let check = |compare: &[&'static str], success: Vec<Op>, failure: Vec<Op>, expected: bool| {
        let compare = compare.iter().map(|key| Compare::mod_revision(*key, Revision(0))).collect();
        let txn = TxnRequest { compare, success, failure, ..TxnRequest::default() };
        let nested = TxnRequest { failure: vec![Op::Txn(txn.clone())], ..TxnRequest::default() };
        for txn in [txn, nested] {
            assert_eq!(access.may_txn(&txn).is_ok(), expected, "{txn:?}");
            assert!(Access(None).may_txn(&txn).is_ok());
        }
    };
    check(&["w/", "r/"], vec![put("w/"), get("r/")], vec![delete("w/")], true);
    check(&["x"], vec![], vec![], false);
    check(&[], vec![put("r/")], vec![], false);
    check(&[], vec![], vec![put("r/")], false);
    check(&[], vec![delete("r/")], vec![], false);
    check(&[], vec![get("x")], vec![], false);
    let leased = Op::Put(PutRequest { lease: LeaseId(7), ..PutRequest::new("w/", "v") });
    check(&[], vec![leased], vec![], false);
}

#[test]
fn leases_belong_to_a_name() {
    let access = limited(&[grant("w/", true)]);
    let own = access.draw_lease().expect("a limited client's");
    assert!(own.0 > 0);
    assert!(access.may_use_lease(own).is_ok());
    assert!(access.may_use_lease(LeaseId(own.0 ^ 1 << 40)).is_err());
    assert!(access.may_use_lease(LeaseId(-own.0)).is_err());
    assert!(access.may_use_lease(LeaseId(0)).is_err());
    assert!(limited(&[grant("w/", false)]).may_grant_lease().is_err(), "it writes nothing");
    assert!(limited(&[grant("w/", false)]).may_use_lease(own).is_err());
    assert!(Access(None).draw_lease().is_none());
    assert!(Access(None).may_use_lease(LeaseId(7)).is_ok());
}

#[test]
fn what_is_not_named_may_not_be_called() {
    let access = limited(&[grant("", true)]);
    for path in [
        "/etcdserverpb.KV/Compact",
        "/etcdserverpb.Cluster/MemberRemove",
        "/etcdserverpb.Maintenance/HashKV",
        "/etcdserverpb.Maintenance/Snapshot",
        "/etcdserverpb.Maintenance/MoveLeader",
        "/trireme.v1.Store/Propose",
        "/etcdserverpb.KV/Later",
        "",
    ] {
        assert!(!access.may_call(path), "{path}");
        assert!(Access(None).may_call(path), "{path}");
    }
    assert!(access.may_call("/etcdserverpb.KV/Txn"));
    assert!(access.may_call("/grpc.health.v1.Health/Check"));
}

#[test]
fn without_a_certificate_there_is_nothing() {
    let access = Access::of(&Request::new(()));
    assert!(access.may_read(&KeyRange::key("a")).is_err());
    assert!(Access::of_certificate(None).may_read(&KeyRange::key("a")).is_err());
    assert!(Access::of_certificate(Some(b"no certificate")).may_read(&KeyRange::key("a")).is_err());
}
