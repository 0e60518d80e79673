//! More calls than one would think of: drawn from a seed, over few keys, so that they meet.

use super::play::Step;
use super::script::{Script, delete, get, put, txn};
use crate::pb::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request;

const STEPS: usize = 600;
const KEYS: u64 = 8;
const LEASES: u64 = 3;
/// Deepest nesting of transactions drawn.
const DEPTH: usize = 2;

/// A xorshift generator: the same calls in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn chance(&mut self, in_a_hundred: u64) -> bool {
        self.below(100) < in_a_hundred
    }

    fn key(&mut self) -> String {
        format!("r{}", self.below(KEYS))
    }

    /// One key, a range, or everything from a key on.
    fn end(&mut self) -> Vec<u8> {
        match self.below(5) {
            0 => self.key().into_bytes(),
            1 => b"s".to_vec(),
            2 if self.chance(20) => vec![0],
            _ => Vec::new(),
        }
    }

    fn lease(&mut self) -> i64 {
        if self.chance(70) { 0 } else { 201 + self.below(LEASES) as i64 }
    }

    fn put(&mut self) -> pb::PutRequest {
        let value = format!("{}", self.below(4));
        let mut request =
            pb::PutRequest { lease: self.lease(), prev_kv: self.chance(40), ..put(&self.key(), &value) };
        if self.chance(8) {
            // Of a missing key and an unknown lease etcd names the lease in a put, and the key in a
            // transaction.
            (request.ignore_value, request.value, request.lease) = (true, Default::default(), 0);
        }
        if self.chance(8) {
            (request.ignore_lease, request.lease) = (true, 0);
        }
        request
    }

    fn range(&mut self, newest: i64) -> pb::RangeRequest {
        let bound = |draw: &mut Self| if draw.chance(10) { newest - draw.below(30) as i64 } else { 0 };
        let sort_order = self.below(3) as i32;
        pb::RangeRequest {
            range_end: self.end().into(),
            limit: if self.chance(30) { self.below(4) as i64 } else { 0 },
            revision: if self.chance(25) { newest - self.below(40) as i64 } else { 0 },
            sort_order,
            // A target without an order is one of the differences.
            sort_target: if sort_order == 0 { 0 } else { self.below(5) as i32 },
            serializable: self.chance(30),
            keys_only: self.chance(15),
            count_only: self.chance(10),
            min_mod_revision: bound(self),
            max_mod_revision: bound(self),
            min_create_revision: bound(self),
            max_create_revision: bound(self),
            ..get(&self.key())
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let end = self.end();
        pb::DeleteRangeRequest { prev_kv: self.chance(40), ..delete(&self.key(), &end) }
    }

    fn compare(&mut self, newest: i64) -> pb::Compare {
        let target = self.below(5) as i32;
        let revision = newest - self.below(20) as i64;
        pb::Compare {
            result: self.below(4) as i32,
            target,
            key: self.key().into(),
            range_end: self.end().into(),
            target_union: Some(match target {
                0 => TargetUnion::Version(self.below(4) as i64),
                1 => TargetUnion::CreateRevision(revision),
                2 => TargetUnion::ModRevision(revision),
                3 => TargetUnion::Value(format!("{}", self.below(4)).into()),
                _ => TargetUnion::Lease(self.lease()),
            }),
        }
    }

    fn ops(&mut self, newest: i64, depth: usize) -> Vec<Request> {
        (0..self.below(4))
            .map(|_| match self.below(if depth < DEPTH { 8 } else { 7 }) {
                0..3 => Request::RequestPut(self.put()),
                3..5 => Request::RequestRange(self.range(newest)),
                // etcd does not see that one of all keys from one on meets a put.
                5..7 => Request::RequestDeleteRange(match self.delete() {
                    delete if delete.range_end[..] == [0] => {
                        pb::DeleteRangeRequest { range_end: "s".into(), ..delete }
                    }
                    delete => delete,
                }),
                _ => Request::RequestTxn(self.txn(newest, depth + 1)),
            })
            .collect()
    }

    fn txn(&mut self, newest: i64, depth: usize) -> pb::TxnRequest {
        let compare = (0..self.below(3)).map(|_| self.compare(newest)).collect();
        txn(compare, self.ops(newest, depth), self.ops(newest, depth))
    }
}

/// Begins where the store is at `revision`. What it thinks of as the newest revision is about right.
pub(crate) fn random(seed: u64, revision: i64) -> Script {
    let mut draw = Draw(seed);
    let mut script = Script::new();
    let mut newest = revision;
    for i in 0..STEPS {
        let step = match draw.below(20) {
            0..6 => Step::Put(draw.put()),
            6..9 => Step::Range(draw.range(newest)),
            9..11 => Step::Delete(draw.delete()),
            11..16 => Step::Txn(draw.txn(newest, 0)),
            16 => Step::Grant(pb::LeaseGrantRequest { id: 201 + draw.below(LEASES) as i64, ttl: 10_000 }),
            17 => match draw.below(3) {
                0 => Step::Revoke(201 + draw.below(LEASES) as i64),
                1 => Step::Leases,
                _ => Step::KeepAlive(vec![201 + draw.below(LEASES) as i64]),
            },
            18 => Step::TimeToLive(pb::LeaseTimeToLiveRequest {
                id: 201 + draw.below(LEASES) as i64,
                keys: true,
            }),
            _ if draw.chance(30) => {
                let revision = newest - draw.below(40) as i64;
                Step::Compact(pb::CompactionRequest { revision, physical: draw.chance(50) })
            }
            _ => Step::Put(draw.put()),
        };
        if matches!(step, Step::Put(_) | Step::Delete(_) | Step::Txn(_)) && draw.chance(70) {
            newest += 1;
        }
        script.push((format!("{i} of seed {seed}"), step));
    }
    script
}
