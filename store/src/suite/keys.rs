//! Puts, ranges and deletions.

use bytes::Bytes;

use super::Suite;
use crate::kv::{
    DeleteRequest, Error, KeyRange, Op, PutRequest, RangeRequest, Revision, SortOrder, SortTarget,
};
use crate::limits::{REQUEST_BYTES_MAX, TXN_OPS_MAX};

impl Suite {
    pub(super) async fn keys(&self) {
        self.versions().await;
        self.put_flags().await;
        self.ranges().await;
        self.sorting().await;
        self.bounds().await;
        self.odd_keys().await;
        self.deletions().await;
        self.refusals().await;
    }

    async fn versions(&self) {
        let first = self.set("ver/a", "1").await;
        let second = self.set("ver/a", "2").await;
        assert!(second > first, "one revision a change");
        let kv = self.get("ver/a").await.expect("written");
        assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, second, 2));
        let mut old = RangeRequest::new(KeyRange::key("ver/a"));
        old.revision = first;
        old.serializable = true;
        let old = self.kv.range(old).await.expect("history");
        assert_eq!((&old.kvs[0].value[..], old.kvs[0].version), (&b"1"[..], 1));
        assert!(old.revision >= second, "a response tells the newest revision");
        self.delete(KeyRange::key("ver/a"), false).await;
        let again = self.set("ver/a", "3").await;
        let kv = self.get("ver/a").await.expect("written");
        assert_eq!((kv.create_revision, kv.version), (again, 1), "a new life");
    }

    async fn put_flags(&self) {
        let mut put = PutRequest::new("flag/a", "");
        put.ignore_value = true;
        assert_eq!(self.put(put.clone()).await, Err(Error::KeyNotFound));
        self.set("flag/a", "kept").await;
        put.prev_kv = true;
        let (revision, previous) = self.put(put).await.expect("ignore_value");
        assert_eq!(previous.expect("prev_kv was asked for").value, "kept");
        let kv = self.get("flag/a").await.expect("written");
        assert_eq!((&kv.value[..], kv.mod_revision, kv.version), (&b"kept"[..], revision, 2));
        let (_, previous) = self.put(PutRequest::new("flag/a", "x")).await.expect("put");
        assert_eq!(previous, None, "prev_kv was not asked for");
    }

    async fn ranges(&self) {
        for key in ["list/a", "list/b", "list/c", "list/d", "lisu"] {
            self.set(key, key).await;
        }
        let all = self.list("list/", |_| {}).await;
        let names: Vec<_> = all.kvs.iter().map(|kv| kv.key.clone()).collect();
        assert_eq!(names, ["list/a", "list/b", "list/c", "list/d"]);
        assert_eq!((all.count, all.more), (4, false));
        let page = self.list("list/", |r| r.limit = 2).await;
        assert_eq!((page.kvs.len(), page.count, page.more), (2, 4, true));
        let page = self.list("list/", |r| r.limit = 4).await;
        assert_eq!((page.kvs.len(), page.more), (4, false), "the limit is not passed");
        let count = self.list("list/", |r| r.count_only = true).await;
        assert_eq!((count.kvs.len(), count.count), (0, 4));
        let keys = self.list("list/", |r| r.keys_only = true).await;
        assert!(keys.kvs.iter().all(|kv| kv.value.is_empty() && kv.version == 1), "{keys:?}");
        let range = |start: &'static str, end: &'static str| {
            self.kv.range(RangeRequest::new(KeyRange { start: start.into(), end: end.into() }))
        };
        assert_eq!(range("list/b", "list/d").await.expect("half open").count, 2);
        assert_eq!(range("list/d", "list/b").await.expect("inverted").count, 0);
        assert!(range("list/c", "\0").await.expect("to the end").count >= 3);
        assert!(range("\0", "\0").await.expect("everything").count >= 5);
        assert_eq!(self.list("list/none", |_| {}).await.count, 0);
    }

    async fn sorting(&self) {
        for (key, value) in [("sort/c", "1"), ("sort/a", "3"), ("sort/b", "2"), ("sort/a", "0")] {
            self.set(key, value).await;
        }
        let cases = [
            (SortTarget::Key, SortOrder::Ascend, "abc"),
            (SortTarget::Key, SortOrder::Descend, "cba"),
            (SortTarget::Value, SortOrder::Ascend, "acb"),
            (SortTarget::Mod, SortOrder::Ascend, "cba"),
            (SortTarget::Mod, SortOrder::None, "cba"),
            (SortTarget::Create, SortOrder::Descend, "bac"),
            (SortTarget::Version, SortOrder::Descend, "abc"),
        ];
        for (target, order, expected) in cases {
            for limit in [0, 2] {
                let response = self
                    .list("sort/", |r| {
                        (r.sort_target, r.sort_order, r.limit, r.keys_only) = (target, order, limit, true);
                    })
                    .await;
                let got: String =
                    response.kvs.iter().map(|kv| char::from(*kv.key.last().unwrap_or(&0))).collect();
                let wanted = if limit == 0 { expected } else { &expected[..2] };
                assert_eq!(got, wanted, "{target:?} {order:?} limit {limit}");
                assert_eq!(response.more, limit != 0);
                assert!(response.kvs.iter().all(|kv| kv.value.is_empty()), "keys only");
            }
        }
    }

    async fn bounds(&self) {
        let a = self.set("bound/a", "1").await;
        let b = self.set("bound/b", "1").await;
        let c = self.set("bound/c", "1").await;
        let a2 = self.set("bound/a", "2").await;
        type Change = fn(&mut RangeRequest, [Revision; 4]);
        let cases: [(Change, &str); 6] = [
            (|r, [_, b, ..]| r.min_mod_revision = b, "abc"),
            (|r, [_, _, c, _]| r.max_mod_revision = c, "bc"),
            (|r, [_, b, ..]| r.max_create_revision = b, "ab"),
            (|r, [_, b, ..]| r.min_create_revision = b, "bc"),
            (|r, [.., a2]| r.min_mod_revision = a2, "a"),
            (|r, [a, ..]| (r.min_mod_revision, r.max_mod_revision) = (a, a), ""),
        ];
        for (i, (change, expected)) in cases.into_iter().enumerate() {
            let response = self.list("bound/", |r| change(r, [a, b, c, a2])).await;
            let got: String =
                response.kvs.iter().map(|kv| char::from(*kv.key.last().unwrap_or(&0))).collect();
            assert_eq!((&got[..], response.count), (expected, 3), "case {i}: the count ignores bounds");
        }
        let page = self
            .list("bound/", |r| {
                r.min_create_revision = b;
                r.limit = 1;
            })
            .await;
        assert_eq!((page.kvs.len(), page.more), (1, true));
    }

    /// Keys are bytes: zeros and all ones sort and range like any other.
    async fn odd_keys(&self) {
        let keys: [&'static [u8]; 7] =
            [b"odd/", b"odd/\0", b"odd/\0\0", b"odd/\0\x01", b"odd/\x01", b"odd/a\0b", b"odd/\xff\xff"];
        for key in keys {
            self.put(PutRequest::new(key, "v")).await.expect("put");
        }
        let all = self.list("odd/", |_| {}).await;
        let got: Vec<_> = all.kvs.iter().map(|kv| &kv.key[..]).collect();
        assert_eq!(got, keys);
        let inside = KeyRange { start: Bytes::from_static(b"odd/\0"), end: Bytes::from_static(b"odd/\x01") };
        let inside = self.kv.range(RangeRequest::new(inside)).await.expect("range");
        assert_eq!(inside.kvs.len(), 3);
        let empty = self.put(PutRequest::new("odd/empty", "")).await.expect("an empty value").0;
        assert_eq!(self.get("odd/empty").await.expect("is a value").mod_revision, empty);
    }

    async fn deletions(&self) {
        for key in ["del/a", "del/b", "del/c"] {
            self.set(key, key).await;
        }
        let before = self.now().await;
        let (revision, deleted, prev_kvs) = self.delete(KeyRange::key("del/none"), true).await;
        assert_eq!((deleted, prev_kvs.len()), (0, 0));
        assert!(revision >= before);
        let (revision, deleted, prev_kvs) = self.delete(KeyRange::prefix("del/"), true).await;
        assert_eq!(deleted, 3);
        let values: Vec<_> = prev_kvs.iter().map(|kv| &kv.value[..]).collect();
        assert_eq!(values, [b"del/a", b"del/b", b"del/c"]);
        assert_eq!(self.list("del/", |_| {}).await.count, 0);
        let mut past = RangeRequest::new(KeyRange::prefix("del/"));
        past.revision = Revision(revision.0 - 1);
        assert_eq!(self.kv.range(past).await.expect("history").count, 3);
    }

    async fn refusals(&self) {
        let range = |start: &'static str| self.kv.range(RangeRequest::new(KeyRange::key(start)));
        assert_eq!(range("").await, Err(Error::EmptyKey));
        let put = |key: &'static str, value: Vec<u8>| self.put(PutRequest::new(key, value));
        assert_eq!(put("", vec![]).await, Err(Error::EmptyKey));
        assert_eq!(put("bad/large", vec![b'x'; REQUEST_BYTES_MAX + 1]).await, Err(Error::TooLarge));
        put("bad/fits", vec![b'x'; REQUEST_BYTES_MAX - 1000]).await.expect("the largest");
        let ops = |n: usize| (0..n).map(|i| Op::Put(PutRequest::new(format!("bad/{i}"), "v"))).collect();
        assert_eq!(self.txn(ops(TXN_OPS_MAX + 1)).await, Err(Error::TooManyOps));
        assert_eq!(
            self.txn(ops(TXN_OPS_MAX)).await.expect("as many as allowed").responses.len(),
            TXN_OPS_MAX
        );
        let delete = Op::Delete(DeleteRequest { range: KeyRange::key(""), prev_kv: false });
        assert_eq!(self.txn(vec![delete]).await, Err(Error::EmptyKey));
        let mut both = PutRequest::new("bad/a", "v");
        both.ignore_value = true;
        assert_eq!(self.put(both).await, Err(Error::ValueProvided));
        let mut both = PutRequest::new("bad/a", "v");
        (both.ignore_lease, both.lease) = (true, super::lease_id(99));
        assert_eq!(self.put(both).await, Err(Error::LeaseProvided));
        let mut unknown = PutRequest::new("bad/a", "v");
        unknown.lease = super::lease_id(99);
        assert_eq!(self.put(unknown).await, Err(Error::LeaseNotFound));
        assert_eq!(self.get("bad/a").await, None, "a refused write leaves nothing");
        self.delete(KeyRange::prefix("bad/"), false).await;
    }
}
