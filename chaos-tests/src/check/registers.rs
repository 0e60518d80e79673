//! A second opinion on linearizability: each key as a register, by a search that does not believe
//! revisions. Only as names of versions are they used: who compared with a revision compared with the
//! value that was written there.
//!
//! Keys that ever went with a lease are left out: their ends are nobody's operation.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::judged::Judged;
use super::wgl::{Step, Verdict, check};
use super::words;
use crate::history::{
    Answer, Call, Compare, Event, History, KeyVersion, Keys, Op, OpAnswer, Operation, Outcome, Range,
    RangeAnswer, Received, Relation, Target, Txn,
};

/// What one history may take: some seconds.
const STEPS_MAX: u64 = 20_000_000;
/// A read of more keys than these is left to the other opinion.
const KEYS_READ_MAX: usize = 16;

/// The value of a key that is not there.
const NONE: u32 = 0;

#[derive(Default)]
struct Names<'h> {
    values: BTreeMap<&'h str, u32>,
    /// The value of each version of a key.
    versions: BTreeMap<(&'h str, i64), u32>,
    leased: BTreeSet<&'h str>,
    keys: BTreeSet<&'h str>,
}

impl<'h> Names<'h> {
    fn of(history: &'h History) -> Names<'h> {
        let mut names = Names::default();
        for operation in &history.operations {
            match (&operation.call, &operation.outcome) {
                (Call::Txn(txn), outcome) => names.learn_txn(txn, outcome),
                (Call::Range(range), Outcome::Done(Answer::Range(found))) if !range.keys_only => {
                    found.kvs.iter().for_each(|kv| names.learn(kv));
                }
                _ => {}
            }
        }
        let pieces = history.watches.iter().flat_map(|watch| &watch.pieces);
        for piece in pieces {
            if let Received::Events { events, .. } = &piece.what {
                let puts = events.iter().filter(|event: &&Event| event.put);
                puts.for_each(|event| names.learn(&event.kv));
            }
        }
        names
    }

    fn learn_txn(&mut self, txn: &'h Txn, outcome: &'h Outcome) {
        for op in txn.success.iter().chain(&txn.failure) {
            if let Op::Put { key, value, lease, .. } = op {
                self.value(value);
                self.keys.insert(key);
                if *lease != 0 {
                    self.leased.insert(key);
                }
            }
        }
        let Outcome::Done(Answer::Txn { revision, succeeded, results }) = outcome else { return };
        for (op, result) in txn.branch(*succeeded).iter().zip(results) {
            match (op, result) {
                (Op::Range(range), OpAnswer::Range(found)) if !range.keys_only => {
                    found.kvs.iter().for_each(|kv| self.learn(kv));
                }
                (Op::Put { key, value, .. }, _) => {
                    let value = self.value(value);
                    self.versions.insert((key, *revision), value);
                }
                _ => {}
            }
        }
    }

    fn learn(&mut self, kv: &'h KeyVersion) {
        let value = self.value(&kv.value);
        self.versions.insert((&kv.key, kv.mod_revision), value);
        self.keys.insert(&kv.key);
        if kv.lease != 0 {
            self.leased.insert(&kv.key);
        }
    }

    fn value(&mut self, value: &'h str) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX - 1) + 1;
        *self.values.entry(value).or_insert(next)
    }

    fn of_value(&self, value: &str) -> u32 {
        self.values.get(value).copied().unwrap_or(u32::MAX)
    }

    fn of_version(&self, key: &str, revision: i64) -> Option<u32> {
        if revision == 0 { Some(NONE) } else { self.versions.get(&(key, revision)).copied() }
    }
}

/// What happened to each key, with the operation's place in the history.
type Registers<'h> = BTreeMap<&'h str, Vec<(Step, usize)>>;

/// What one operation says of keys: what it saw there first, and what it left.
type Said<'h> = BTreeMap<&'h str, (Option<u32>, Option<u32>)>;

/// Each key, by itself, can have had its operations in some order that time allows.
pub(super) fn each_key_is_a_register(history: &History) -> Judged {
    let names = Names::of(history);
    let mut registers = Registers::new();
    for (n, operation) in history.operations.iter().enumerate() {
        let (begin, end) = (operation.begin.tick.0, operation.end.tick.0);
        let certain = matches!(operation.outcome, Outcome::Done(_));
        let end = certain.then_some(end);
        for said in said(&names, operation) {
            for (key, (sees, leaves)) in said {
                if !names.leased.contains(key) && (sees.is_some() || leaves.is_some()) {
                    registers.entry(key).or_default().push((Step { begin, end, sees, leaves }, n));
                }
            }
        }
    }
    let mut judged = Judged::default();
    let (mut budget, mut undecided, keys) = (STEPS_MAX, 0, registers.len());
    for (key, steps) in registers {
        let (steps, places): (Vec<Step>, Vec<usize>) = settle(steps).into_iter().unzip();
        judged.case(match check(&steps, &mut budget) {
            Verdict::Explained => None,
            Verdict::Unexplained { at } => {
                let what = words::operation(&history.operations[places[at]]);
                Some(format!("{key}: no order of what was done explains {what}"))
            }
            Verdict::Undecided => {
                undecided += 1;
                continue;
            }
        });
    }
    if undecided > 0 {
        judged.undecided = format!("{undecided} of {keys} keys: the search for an order took too long");
    }
    judged
}

/// Unknown writes that nobody saw are left out: they cannot explain anything. One that was seen was
/// done by the time at which whoever saw it had its answer, and then counts as one who saw.
fn settle(mut steps: Vec<(Step, usize)>) -> Vec<(Step, usize)> {
    loop {
        let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
        for (step, _) in &steps {
            if let (Some(sees), Some(end)) = (step.sees, step.end) {
                let first = seen.entry(sees).or_insert(end);
                *first = (*first).min(end);
            }
        }
        let mut found = false;
        for (step, _) in steps.iter_mut().filter(|(step, _)| step.end.is_none()) {
            step.end = step.leaves.filter(|value| *value != NONE).and_then(|value| seen.get(&value)).copied();
            found |= step.end.is_some();
        }
        if !found {
            break;
        }
    }
    steps.retain(|(step, _)| step.end.is_some() || step.leaves == Some(NONE));
    steps
}

/// One for each way in which the operation can have been done.
fn said<'h>(names: &Names<'h>, operation: &'h Operation) -> Vec<Said<'h>> {
    match (&operation.call, &operation.outcome) {
        (Call::Range(range), Outcome::Done(Answer::Range(found)))
            if range.revision == 0 && !range.serializable =>
        {
            let mut said = Said::new();
            read(names, range, found, &mut said);
            vec![said]
        }
        (Call::Txn(txn), Outcome::Done(Answer::Txn { succeeded, results, .. })) => {
            let mut said = guards(names, txn, *succeeded);
            done(names, txn.branch(*succeeded), results, &mut said);
            vec![said]
        }
        (Call::Txn(txn), Outcome::Unknown(_)) => [true, false]
            .into_iter()
            .map(|succeeded| {
                let mut said = guards(names, txn, succeeded);
                changes(names, txn.branch(succeeded), &mut said);
                // What was only compared tells nothing while it is not known to have been done.
                said.retain(|_, (_, leaves)| leaves.is_some());
                said
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// What compares say of the values that were there.
fn guards<'h>(names: &Names<'h>, txn: &'h Txn, succeeded: bool) -> Said<'h> {
    let mut said = Said::new();
    // Of several compares that do not all hold, nobody knows which.
    if succeeded {
        for Compare { key, relation, target } in &txn.compare {
            if let (Relation::Equal, Target::Mod(revision)) = (relation, target)
                && let Some(value) = names.of_version(key, *revision)
            {
                said.insert(key, (Some(value), None));
            }
        }
    }
    said
}

fn read<'h>(names: &Names<'h>, range: &'h Range, found: &'h RangeAnswer, said: &mut Said<'h>) {
    if range.count_only || range.keys_only {
        return;
    }
    for kv in found.kvs.iter().take(KEYS_READ_MAX) {
        said.entry(&kv.key).or_default().0 = Some(names.of_value(&kv.value));
    }
    // What was not given was not there, where all was given.
    if !found.more {
        let absent = within(names, &range.keys).filter(|key| found.kvs.iter().all(|kv| kv.key != *key));
        for key in absent.take(KEYS_READ_MAX) {
            said.entry(key).or_default().0 = Some(NONE);
        }
    }
}

fn within<'n, 'h>(names: &'n Names<'h>, keys: &'n Keys) -> impl Iterator<Item = &'h str> + use<'n, 'h> {
    names
        .keys
        .range::<str, _>((Bound::Included(keys.start.as_str()), Bound::Unbounded))
        .take_while(|key| keys.contains(key))
        .copied()
}

/// The answers of a branch, and what it left.
fn done<'h>(names: &Names<'h>, ops: &'h [Op], results: &'h [OpAnswer], said: &mut Said<'h>) {
    for (op, result) in ops.iter().zip(results) {
        match (op, result) {
            (Op::Range(range), OpAnswer::Range(found)) if range.keys.is_one() && range.revision == 0 => {
                read(names, range, found, said);
            }
            (Op::Put { key, prev_kv: true, .. }, OpAnswer::Put { prev }) => {
                let before = prev.as_ref().map_or(NONE, |kv| names.of_value(&kv.value));
                said.entry(key).or_default().0 = Some(before);
            }
            (Op::Delete { .. }, OpAnswer::Delete { prev, .. }) => {
                for kv in prev {
                    said.entry(&kv.key).or_default().0 = Some(names.of_value(&kv.value));
                }
            }
            _ => {}
        }
    }
    changes(names, ops, said);
}

fn changes<'h>(names: &Names<'h>, ops: &'h [Op], said: &mut Said<'h>) {
    for op in ops {
        match op {
            Op::Put { key, value, .. } => {
                said.entry(key).or_default().1 = Some(names.of_value(value));
            }
            Op::Delete { keys, .. } => {
                for key in within(names, keys) {
                    said.entry(key).or_default().1 = Some(NONE);
                }
            }
            Op::Range(_) => {}
        }
    }
}
