//! What a client of the mix does, one action at a time.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::PREFIX;
use super::leases::Leases;
use super::mix::{Action, Mix};
use super::session::{Session, answered};
use crate::history::{
    Answer, Call, Compare, KeyVersion, Keys, Op, OpAnswer, Outcome, Range, Relation, Target, Txn,
};

/// Lists that clients append to.
const LISTS: u64 = 3;
/// A list of so many is begun anew.
const LIST_ITEMS_MAX: usize = 16;
/// How far back a client reads, in revisions.
const PAST: i64 = 400;
/// How much of what all watches have seen is kept by a compaction, at most.
const KEPT: i64 = 300;
/// Keys of one transaction.
const TXN_KEYS_MAX: usize = 4;

pub(super) struct Client {
    pub(super) session: Session,
    pub(super) random: StdRng,
    mix: Mix,
    /// Values written so far.
    written: u64,
    /// The revision of keys as this client knows it; zero: not there.
    pub(super) known: BTreeMap<String, i64>,
    /// The newest revision that it was told of.
    seen: i64,
    pub(super) leases: Leases,
}

fn plain(n: u64) -> String {
    format!("{PREFIX}k/{n:03}")
}

impl Client {
    pub(super) fn new(session: Session, random: StdRng, mix: Mix, seed: u64) -> Client {
        let leases = Leases::new(seed, session.client);
        Client { session, random, mix, written: 0, known: BTreeMap::new(), seen: 0, leases }
    }

    /// Whether the store answered.
    pub(super) async fn act(&mut self) -> bool {
        match self.mix.choose(&mut self.random) {
            Action::Put => {
                let key = self.key_to_put();
                let put = self.put(key);
                self.do_all(vec![put]).await
            }
            Action::Delete => {
                let keys = Keys::one(self.any_key());
                let prev_kv = self.random.random_bool(0.5);
                self.do_all(vec![Op::Delete { keys, prev_kv }]).await
            }
            Action::DeleteMany => {
                let keys = Keys::prefix(&format!("{PREFIX}k/{:02}", self.random.random_range(0..3)));
                let prev_kv = self.random.random_bool(0.5);
                self.do_all(vec![Op::Delete { keys, prev_kv }]).await
            }
            Action::Swap => self.swap().await,
            Action::Txn => {
                let txn = self.transaction();
                self.told(Call::Txn(txn)).await
            }
            Action::Append => self.append().await,
            Action::Get => {
                let keys = Keys::one(self.any_key());
                self.told(Call::Range(Range { keys, ..Range::default() })).await
            }
            Action::StaleGet => {
                let keys = Keys::one(self.any_key());
                self.told(Call::Range(Range { keys, serializable: true, ..Range::default() })).await
            }
            Action::List | Action::StaleList => {
                let range = self.list(false);
                self.told(Call::Range(range)).await
            }
            Action::OldList => {
                let range = self.list(true);
                self.told(Call::Range(range)).await
            }
            Action::Pages => self.pages().await,
            Action::Compact => self.compact().await,
            Action::Barrier => self.told(Call::Barrier).await,
            Action::Grant => self.grant().await,
            Action::PutLeased => self.put_leased().await,
            Action::KeepAlive => self.keep_alive().await,
            Action::Revoke => self.revoke().await,
            Action::TimeToLive => self.time_to_live().await,
            Action::Create => self.create().await,
            Action::Update => self.update().await,
            Action::Remove => self.remove().await,
        }
    }

    /// A value that nobody else writes.
    pub(super) fn value(&mut self) -> String {
        self.written += 1;
        format!("{}.{}", self.session.client, self.written)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.random.random_range(0..self.mix.keys)
    }

    fn any_key(&mut self) -> String {
        if self.mix.kubernetes {
            return self.object();
        }
        match self.random.random_range(0..10) {
            0 => self.leased_key(),
            1 => format!("{PREFIX}l/{}", self.random.random_range(0..LISTS)),
            _ => plain(self.number()),
        }
    }

    /// Lists are only appended to or deleted.
    fn key_to_put(&mut self) -> String {
        if self.random.random_bool(0.1) { self.leased_key() } else { plain(self.number()) }
    }

    fn put(&mut self, key: String) -> Op {
        Op::Put { key, value: self.value(), lease: 0, prev_kv: self.random.random_bool(0.3) }
    }

    pub(super) async fn do_all(&mut self, success: Vec<Op>) -> bool {
        self.told(Call::Txn(Txn { success, ..Txn::default() })).await
    }

    /// Calls, and learns from the answer; whether there was one.
    pub(super) async fn told(&mut self, call: Call) -> bool {
        let outcome = self.session.call(call).await;
        self.learn(&outcome);
        answered(&outcome)
    }

    pub(super) fn learn(&mut self, outcome: &Outcome) {
        let Outcome::Done(answer) = outcome else { return };
        self.seen = self.seen.max(answer.revision().unwrap_or(0));
        let found: Vec<&KeyVersion> = match answer {
            Answer::Range(range) => range.kvs.iter().collect(),
            Answer::Txn { results, .. } => {
                let ranges = results.iter().filter_map(|result| match result {
                    OpAnswer::Range(range) => Some(&range.kvs),
                    _ => None,
                });
                ranges.flatten().collect()
            }
            _ => Vec::new(),
        };
        for kv in found {
            self.known.insert(kv.key.clone(), kv.mod_revision);
        }
    }

    async fn swap(&mut self) -> bool {
        let key = plain(self.number());
        let known = match self.known.get(&key) {
            Some(known) if self.random.random_bool(0.5) => *known,
            _ => match self.session.range(Range { keys: Keys::one(&key), ..Range::default() }).await {
                Some(answer) => answer.kvs.first().map_or(0, |kv| kv.mod_revision),
                None => return false,
            },
        };
        let put = self.put(key.clone());
        self.guarded(&key, known, put).await
    }

    /// Does it if the key is as it was known, and reads it otherwise.
    pub(super) async fn guarded(&mut self, key: &str, known: i64, op: Op) -> bool {
        let deletes = matches!(op, Op::Delete { .. });
        let look = Op::Range(Range { keys: Keys::one(key), ..Range::default() });
        let txn = Txn {
            compare: vec![Compare::unchanged(key, known)],
            success: vec![op],
            failure: vec![look],
            ..Txn::default()
        };
        let outcome = self.session.call(Call::Txn(txn)).await;
        match &outcome {
            Outcome::Done(Answer::Txn { revision, succeeded: true, .. }) => {
                self.known.insert(key.to_owned(), if deletes { 0 } else { *revision });
            }
            // What is there now is learnt below, if anything is.
            _ => {
                self.known.remove(key);
            }
        }
        self.learn(&outcome);
        answered(&outcome)
    }

    async fn append(&mut self) -> bool {
        let key = format!("{PREFIX}l/{}", self.random.random_range(0..LISTS));
        let Some(answer) = self.session.range(Range { keys: Keys::one(&key), ..Range::default() }).await
        else {
            return false;
        };
        let (known, list) = answer.kvs.first().map_or((0, ""), |kv| (kv.mod_revision, kv.value.as_str()));
        let item = self.value();
        let value = if list.is_empty() || list.split(';').count() >= LIST_ITEMS_MAX {
            item
        } else {
            format!("{list};{item}")
        };
        let put = Op::Put { key: key.clone(), value, lease: 0, prev_kv: false };
        self.guarded(&key, known, put).await
    }

    fn transaction(&mut self) -> Txn {
        let mut keys: Vec<String> =
            (0..self.random.random_range(1..=TXN_KEYS_MAX)).map(|_| plain(self.number())).collect();
        keys.sort_unstable();
        keys.dedup();
        let compare = (0..self.random.random_range(0..3)).map(|_| self.compare(&keys)).collect();
        let success = self.branch(&keys);
        let failure = if self.random.random_bool(0.5) { self.branch(&keys) } else { Vec::new() };
        Txn { compare, success, failure, ..Txn::default() }
    }

    fn compare(&mut self, keys: &[String]) -> Compare {
        let key = keys.choose(&mut self.random).cloned().unwrap_or_default();
        let known = self.known.get(&key).copied().unwrap_or(0);
        let relations = [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater];
        let relation = *relations.choose(&mut self.random).unwrap_or(&Relation::Equal);
        match self.random.random_range(0..5) {
            0 => Compare { key, relation, target: Target::Version(self.random.random_range(0..6)) },
            1 => Compare { key, relation, target: Target::Create(known) },
            2 => Compare { key, relation: Relation::NotEqual, target: Target::Value("0.1".into()) },
            3 => Compare { key, relation, target: Target::Lease(0) },
            _ => Compare { key, relation, target: Target::Mod(known) },
        }
    }

    /// No key is changed twice in it.
    fn branch(&mut self, keys: &[String]) -> Vec<Op> {
        let mut ops = Vec::new();
        for key in keys {
            ops.push(match self.random.random_range(0..7) {
                0 | 1 => Op::Delete { keys: Keys::one(key), prev_kv: self.random.random_bool(0.5) },
                2 => Op::Range(Range { keys: Keys::one(key), ..Range::default() }),
                3 => Op::Range(Range {
                    keys: Keys::prefix(&format!("{PREFIX}k/")),
                    limit: 3,
                    ..Range::default()
                }),
                // As it was, whatever the others do; where that is compacted, nothing is done.
                4 => Op::Range(Range {
                    keys: Keys::prefix(&format!("{PREFIX}k/")),
                    limit: 3,
                    revision: self.past(),
                    ..Range::default()
                }),
                _ => self.put(key.clone()),
            });
        }
        ops
    }

    fn prefix(&mut self) -> String {
        let groups: &[&str] =
            if self.mix.kubernetes { &["r/", "r/pods/ns0/", "r/pods/ns1/"] } else { &["", "k/", "l/", "t/"] };
        format!("{PREFIX}{}", groups.choose(&mut self.random).unwrap_or(&""))
    }

    /// A revision that it may have seen.
    fn past(&mut self) -> i64 {
        (self.seen - self.random.random_range(0..PAST)).max(1)
    }

    fn list(&mut self, past: bool) -> Range {
        let revision = self.past();
        Range {
            keys: Keys::prefix(&self.prefix()),
            limit: if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..8) },
            revision: if past { revision } else { 0 },
            serializable: self.random.random_bool(0.3),
            keys_only: self.random.random_bool(0.1),
            count_only: self.random.random_bool(0.1),
        }
    }

    /// Everything of a prefix at the first page's revision.
    async fn pages(&mut self) -> bool {
        let mut range = Range {
            keys: Keys::prefix(&self.prefix()),
            limit: self.random.random_range(1..6),
            ..Range::default()
        };
        loop {
            let Some(answer) = self.session.range(range.clone()).await else { return false };
            if range.revision == 0 {
                range.revision = answer.revision;
            }
            match answer.kvs.last() {
                // The smallest key after the last one.
                Some(last) if answer.more => range.keys.start = format!("{}\0", last.key),
                _ => return true,
            }
        }
    }

    async fn compact(&mut self) -> bool {
        // Those who follow everything must not lose their place: what they saw is the checkers' ground.
        let followed = self.session.recorder.followed().await;
        let revision = followed - self.random.random_range(0..KEPT);
        if revision <= 1 {
            return true;
        }
        self.told(Call::Compact { revision }).await
    }
}
