//! Bugs of reads, and of whoever answers them.

use super::super::model::Model;
use super::super::replay::Replay;
use super::afterwards;
use super::writes::{put_place, set_revision};
use crate::history::{Answer, Call, History, Op, Outcome, Range, RangeAnswer, Refusal, Relation, Target};

pub(super) fn model(history: &History) -> Model {
    Replay::of(history).model
}

/// A read in the second half that suits, and that found something.
pub(super) fn read_place(
    history: &mut History,
    wanted: fn(&Range) -> bool,
) -> Option<(usize, &mut RangeAnswer)> {
    let half = history.operations.len() / 2;
    history.operations.iter_mut().enumerate().skip(half).find_map(|(n, operation)| {
        match (&operation.call, &mut operation.outcome) {
            (Call::Range(range), Outcome::Done(Answer::Range(answer)))
                if wanted(range) && !range.keys_only && !answer.kvs.is_empty() =>
            {
                Some((n, answer))
            }
            _ => None,
        }
    })
}

pub(super) fn newest(range: &Range) -> bool {
    range.revision == 0 && !range.serializable
}

pub(super) fn spoil(history: &mut History, wanted: fn(&Range) -> bool, how: fn(&mut RangeAnswer)) -> bool {
    let place = read_place(history, wanted);
    place.map(|(_, answer)| how(answer)).is_some()
}

pub(super) fn wrong_version_read(history: &mut History) -> bool {
    spoil(history, newest, |answer| answer.kvs[0].version += 1)
}

pub(super) fn wrong_value_read(history: &mut History) -> bool {
    spoil(history, newest, |answer| answer.kvs[0].value = "0.1".into())
}

pub(super) fn list_misses_one(history: &mut History) -> bool {
    spoil(history, |range| newest(range) && !range.keys.is_one(), |answer| drop(answer.kvs.remove(0)))
}

pub(super) fn list_miscounts(history: &mut History) -> bool {
    spoil(history, newest, |answer| answer.count += 1)
}

pub(super) fn list_hides_more(history: &mut History) -> bool {
    spoil(history, newest, |answer| answer.more = !answer.more)
}

pub(super) fn wrong_serializable_read(history: &mut History) -> bool {
    spoil(
        history,
        |range| range.serializable && range.revision == 0,
        |answer| answer.kvs[0].mod_revision -= 1,
    )
}

pub(super) fn wrong_past_read(history: &mut History) -> bool {
    spoil(history, |range| range.revision > 0, |answer| answer.kvs[0].value = "0.1".into())
}

pub(super) fn read_the_future(history: &mut History) -> bool {
    spoil(history, |range| range.revision > 0, |answer| answer.revision = 1)
}

/// A read of one key gives what was there long before.
pub(super) fn stale_read(history: &mut History) -> bool {
    let model = model(history);
    let half = history.operations.len() / 2;
    for operation in history.operations.iter_mut().skip(half) {
        let (Call::Range(range), Outcome::Done(Answer::Range(answer))) =
            (&operation.call, &mut operation.outcome)
        else {
            continue;
        };
        let plain = range.keys.start.starts_with("/chaos/k/") && range.keys.is_one() && newest(range);
        let past = answer.revision / 2;
        let before = model.range(range, past);
        if plain
            && !range.count_only
            && !range.keys_only
            && !before.kvs.is_empty()
            && before.kvs != answer.kvs
        {
            *answer = before;
            answer.revision = past;
            return true;
        }
    }
    false
}

/// A swap that won is acknowledged to another one as well, who swaps the same version.
pub(super) fn swap_twice(history: &mut History) -> bool {
    let is_swap = |operation: &&crate::history::Operation| {
        let (Call::Txn(txn), Outcome::Done(Answer::Txn { succeeded: true, .. })) =
            (&operation.call, &operation.outcome)
        else {
            return false;
        };
        let ([compare], [Op::Put { lease: 0, key, .. }]) = (&txn.compare[..], &txn.success[..]) else {
            return false;
        };
        let guarded = matches!(compare.target, Target::Mod(1..)) && compare.relation == Relation::Equal;
        guarded && *key == compare.key && key.starts_with("/chaos/k/")
    };
    let Some(mut again) = history.operations.iter().rfind(is_swap).cloned() else { return false };
    (again.begin, again.end) = afterwards(history);
    history.operations.push(again);
    true
}

pub(super) fn write_in_the_past(history: &mut History) -> bool {
    let Some((n, _)) = put_place(history) else { return false };
    let (begin, end) = afterwards(history);
    let operation = &mut history.operations[n];
    (operation.begin, operation.end) = (begin, end);
    true
}

pub(super) fn member_goes_back(history: &mut History) -> bool {
    let last = history.operations.iter_mut().rev().find(|operation| operation.member.is_some());
    let Some(operation) = last else { return false };
    set_revision(operation, 2);
    true
}

pub(super) fn hide_too_much(history: &mut History) -> bool {
    let count = history.operations.len();
    let reads = history.operations.iter_mut().skip(count / 2);
    for operation in reads {
        if let (Call::Range(range), Outcome::Done(Answer::Range(answer))) =
            (&operation.call, &operation.outcome)
            && range.revision > 0
        {
            let revision = answer.revision;
            operation.outcome = Outcome::Refused(Refusal::Compacted { revision });
            return true;
        }
    }
    false
}

pub(super) fn deny_the_past(history: &mut History) -> bool {
    let count = history.operations.len();
    for operation in history.operations.iter_mut().skip(count / 2) {
        if let (Call::Range(range), Outcome::Done(_)) = (&operation.call, &operation.outcome)
            && range.revision > 0
            && !range.serializable
        {
            operation.outcome = Outcome::Refused(Refusal::FutureRevision);
            return true;
        }
    }
    false
}
