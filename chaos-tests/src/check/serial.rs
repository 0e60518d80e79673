//! Strict serializability, in near linear time: the order of revisions is the order in which things
//! happened, every answer is the one of its revision, and no answer is older than what was known when
//! it was asked for.

use std::collections::BTreeMap;

use super::judged::Judged;
use super::replay::Replay;
use super::{Found, words};
use crate::history::{Answer, Call, History, OpAnswer, Operation, Outcome, Range, RangeAnswer};

/// Every write was done once, as it was acknowledged and as watches tell it; none that was refused.
pub(super) fn writes_are_as_acknowledged(found: &Found<'_>) -> Judged {
    let replay = found.replay;
    Judged { looked_at: replay.causes.len() as u64, wrong: replay.wrong.clone(), ..Judged::default() }
}

/// Every read, and every transaction that changed nothing, says what was there at its revision.
pub(super) fn reads_are_of_their_revision(&Found { history, replay, .. }: &Found<'_>) -> Judged {
    let mut judged = Judged::default();
    for operation in &history.operations {
        let Outcome::Done(answer) = &operation.outcome else { continue };
        let found = match (&operation.call, answer) {
            (Call::Range(range), Answer::Range(answer)) => match read(replay, range, answer) {
                Some(found) => found,
                None => continue,
            },
            (Call::Txn(txn), Answer::Txn { revision, succeeded, results }) if !answer.changed() => {
                if *revision < replay.base || *revision > replay.complete_to {
                    continue;
                } else if replay.model.holds(txn, *revision) != *succeeded {
                    Some(format!("took the wrong branch at revision {revision}"))
                } else {
                    let expected = replay.model.run(txn.branch(*succeeded), *revision, *revision).results;
                    differs(&expected, results).map(|what| format!("at revision {revision}: {what}"))
                }
            }
            _ => continue,
        };
        judged.case(found.map(|what| format!("{}: {what}", words::operation(operation))));
    }
    judged
}

/// What is wrong with an answer; nothing where what was there then is not known.
fn read(replay: &Replay<'_>, range: &Range, answer: &RangeAnswer) -> Option<Option<String>> {
    let at = if range.revision > 0 { range.revision } else { answer.revision };
    if at > answer.revision {
        let told = answer.revision;
        return Some(Some(format!("was answered at revision {told}, which had not come to {at}")));
    }
    if at < replay.base || at > replay.complete_to {
        return None;
    }
    let expected = replay.model.range(range, at);
    Some(differ(&expected, answer).map(|what| format!("at revision {at}: {what}")))
}

fn differ(expected: &RangeAnswer, found: &RangeAnswer) -> Option<String> {
    if expected.kvs != found.kvs {
        return Some(words::difference(&expected.kvs, &found.kvs));
    }
    if expected.count != found.count {
        return Some(format!("{} keys were counted and there are {}", found.count, expected.count));
    }
    (expected.more != found.more).then(|| format!("more is {} and should be {}", found.more, expected.more))
}

/// How the answers of a transaction's operations differ from what they should be.
pub(super) fn differs(expected: &[OpAnswer], found: &[OpAnswer]) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{} operations were answered and {} asked for", found.len(), expected.len()));
    }
    expected.iter().zip(found).find_map(|pair| match pair {
        (OpAnswer::Range(expected), OpAnswer::Range(found)) => differ(expected, found),
        (OpAnswer::Put { prev: expected }, OpAnswer::Put { prev: found }) => (expected != found).then(|| {
            let (found, expected) = (words::version(found.as_ref()), words::version(expected.as_ref()));
            format!("{found} was put over, it is said, and it was {expected}")
        }),
        (
            OpAnswer::Delete { deleted: expected, prev: expected_prev },
            OpAnswer::Delete { deleted: found, prev: found_prev },
        ) => {
            if expected != found {
                return Some(format!("{found} keys were deleted, it is said, and {expected} were there"));
            }
            let differ = expected_prev != found_prev;
            differ.then(|| words::difference(expected_prev, found_prev) + ", of what was deleted")
        }
        _ => Some("an operation was answered as another kind".to_owned()),
    })
}

/// Where an answer stands in the order of revisions.
enum Place {
    /// It made this revision.
    Made(i64),
    /// It saw this one, which was the newest at some moment of the call.
    Newest(i64),
    /// It saw this one, which may have been the newest long ago.
    Past,
}

fn place(operation: &Operation) -> Option<Place> {
    let Outcome::Done(answer) = &operation.outcome else { return None };
    let revision = answer.revision()?;
    Some(match &operation.call {
        Call::Range(range) if range.serializable || range.revision > 0 => Place::Past,
        _ if answer.changed() => Place::Made(revision),
        _ => Place::Newest(revision),
    })
}

/// A write that began after revision r was known gets one above r; a linearizable read is answered at
/// r or above.
pub(super) fn nothing_falls_behind(&Found { history, known, .. }: &Found<'_>) -> Judged {
    let mut judged = Judged::default();
    for operation in &history.operations {
        let before = known.before(operation.begin.tick);
        let (behind, how, revision) = match place(operation) {
            Some(Place::Made(revision)) => (revision <= before, "acknowledged", revision),
            Some(Place::Newest(revision)) => (revision < before, "answered", revision),
            _ => continue,
        };
        judged.case(behind.then(|| {
            let what = words::operation(operation);
            format!("{what} was {how} at revision {revision} after {before} was known")
        }));
    }
    judged
}

/// Who asks one member only is never answered at a lower revision than before.
pub(super) fn members_never_go_back(history: &History) -> Judged {
    let mut seen: BTreeMap<(u32, &str), i64> = BTreeMap::new();
    let mut judged = Judged::default();
    let mut operations: Vec<&Operation> = history.operations.iter().collect();
    operations.sort_by_key(|operation| operation.end.tick);
    for operation in operations {
        let (Some(member), Outcome::Done(answer)) = (&operation.member, &operation.outcome) else { continue };
        let Some(revision) = answer.revision() else { continue };
        let before = seen.entry((operation.client, member)).or_default();
        judged.look();
        if revision < *before {
            let what = words::operation(operation);
            judged.say(format!("{what} was answered by {member} at revision {revision} after {before}"));
        }
        *before = (*before).max(revision);
    }
    judged
}
