//! Bugs of writes.

use super::{afterwards, events_of};
use crate::history::{
    Answer, Call, Event, History, KeyVersion, Op, OpAnswer, Operation, Outcome, Received, Refusal, Relation,
    Target, Txn,
};

/// An acknowledged transaction that puts one key and does nothing else.
pub(super) fn put_place(history: &History) -> Option<(usize, i64)> {
    let count = history.operations.len();
    let mut places = history.operations.iter().enumerate().skip(count / 3);
    places.find_map(|(n, operation)| Some((n, single_put(operation)?)))
}

pub(super) fn single_put(operation: &Operation) -> Option<i64> {
    match (&operation.call, &operation.outcome) {
        (Call::Txn(Txn { success, failure, .. }), Outcome::Done(answer))
            if matches!(success[..], [Op::Put { lease: 0, .. }])
                && failure.is_empty()
                && answer.changed() =>
        {
            answer.revision()
        }
        _ => None,
    }
}

pub(super) fn every_event(history: &mut History) -> impl Iterator<Item = &mut Event> {
    let pieces = history.watches.iter_mut().flat_map(|watch| &mut watch.pieces);
    pieces.filter_map(events_of).flat_map(|(_, events)| events)
}

pub(super) fn without_revision(history: &mut History, revision: i64) {
    for watch in &mut history.watches {
        for piece in &mut watch.pieces {
            if let Some((last, events)) = events_of(piece) {
                events.retain(|event| event.kv.mod_revision != revision);
                *last = events.last().map_or(*last, |event| event.kv.mod_revision);
            }
        }
        watch
            .pieces
            .retain(|piece| !matches!(&piece.what, Received::Events { events, .. } if events.is_empty()));
    }
}

pub(super) fn lose_write(history: &mut History) -> bool {
    let Some((_, revision)) = put_place(history) else { return false };
    without_revision(history, revision);
    true
}

pub(super) fn share_revision(history: &mut History) -> bool {
    let Some((n, _)) = put_place(history) else { return false };
    let again = history.operations[n].clone();
    history.operations.push(again);
    true
}

pub(super) fn refuse_what_was_done(history: &mut History) -> bool {
    let Some((n, _)) = put_place(history) else { return false };
    history.operations[n].outcome = Outcome::Refused(Refusal::Other("no leader".into()));
    true
}

pub(super) fn do_twice(history: &mut History) -> bool {
    let Some((n, _)) = put_place(history) else { return false };
    let (key, value) = match &history.operations[n].call {
        Call::Txn(Txn { success, .. }) => match &success[0] {
            Op::Put { key, value, .. } => (key.clone(), value.clone()),
            _ => return false,
        },
        _ => return false,
    };
    let same_key = |operation: &Operation| matches!(&operation.call, Call::Txn(Txn { success, .. }) if matches!(&success[..], [Op::Put { key: other, .. }] if *other == key));
    let later = history.operations.iter().enumerate().skip(n + 1);
    let found = later
        .filter(|(_, operation)| same_key(operation))
        .find_map(|(m, operation)| Some((m, single_put(operation)?)));
    let Some((m, revision)) = found else { return false };
    history.operations.remove(m);
    history.operations[n].outcome = Outcome::Unknown("timeout".into());
    every_event(history).filter(|event| event.kv.mod_revision == revision).for_each(|event| {
        event.kv.value.clone_from(&value);
    });
    true
}

pub(super) fn write_by_nobody(history: &mut History) -> bool {
    let Some((n, _)) = put_place(history) else { return false };
    history.operations.remove(n);
    true
}

pub(super) fn delete_by_nobody(history: &mut History) -> bool {
    let deletes = |operation: &Operation| {
        let only = matches!(&operation.call, Call::Txn(Txn { success, .. }) if matches!(success[..], [Op::Delete { .. }]));
        only && matches!(&operation.outcome, Outcome::Done(answer) if answer.changed())
    };
    let Some(n) = history.operations.iter().position(deletes) else { return false };
    history.operations.remove(n);
    // Nor may one that is unknown have done it.
    history.operations.retain(|operation| !matches!(operation.outcome, Outcome::Unknown(_)));
    true
}

pub(super) fn set_revision(operation: &mut Operation, to: i64) {
    match &mut operation.outcome {
        Outcome::Done(Answer::Txn { revision, .. } | Answer::Barrier { revision }) => *revision = to,
        Outcome::Done(Answer::Range(range)) => range.revision = to,
        _ => {}
    }
}

pub(super) fn acknowledge_elsewhere(history: &mut History) -> bool {
    let Some((n, revision)) = put_place(history) else { return false };
    set_revision(&mut history.operations[n], revision + 1_000_000);
    true
}

pub(super) fn do_too_early(history: &mut History) -> bool {
    let Some((n, _)) = put_place(history) else { return false };
    let (begin, end) = afterwards(history);
    let operation = &mut history.operations[n];
    operation.outcome = Outcome::Unknown("timeout".into());
    (operation.begin, operation.end) = (begin, end);
    true
}

pub(super) fn take_wrong_branch(history: &mut History) -> bool {
    for operation in &mut history.operations {
        let changed = matches!(&operation.outcome, Outcome::Done(answer) if answer.changed());
        if let Call::Txn(txn) = &mut operation.call
            && changed
            && let [compare] = &mut txn.compare[..]
            && matches!(compare.target, Target::Mod(_))
            && matches!(compare.relation, Relation::Equal)
            && matches!(&operation.outcome, Outcome::Done(Answer::Txn { succeeded: true, .. }))
        {
            compare.target = Target::Mod(1_000_000_000);
            return true;
        }
    }
    false
}

pub(super) fn read_wrong_branch(history: &mut History) -> bool {
    for operation in &mut history.operations {
        if let (Call::Txn(txn), Outcome::Done(answer)) = (&mut operation.call, &operation.outcome)
            && !answer.changed()
            && !txn.compare.is_empty()
            && matches!(answer, Answer::Txn { succeeded: false, .. })
        {
            txn.compare.clear();
            return true;
        }
    }
    false
}

pub(super) fn change_everywhere(history: &mut History, change: fn(&mut KeyVersion)) -> bool {
    let Some((_, revision)) = put_place(history) else { return false };
    let mut changed = 0;
    for event in every_event(history).filter(|event| event.kv.mod_revision == revision) {
        change(&mut event.kv);
        changed += 1;
    }
    changed > 0
}

pub(super) fn wrong_version_everywhere(history: &mut History) -> bool {
    change_everywhere(history, |kv| kv.version += 1)
}

pub(super) fn wrong_creation_everywhere(history: &mut History) -> bool {
    change_everywhere(history, |kv| kv.create_revision -= 1)
}

/// The answer of an operation of a transaction that suits.
pub(super) fn result(history: &mut History, wanted: fn(&OpAnswer) -> bool) -> Option<&mut OpAnswer> {
    history.operations.iter_mut().find_map(|operation| match &mut operation.outcome {
        Outcome::Done(Answer::Txn { results, .. }) => results.iter_mut().find(|result| wanted(result)),
        _ => None,
    })
}

pub(super) fn wrong_put_answer(history: &mut History) -> bool {
    match result(history, |result| matches!(result, OpAnswer::Put { prev: Some(_) })) {
        Some(OpAnswer::Put { prev }) => {
            *prev = None;
            true
        }
        _ => false,
    }
}

pub(super) fn miscount_deletion(history: &mut History) -> bool {
    match result(history, |result| matches!(result, OpAnswer::Delete { deleted: 1.., .. })) {
        Some(OpAnswer::Delete { deleted, .. }) => {
            *deleted += 1;
            true
        }
        _ => false,
    }
}

/// A transaction that put something and read something of the past. Not among the first, which no watcher
/// may have seen, and not one that deletes only: another that was lost may have done that as well.
fn past_place(history: &mut History) -> Option<&mut Operation> {
    let count = history.operations.len();
    let mut places = history.operations.iter_mut().skip(count / 3);
    places.find(|operation| match (&operation.call, &operation.outcome) {
        (Call::Txn(txn), Outcome::Done(Answer::Txn { succeeded, results, .. })) => {
            let branch = txn.branch(*succeeded);
            let puts = branch.iter().any(|op| matches!(op, Op::Put { .. }));
            puts && past_result(branch, results).is_some()
        }
        _ => false,
    })
}

fn past_result(ops: &[Op], results: &[OpAnswer]) -> Option<usize> {
    ops.iter().zip(results).position(|pair| match pair {
        (Op::Range(range), OpAnswer::Range(found)) => range.revision > 0 && !found.kvs.is_empty(),
        _ => false,
    })
}

pub(super) fn past_in_transaction(history: &mut History) -> bool {
    let Some(operation) = past_place(history) else { return false };
    if let (Call::Txn(txn), Outcome::Done(Answer::Txn { succeeded, results, .. })) =
        (&operation.call, &mut operation.outcome)
        && let Some(n) = past_result(txn.branch(*succeeded), results)
        && let OpAnswer::Range(found) = &mut results[n]
    {
        found.kvs[0].version += 1;
        return true;
    }
    false
}

pub(super) fn compacted_and_done(history: &mut History) -> bool {
    let Some(operation) = past_place(history) else { return false };
    let Outcome::Done(answer) = &operation.outcome else { return false };
    let revision = answer.revision().unwrap_or(0);
    operation.outcome = Outcome::Refused(Refusal::Compacted { revision });
    true
}
