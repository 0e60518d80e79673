//! What a store is by its rules: versions of keys by revision, and what a transaction does to them.
//!
//! Written beside the store's own code and not from it: the two must come to the same.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::history::{Compare, KeyVersion, Keys, Op, OpAnswer, Range, RangeAnswer, Relation, Target, Txn};

/// What a transaction leaves of the keys that it changed; nothing: deleted.
pub(super) type Effect = BTreeMap<String, Option<KeyVersion>>;

/// Every version of every key.
#[derive(Default)]
pub(super) struct Model {
    keys: BTreeMap<String, Vec<(i64, Option<KeyVersion>)>>,
}

/// A branch of a transaction, done.
pub(super) struct Done {
    pub(super) results: Vec<OpAnswer>,
    pub(super) effect: Effect,
}

impl Model {
    /// The key as it was at `revision`.
    pub(super) fn at(&self, key: &str, revision: i64) -> Option<&KeyVersion> {
        newest(self.keys.get(key)?, revision)
    }

    /// The keys of a range as they were at `revision`, in order.
    fn live<'m>(&'m self, keys: &'m Keys, revision: i64) -> impl Iterator<Item = &'m KeyVersion> {
        let from = self.keys.range(keys.start.clone()..);
        let within = from.take_while(move |(key, _)| keys.contains(key));
        within.filter_map(move |(_, versions)| newest(versions, revision))
    }

    /// Makes `revision`, which must be above all before.
    pub(super) fn apply(&mut self, revision: i64, effect: Effect) {
        for (key, version) in effect {
            self.keys.entry(key).or_default().push((revision, version));
        }
    }

    /// Every change, by revision and key: what it left, and what was there before.
    pub(super) fn changes(&self) -> BTreeMap<(i64, &str), Change<'_>> {
        let mut changes = BTreeMap::new();
        for (key, versions) in &self.keys {
            let mut before = None;
            for (revision, after) in versions {
                changes.insert((*revision, key.as_str()), Change { after: after.as_ref(), before });
                before = after.as_ref();
            }
        }
        changes
    }

    /// What a read of the state at `at` gives; its own revision is left to the caller.
    pub(super) fn range(&self, range: &Range, at: i64) -> RangeAnswer {
        answer(range, self.live(&range.keys, at))
    }

    /// Whether the compares hold at `at`.
    pub(super) fn holds(&self, txn: &Txn, at: i64) -> bool {
        txn.compare.iter().all(|compare| holds(compare, self.at(&compare.key, at)))
    }

    /// Does one branch on the state at `at`; what it changes is of `revision`.
    pub(super) fn run(&self, ops: &[Op], at: i64, revision: i64) -> Done {
        let mut done = Done { results: Vec::with_capacity(ops.len()), effect: Effect::new() };
        for op in ops {
            let result = match op {
                Op::Range(range) => {
                    // Past revisions are as they were; the newest has what was changed so far.
                    let past = range.revision > 0 && range.revision <= at;
                    let kvs = self.overlaid(
                        &range.keys,
                        if past { range.revision } else { at },
                        if past { None } else { Some(&done.effect) },
                    );
                    OpAnswer::Range(answer(range, kvs.iter()))
                }
                Op::Put { key, value, lease, prev_kv } => {
                    let before = done.effect.get(key).cloned().unwrap_or_else(|| self.at(key, at).cloned());
                    let after = KeyVersion {
                        key: key.clone(),
                        create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        version: before.as_ref().map_or(1, |kv| kv.version + 1),
                        lease: *lease,
                        value: value.clone(),
                    };
                    done.effect.insert(key.clone(), Some(after));
                    OpAnswer::Put { prev: before.filter(|_| *prev_kv) }
                }
                Op::Delete { keys, prev_kv } => {
                    let gone = self.overlaid(keys, at, Some(&done.effect));
                    done.effect.extend(gone.iter().map(|kv| (kv.key.clone(), None)));
                    let deleted = i64::try_from(gone.len()).unwrap_or(i64::MAX);
                    OpAnswer::Delete { deleted, prev: if *prev_kv { gone } else { Vec::new() } }
                }
            };
            done.results.push(result);
        }
        done
    }

    /// The keys of a range with what has been changed so far laid over.
    fn overlaid(&self, keys: &Keys, at: i64, over: Option<&Effect>) -> Vec<KeyVersion> {
        let Some(over) = over.filter(|over| !over.is_empty()) else {
            return self.live(keys, at).cloned().collect();
        };
        let mut found: BTreeMap<&str, &KeyVersion> =
            self.live(keys, at).map(|kv| (kv.key.as_str(), kv)).collect();
        for (key, version) in over.iter().filter(|(key, _)| keys.contains(key)) {
            match version {
                Some(kv) => found.insert(key, kv),
                None => found.remove(key.as_str()),
            };
        }
        found.into_values().cloned().collect()
    }
}

/// One change of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'m> {
    pub(super) after: Option<&'m KeyVersion>,
    pub(super) before: Option<&'m KeyVersion>,
}

fn newest(versions: &[(i64, Option<KeyVersion>)], revision: i64) -> Option<&KeyVersion> {
    let n = versions.partition_point(|(made, _)| *made <= revision);
    versions[..n].last()?.1.as_ref()
}

fn answer<'m>(range: &Range, found: impl Iterator<Item = &'m KeyVersion>) -> RangeAnswer {
    let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut answer = RangeAnswer::default();
    for kv in found {
        answer.count += 1;
        if range.count_only {
        } else if answer.kvs.len() >= limit {
            answer.more = true;
        } else if range.keys_only {
            answer.kvs.push(KeyVersion { value: String::new(), ..kv.clone() });
        } else {
            answer.kvs.push(kv.clone());
        }
    }
    answer
}

fn holds(compare: &Compare, found: Option<&KeyVersion>) -> bool {
    let of = |value: fn(&KeyVersion) -> i64| found.map_or(0, value);
    let ordering = match &compare.target {
        Target::Version(wanted) => of(|kv| kv.version).cmp(wanted),
        Target::Create(wanted) => of(|kv| kv.create_revision).cmp(wanted),
        Target::Mod(wanted) => of(|kv| kv.mod_revision).cmp(wanted),
        Target::Lease(wanted) => of(|kv| kv.lease).cmp(wanted),
        // A key that is not there has no value to compare, not even for being another.
        Target::Value(wanted) => match found {
            Some(kv) => kv.value.cmp(wanted),
            None => return false,
        },
    };
    match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Less => ordering == Ordering::Less,
        Relation::Greater => ordering == Ordering::Greater,
    }
}
