//! Transactions: compares, branches, order of effects, fences.

use super::Suite;
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRequest, Error, Fence, KeyRange, LeaseId, Op, OpResponse,
    PutRequest, RangeRequest, Revision, TxnRequest,
};

fn put(key: &'static str, value: &'static str) -> Op {
    Op::Put(PutRequest::new(key, value))
}

fn range(prefix: &'static str) -> Op {
    Op::Range(RangeRequest::new(KeyRange::prefix(prefix)))
}

fn delete(prefix: &'static str) -> Op {
    Op::Delete(DeleteRequest { range: KeyRange::prefix(prefix), prev_kv: false })
}

impl Suite {
    pub(super) async fn txns(&self) {
        self.compares().await;
        self.branches().await;
        self.sees_its_own_changes().await;
        self.nested().await;
        self.all_or_nothing().await;
        self.races().await;
        self.fences().await;
    }

    async fn holds(&self, range: KeyRange, result: CompareResult, target: CompareTarget) -> bool {
        let compare = vec![Compare { range, result, target }];
        let request = TxnRequest { compare, ..Default::default() };
        self.kv.txn(request).await.expect("compare").succeeded
    }

    async fn compares(&self) {
        use CompareResult::{Equal, Greater, Less, NotEqual};
        use CompareTarget::{Create, Lease, Mod, Value, Version};
        let create = self.set("cmp/a", "m").await;
        let modified = self.set("cmp/a", "n").await;
        let key = || KeyRange::key("cmp/a");
        let none = || KeyRange::key("cmp/none");
        let cases = [
            (key(), Equal, Version(2), true),
            (key(), Greater, Version(1), true),
            (key(), Greater, Version(2), false),
            (key(), Less, Version(3), true),
            (key(), NotEqual, Version(2), false),
            (key(), Equal, Create(create), true),
            (key(), Less, Create(create), false),
            (key(), Equal, Mod(modified), true),
            (key(), Equal, Mod(create), false),
            (key(), NotEqual, Mod(create), true),
            (key(), Equal, Value("n".into()), true),
            (key(), Greater, Value("m".into()), true),
            (key(), Less, Value("n".into()), false),
            (key(), Equal, Lease(LeaseId(0)), true),
            (key(), Greater, Lease(LeaseId(0)), false),
            (none(), Equal, Version(0), true),
            (none(), Equal, Mod(Revision(0)), true),
            (none(), Greater, Create(Revision(0)), false),
            (none(), Equal, Value("".into()), false),
            (none(), NotEqual, Value("x".into()), false),
            (none(), Equal, Lease(LeaseId(0)), true),
        ];
        for (i, (range, result, target, expected)) in cases.into_iter().enumerate() {
            assert_eq!(self.holds(range, result, target).await, expected, "compare {i}");
        }
        self.set("cmp/b", "n").await;
        let both = || KeyRange::prefix("cmp/");
        assert!(self.holds(both(), Equal, Value("n".into())).await, "holds for every key");
        assert!(!self.holds(both(), Equal, Version(2)).await, "but not for one of them");
        assert!(self.holds(KeyRange::prefix("cmp/x"), Equal, Version(0)).await, "of no key");
    }

    async fn branches(&self) {
        let before = self.now().await;
        let absent = |success, failure| TxnRequest {
            compare: vec![Compare::mod_revision("br/a", Revision(0))],
            success,
            failure,
            ..Default::default()
        };
        let create = absent(vec![put("br/a", "1")], vec![range("br/")]);
        let won = self.kv.txn(create.clone()).await.expect("txn");
        assert!(won.succeeded && won.revision > before);
        let lost = self.kv.txn(create).await.expect("txn");
        assert!(!lost.succeeded);
        assert!(lost.revision >= won.revision, "the newest");
        match &lost.responses[..] {
            [OpResponse::Range(range)] => assert_eq!(range.kvs[0].mod_revision, won.revision),
            other => panic!("the failure branch answered {other:?}"),
        }
        // What changes nothing makes no revision; other writers may, so ask within one transaction.
        let idle = self.kv.txn(absent(vec![], vec![delete("br/none")])).await.expect("txn");
        let changed = self.kv.txn(absent(vec![], vec![put("br/a", "2")])).await.expect("txn");
        assert!(changed.revision > idle.revision);
        assert_eq!(self.get("br/a").await.expect("put").mod_revision, changed.revision);
    }

    async fn sees_its_own_changes(&self) {
        self.set("own/old", "1").await;
        let ops = vec![range("own/"), put("own/new", "2"), range("own/"), delete("own/old"), range("own/")];
        let response = self.txn(ops).await.expect("txn");
        let counts: Vec<_> = response
            .responses
            .iter()
            .filter_map(|r| match r {
                OpResponse::Range(range) => Some(range.count),
                _ => None,
            })
            .collect();
        assert_eq!(counts, [1, 2, 1]);
        match &response.responses[2] {
            OpResponse::Range(range) => assert_eq!(range.kvs[0].mod_revision, response.revision),
            other => panic!("a range was answered {other:?}"),
        }
        let kv = self.get("own/new").await.expect("put");
        assert_eq!(kv.mod_revision, response.revision, "one revision for all");
    }

    async fn nested(&self) {
        self.set("nest/a", "1").await;
        // Nested compares see the state before the transaction.
        let inner = TxnRequest {
            compare: vec![Compare::mod_revision("nest/b", Revision(0))],
            success: vec![put("nest/c", "absent")],
            failure: vec![put("nest/c", "present")],
            ..Default::default()
        };
        let response = self.txn(vec![put("nest/b", "2"), Op::Txn(inner)]).await.expect("txn");
        match &response.responses[..] {
            [OpResponse::Put { .. }, OpResponse::Txn(inner)] => {
                assert!(inner.succeeded);
                assert_eq!(inner.responses, [OpResponse::Put { prev_kv: None }]);
            }
            other => panic!("a nested transaction was answered {other:?}"),
        }
        assert_eq!(self.get("nest/c").await.expect("put").value, "absent");
        assert_eq!(self.get("nest/c").await.expect("put").mod_revision, response.revision);
    }

    async fn all_or_nothing(&self) {
        self.set("all/a", "1").await;
        let mut missing = PutRequest::new("all/missing", "");
        missing.ignore_value = true;
        let refused = self.txn(vec![put("all/a", "2"), delete("all/b"), Op::Put(missing)]).await;
        assert_eq!(refused, Err(Error::KeyNotFound));
        let twice = self.txn(vec![put("all/a", "2"), put("all/a", "3")]).await;
        assert_eq!(twice, Err(Error::DuplicateKey));
        let overlap = self.txn(vec![put("all/a", "2"), delete("all/")]).await;
        assert_eq!(overlap, Err(Error::DuplicateKey));
        let mut future = RangeRequest::new(KeyRange::key("all/a"));
        future.revision = Revision(i64::MAX / 2);
        let refused = self.txn(vec![put("all/a", "2"), Op::Range(future)]).await;
        assert!(matches!(refused, Err(Error::FutureRevision { .. })), "{refused:?}");
        assert_eq!(self.get("all/a").await.expect("put").version, 1);
    }

    /// Of many that compare and swap at once, each version is made by exactly one.
    async fn races(&self) {
        const WRITERS: usize = 16;
        let mut revision = self.set("race/a", "0").await;
        for round in 0..5 {
            let swaps = (0..WRITERS).map(|_| {
                self.kv.txn(TxnRequest {
                    compare: vec![Compare::mod_revision("race/a", revision)],
                    success: vec![put("race/a", "x")],
                    ..Default::default()
                })
            });
            let answers: Vec<_> =
                futures::future::join_all(swaps).await.into_iter().map(|r| r.expect("swap")).collect();
            let winners: Vec<_> = answers.iter().filter(|answer| answer.succeeded).collect();
            assert_eq!(winners.len(), 1, "round {round}");
            revision = winners[0].revision;
        }
        assert_eq!(self.get("race/a").await.expect("put").version, 6);
    }

    async fn fences(&self) {
        // Epochs outlive a run of the suite, so begin from what is there.
        let scope = || "suite/leader".to_owned();
        let fenced = |epoch| TxnRequest {
            success: vec![put("fence/a", "1")],
            fences: vec![Fence { scope: scope(), epoch }],
            ..Default::default()
        };
        let epoch = match self.kv.txn(fenced(u64::MAX)).await {
            Err(Error::Fenced { scope: named, current }) => {
                assert_eq!(named, scope());
                current
            }
            other => panic!("an epoch that never was: {other:?}"),
        };
        self.kv.txn(fenced(epoch)).await.expect("the present epoch");
        let raise = TxnRequest { raise_fences: vec![scope()], ..fenced(epoch) };
        self.kv.txn(raise.clone()).await.expect("raised by its holder");
        let deposed = Err(Error::Fenced { scope: scope(), current: epoch + 1 });
        assert_eq!(self.kv.txn(fenced(epoch)).await, deposed);
        assert_eq!(self.kv.txn(raise).await, deposed);
        let not_taken = TxnRequest {
            compare: vec![Compare::mod_revision("fence/a", Revision(0))],
            raise_fences: vec![scope()],
            ..Default::default()
        };
        assert!(!self.kv.txn(not_taken).await.expect("compare fails").succeeded);
        self.kv.txn(fenced(epoch + 1)).await.expect("a branch not taken raises nothing");
        assert_eq!(self.get("fence/a").await.expect("put").version, 3);
        self.delete(KeyRange::key("fence/a"), false).await;
    }
}
