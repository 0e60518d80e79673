//! The history in the order of revisions: who made each of them, and what each left.
//!
//! An acknowledged write says its revision. One whose outcome is unknown gets its own from the watches:
//! those of everything together name every change with its revision. What is left was done by leases
//! that ended. A revision that nobody can have made is a violation, and so is one that two have made.

use std::collections::{BTreeMap, BTreeSet};

use super::known::Known;
use super::model::{Effect, Model};
use super::words;
use crate::history::{Answer, Call, Event, History, Moment, Op, Outcome, Received, Txn};

/// Violations kept: one that goes wrong drags everything after it along.
const VIOLATIONS_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// By its place in the history.
    Operation(usize),
    Expired {
        lease: i64,
        /// Nobody's unknown deletion can have been it.
        sure: bool,
    },
}

pub(super) struct Replay<'h> {
    pub(super) history: &'h History,
    pub(super) known: Known,
    pub(super) model: Model,
    pub(super) causes: BTreeMap<i64, Cause>,
    /// The first moment at which somebody was told of an event of a revision.
    pub(super) first_seen: BTreeMap<i64, Moment>,
    /// Everything after the first and up to the second of these revisions is known.
    pub(super) base: i64,
    pub(super) complete_to: i64,
    pub(super) wrong: Vec<String>,
    seen: BTreeMap<i64, BTreeMap<&'h str, &'h Event>>,
    writers: BTreeMap<&'h str, usize>,
    /// Unknown transactions that may have deleted something.
    deleters: Vec<usize>,
    done: BTreeMap<usize, i64>,
    attached: BTreeMap<i64, BTreeSet<String>>,
    ended: BTreeMap<i64, i64>,
}

impl<'h> Replay<'h> {
    pub(super) fn of(history: &'h History) -> Replay<'h> {
        let (base, complete_to) = covered(history);
        let mut replay = Replay {
            history,
            known: Known::of(history),
            model: Model::default(),
            causes: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            base,
            complete_to,
            wrong: Vec::new(),
            seen: BTreeMap::new(),
            writers: BTreeMap::new(),
            deleters: Vec::new(),
            done: BTreeMap::new(),
            attached: BTreeMap::new(),
            ended: BTreeMap::new(),
        };
        replay.gather_events();
        let (claims, revokes) = replay.gather_operations();
        let mut revisions: BTreeSet<i64> = replay.seen.keys().copied().collect();
        revisions.extend(claims.keys().chain(revokes.keys()));
        if let Some((last, n)) = claims.last_key_value().filter(|(last, _)| **last > complete_to) {
            let what = words::operation(&history.operations[*n]);
            replay
                .say(format!("{what} was acknowledged at revision {last}, and watches end at {complete_to}"));
        }
        for revision in revisions.range(base + 1..=complete_to.max(base)) {
            replay.step(*revision, claims.get(revision).copied(), revokes.get(revision));
        }
        replay
    }

    fn say(&mut self, what: String) {
        if self.wrong.len() < VIOLATIONS_MAX {
            self.wrong.push(what);
        }
    }

    fn gather_events(&mut self) {
        let history = self.history;
        for piece in history.watches.iter().flat_map(|watch| &watch.pieces) {
            let Received::Events { events, .. } = &piece.what else { continue };
            for event in events {
                let revision = event.kv.mod_revision;
                let first = self.first_seen.entry(revision).or_insert(piece.at);
                *first = (*first).min(piece.at);
                let known = self.seen.entry(revision).or_default().entry(&event.kv.key).or_insert(event);
                if known.put != event.put || known.kv != event.kv {
                    let (one, other) = (words::version(Some(&known.kv)), words::version(Some(&event.kv)));
                    self.say(format!(
                        "watches were told two things of revision {revision}: {one} and {other}"
                    ));
                }
            }
        }
    }

    /// Which transaction says that it made a revision, and which leases were revoked at one.
    fn gather_operations(&mut self) -> (BTreeMap<i64, usize>, BTreeMap<i64, Vec<usize>>) {
        let history = self.history;
        let (mut claims, mut revokes) = (BTreeMap::new(), BTreeMap::<i64, Vec<usize>>::new());
        for (n, operation) in history.operations.iter().enumerate() {
            if let (Call::Revoke { .. }, Outcome::Done(Answer::Revoked { revision })) =
                (&operation.call, &operation.outcome)
            {
                revokes.entry(*revision).or_default().push(n);
            }
            let Call::Txn(txn) = &operation.call else { continue };
            for op in txn.success.iter().chain(&txn.failure) {
                if let Op::Put { value, .. } = op {
                    self.writers.insert(value, n);
                }
            }
            match &operation.outcome {
                Outcome::Done(answer) if answer.changed() => {
                    let revision = answer.revision().unwrap_or(0);
                    if let Some(other) = claims.insert(revision, n) {
                        let other = words::operation(&history.operations[other]);
                        let this = words::operation(operation);
                        self.say(format!(
                            "{other} was acknowledged at revision {revision}, and so was {this}"
                        ));
                    }
                }
                Outcome::Unknown(_) if deletes(txn) => self.deleters.push(n),
                _ => {}
            }
        }
        (claims, revokes)
    }

    fn step(&mut self, revision: i64, claim: Option<usize>, revokes: Option<&Vec<usize>>) {
        let revoke =
            revokes.and_then(|revokes| revokes.iter().find(|n| self.revoked(**n, revision)).copied());
        let (cause, effect) = if let Some(n) = claim {
            (Some(Cause::Operation(n)), self.acknowledged(n, revision))
        } else if let Some(n) = revoke {
            let effect = self.keys_of(n).into_iter().map(|key| (key, None)).collect();
            (Some(Cause::Operation(n)), effect)
        } else {
            self.explain(revision)
        };
        if let Some(Cause::Operation(n)) = cause {
            self.done.insert(n, revision);
        }
        self.compare(revision, cause, &effect);
        self.attach(revision, cause, &effect);
        self.model.apply(revision, effect);
        self.causes.extend(cause.map(|cause| (revision, cause)));
        for n in revokes.into_iter().flatten() {
            let left = self.keys_of(*n);
            let Call::Revoke { lease } = self.history.operations[*n].call else { continue };
            self.ended.insert(lease, revision);
            if !left.is_empty() {
                let what = words::operation(&self.history.operations[*n]);
                self.say(format!(
                    "{what} was acknowledged at revision {revision}, and {left:?} are still there"
                ));
            }
        }
    }

    /// Whether a revocation deleted keys at a revision: as far as is seen, those of its lease.
    fn revoked(&self, revoke: usize, revision: i64) -> bool {
        let keys = self.keys_of(revoke);
        let as_seen = self.seen.get(&revision).is_none_or(|events| {
            events.values().all(|event| !event.put)
                && events.keys().copied().eq(keys.iter().map(String::as_str))
        });
        !keys.is_empty() && as_seen
    }

    /// The keys that go with the lease that an operation revokes.
    fn keys_of(&self, revoke: usize) -> Vec<String> {
        match self.history.operations[revoke].call {
            Call::Revoke { lease } => self.attached.get(&lease).into_iter().flatten().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What an acknowledged transaction did; its answer is compared with what it should have been.
    fn acknowledged(&mut self, n: usize, revision: i64) -> Effect {
        let operation = &self.history.operations[n];
        let (Call::Txn(txn), Outcome::Done(Answer::Txn { succeeded, results, .. })) =
            (&operation.call, &operation.outcome)
        else {
            return Effect::new();
        };
        if self.model.holds(txn, revision - 1) != *succeeded {
            self.say(format!(
                "{} took the wrong branch at revision {revision}: its compares {}",
                words::operation(operation),
                if *succeeded { "did not hold" } else { "held" }
            ));
        }
        let done = self.model.run(txn.branch(*succeeded), revision - 1, revision);
        if let Some(wrong) = super::serial::differs(&done.results, results) {
            self.say(format!("{} at revision {revision}: {wrong}", words::operation(operation)));
        }
        done.effect
    }

    /// Who can have made a revision that nobody was told to have made.
    fn explain(&mut self, revision: i64) -> (Option<Cause>, Effect) {
        let Some(events) = self.seen.get(&revision) else { return (None, Effect::new()) };
        let as_seen: Effect = events
            .iter()
            .map(|(key, event)| ((*key).to_owned(), event.put.then(|| event.kv.clone())))
            .collect();
        let put = events.values().find(|event| event.put).copied();
        if let Some(event) = put {
            let name = words::version(Some(&event.kv));
            let Some(n) = self.writers.get(event.kv.value.as_str()).copied() else {
                self.say(format!("{name} of revision {revision} was written by nobody"));
                return (None, as_seen);
            };
            return match self.unknown_put(n, revision) {
                Some(effect) => (Some(Cause::Operation(n)), effect),
                None => (None, as_seen),
            };
        }
        match self.who_deleted(revision, &as_seen) {
            Some(cause) => (Some(cause), as_seen),
            None => {
                let keys: Vec<_> = as_seen.keys().collect();
                self.say(format!("{keys:?} were deleted at revision {revision} by nobody"));
                (None, as_seen)
            }
        }
    }

    /// What an operation did whose value was seen at a revision that no answer names.
    fn unknown_put(&mut self, n: usize, revision: i64) -> Option<Effect> {
        let operation = &self.history.operations[n];
        let what = words::operation(operation);
        if let Some(before) = self.done.get(&n) {
            self.say(format!("{what} was done twice, at revisions {before} and {revision}"));
            return None;
        }
        match &operation.outcome {
            Outcome::Unknown(_) => {}
            Outcome::Refused(why) => {
                self.say(format!("{what} was refused ({why:?}) and done at revision {revision}"));
                return None;
            }
            Outcome::Done(answer) => {
                let told = answer.revision().unwrap_or(0);
                self.say(format!("{what} was acknowledged at revision {told} and done at {revision}"));
                return None;
            }
        }
        if self.known.before(operation.begin.tick) >= revision {
            self.say(format!("{what} was done at revision {revision}, which is older than it"));
        }
        let Call::Txn(txn) = &operation.call else { return None };
        let succeeded = self.model.holds(txn, revision - 1);
        Some(self.model.run(txn.branch(succeeded), revision - 1, revision).effect)
    }

    fn who_deleted(&self, revision: i64, deleted: &Effect) -> Option<Cause> {
        let could = |n: &&usize| {
            let operation = &self.history.operations[**n];
            let Call::Txn(txn) = &operation.call else { return false };
            !self.done.contains_key(*n) && self.known.before(operation.begin.tick) < revision && {
                let succeeded = self.model.holds(txn, revision - 1);
                let branch = txn.branch(succeeded);
                deletes_any(branch, deleted)
                    && self.model.run(branch, revision - 1, revision).effect == *deleted
            }
        };
        let guarded = |n: &&usize| matches!(&self.history.operations[**n].call, Call::Txn(txn) if !txn.compare.is_empty());
        // Those first that can have been done here and perhaps nowhere else.
        if let Some(n) = self.deleters.iter().filter(guarded).find(could) {
            return Some(Cause::Operation(*n));
        }
        let unguarded = self.deleters.iter().find(could).map(|n| Cause::Operation(*n));
        let lease =
            deleted.keys().next().and_then(|key| self.model.at(key, revision - 1)).map_or(0, |kv| kv.lease);
        if lease != 0 && self.attached.get(&lease).is_some_and(|keys| keys.iter().eq(deleted.keys())) {
            let revoked = self.history.operations.iter().position(|operation| {
                operation.call == (Call::Revoke { lease })
                    && matches!(operation.outcome, Outcome::Unknown(_))
                    && self.known.before(operation.begin.tick) < revision
            });
            let expired = Cause::Expired { lease, sure: unguarded.is_none() };
            return Some(revoked.map_or(expired, Cause::Operation));
        }
        unguarded
    }

    /// What watches were told of a revision is what it did.
    fn compare(&mut self, revision: i64, cause: Option<Cause>, effect: &Effect) {
        let (history, empty) = (self.history, BTreeMap::new());
        let seen = self.seen.get(&revision).unwrap_or(&empty);
        let who = match cause {
            Some(Cause::Operation(n)) => match &history.operations[n].outcome {
                Outcome::Done(_) => format!("{} was acknowledged", words::operation(&history.operations[n])),
                _ => format!("{} was done", words::operation(&history.operations[n])),
            },
            Some(Cause::Expired { lease, .. }) => format!("lease {lease} ended"),
            None => return,
        };
        let mut wrong = Vec::new();
        for (key, after) in effect {
            match (seen.get(key.as_str()), after) {
                (None, _) => {
                    wrong.push(format!("{who} at revision {revision}, and no watch was told of {key}"))
                }
                (Some(event), Some(after)) if event.put && event.kv == *after => {}
                (Some(event), None) if !event.put => {}
                (Some(event), after) => wrong.push(format!(
                    "{who} at revision {revision}: {} was seen where {} should be",
                    words::version(event.put.then_some(&event.kv)),
                    words::version(after.as_ref())
                )),
            }
        }
        for key in seen.keys().filter(|key| !effect.contains_key(**key)) {
            wrong.push(format!("{who} at revision {revision}, and a watch was told of {key}, too"));
        }
        wrong.into_iter().for_each(|what| self.say(what));
    }

    /// Follows which keys go with which leases.
    fn attach(&mut self, revision: i64, cause: Option<Cause>, effect: &Effect) {
        for (key, after) in effect {
            if let Some(before) = self.model.at(key, revision - 1)
                && let Some(keys) = self.attached.get_mut(&before.lease)
            {
                keys.remove(key);
            }
            let Some(after) = after.as_ref().filter(|after| after.lease != 0) else { continue };
            if let Some(end) = self.ended.get(&after.lease) {
                let what = words::version(Some(after));
                self.say(format!("{what} was put under a lease that had ended at revision {end}"));
            }
            self.attached.entry(after.lease).or_default().insert(key.clone());
        }
        match cause {
            Some(Cause::Expired { lease, sure: true }) => drop(self.ended.insert(lease, revision)),
            Some(Cause::Operation(n)) => {
                if let Call::Revoke { lease } = self.history.operations[n].call {
                    self.ended.insert(lease, revision);
                }
            }
            _ => {}
        }
    }
}

/// Where the watches of everything begin, and how far they reach together without a gap.
fn covered(history: &History) -> (i64, i64) {
    let whole = history.watches.iter().filter(|watch| watch.whole);
    let mut parts: Vec<_> = whole.map(|watch| (watch.from, watch.reached())).collect();
    parts.sort_unstable();
    let Some((base, _)) = parts.first().copied() else { return (0, 0) };
    (base, parts.into_iter().fold(base, |end, (from, to)| if from <= end { end.max(to) } else { end }))
}

fn deletes(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| matches!(op, Op::Delete { .. }))
}

fn deletes_any(ops: &[Op], deleted: &Effect) -> bool {
    ops.iter().any(|op| matches!(op, Op::Delete { keys, .. } if deleted.keys().any(|key| keys.contains(key))))
}
