//! What a watch promises, one promise at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::judged::Judged;
use super::model::Change;
use super::{Found, words};
use crate::history::{
    Answer, Call, Event, History, Op, OpAnswer, Operation, Outcome, Piece, Received, Watch,
};
use crate::traffic::store::END_KEY;

/// What `check` finds of every watch.
fn each(history: &History, check: impl Fn(&Watch, &mut Judged)) -> Judged {
    let mut judged = Judged::default();
    for watch in &history.watches {
        let mut found = Judged::default();
        check(watch, &mut found);
        judged.looked_at += found.looked_at;
        let named = |what| format!("watch {} of {}: {what}", watch.watcher, watch.keys);
        judged.wrong.extend(found.wrong.into_iter().map(named));
    }
    judged
}

fn batches(watch: &Watch) -> impl Iterator<Item = (&Piece, i64, &Vec<Event>)> {
    watch.pieces.iter().filter_map(|piece| match &piece.what {
        Received::Events { revision, events } => Some((piece, *revision, events)),
        _ => None,
    })
}

/// Revisions only grow, from one event to the next and from one response to the next.
pub(super) fn ordered(history: &History) -> Judged {
    each(history, |watch, judged| {
        let mut last = 0;
        for (_, revision, events) in batches(watch) {
            judged.look_at(events.len());
            for event in events {
                if event.kv.mod_revision < last {
                    judged.say(format!(
                        "{} of revision {} came after revision {last}",
                        event.kv.key, event.kv.mod_revision
                    ));
                }
                last = last.max(event.kv.mod_revision);
            }
            if events.last().map(|event| event.kv.mod_revision) != Some(revision) {
                judged.say(format!("a response of revision {revision} does not end with an event of it"));
            }
        }
    })
}

/// No event twice, whether in one stream or after it was taken up again.
pub(super) fn unique(history: &History) -> Judged {
    each(history, |watch, judged| {
        let mut got = BTreeSet::new();
        for event in batches(watch).flat_map(|(_, _, events)| events) {
            judged.look();
            if !got.insert((event.kv.mod_revision, &event.kv.key)) {
                judged.say(format!("{} of revision {} came twice", event.kv.key, event.kv.mod_revision));
            }
        }
    })
}

/// All events of one revision come in one response.
pub(super) fn atomic(history: &History) -> Judged {
    each(history, |watch, judged| {
        let mut whole = BTreeMap::new();
        for (n, (_, _, events)) in batches(watch).enumerate() {
            judged.look_at(events.len());
            for event in events {
                let first = *whole.entry(event.kv.mod_revision).or_insert(n);
                if first != n {
                    judged.say(format!("revision {} came in more than one response", event.kv.mod_revision));
                    break;
                }
            }
        }
    })
}

/// Every change that a watch asked for comes, up to where it says that it has got.
pub(super) fn reliable(&Found { history, replay, changes, .. }: &Found<'_>) -> Judged {
    each(history, |watch, judged| {
        let got: BTreeSet<(i64, &str)> = batches(watch)
            .flat_map(|(_, _, events)| events)
            .map(|event| (event.kv.mod_revision, event.kv.key.as_str()))
            .collect();
        let reached = watch.reached().min(replay.complete_to);
        if reached <= watch.from {
            return;
        }
        for ((revision, key), change) in changes.range((watch.from + 1, "")..(reached + 1, "")) {
            if wants(watch, key, change) {
                let came = got.contains(&(*revision, *key));
                let what = || words::version(change.after);
                judged.case((!came).then(|| format!("{key} of revision {revision} never came: {}", what())));
            }
        }
    })
}

fn wants(watch: &Watch, key: &str, change: &Change<'_>) -> bool {
    watch.keys.contains(key) && if change.after.is_some() { !watch.no_put } else { !watch.no_delete }
}

/// Who follows to the end is told of it, however slowly it reads, unless its place was compacted; and
/// what is cut off before says why.
pub(super) fn reach_the_end(history: &History) -> Judged {
    let end = history.operations.iter().find_map(end);
    each(history, |watch, judged| {
        for piece in &watch.pieces {
            if let Received::Ended { why } = &piece.what {
                judged.case(why.is_empty().then(|| "it was ended without a reason".to_owned()));
            }
        }
        if let Some(end) = end.filter(|_| (watch.whole || watch.slow) && !watch.lost()) {
            let reached = watch.reached();
            judged.case((reached < end).then(|| format!("it got to {reached}, and the end is at {end}")));
        }
    })
}

/// The revision of the run's last write, if the operation tells it.
fn end(operation: &Operation) -> Option<i64> {
    let (Call::Txn(txn), Outcome::Done(Answer::Txn { revision, succeeded, results })) =
        (&operation.call, &operation.outcome)
    else {
        return None;
    };
    let ends = txn.success.iter().any(|op| matches!(op, Op::Put { key, .. } if key == END_KEY));
    match results.first() {
        Some(OpAnswer::Range(found)) if ends && !succeeded => Some(found.kvs.first()?.mod_revision),
        _ => ends.then_some(*revision),
    }
}

/// Nothing comes that did not happen, or that happened otherwise.
pub(super) fn true_to_what_happened(&Found { history, replay, changes, .. }: &Found<'_>) -> Judged {
    each(history, |watch, judged| {
        for event in batches(watch).flat_map(|(_, _, events)| events) {
            let kv = &event.kv;
            if kv.mod_revision <= replay.base || kv.mod_revision > replay.complete_to {
                continue;
            }
            judged.look();
            match changes.get(&(kv.mod_revision, kv.key.as_str())) {
                None => judged.say(format!("{} never happened", words::version(Some(kv)))),
                Some(change) if change.after != event.put.then_some(kv) => judged.say(format!(
                    "{} was told, and it was {}",
                    words::version(event.put.then_some(kv)),
                    words::version(change.after)
                )),
                Some(_) => {}
            }
        }
    })
}

/// A stream begins where it was asked to, and not before.
pub(super) fn resumable(history: &History) -> Judged {
    each(history, |watch, judged| {
        let mut start = 0;
        for piece in &watch.pieces {
            match &piece.what {
                Received::Opened { start: asked } => start = *asked,
                // One that begins now may begin anywhere.
                Received::Events { events, .. } if start > 0 => {
                    judged.look_at(events.len());
                    if let Some(event) = events.iter().find(|event| event.kv.mod_revision < start) {
                        judged.say(format!(
                            "{} of revision {} came in a stream from {start} on",
                            event.kv.key, event.kv.mod_revision
                        ));
                    }
                }
                _ => {}
            }
        }
    })
}

/// After progress at a revision nothing up to it comes any more, and everything of it has come.
pub(super) fn bookmarkable(&Found { history, replay, changes, .. }: &Found<'_>) -> Judged {
    each(history, |watch, judged| {
        let (mut promised, mut got) = (0, BTreeSet::new());
        // Up to here everything has been looked for.
        let mut looked = watch.from;
        for piece in &watch.pieces {
            match &piece.what {
                Received::Events { events, .. } => {
                    for event in events {
                        if event.kv.mod_revision <= promised {
                            judged.say(format!(
                                "{} of revision {} came after progress at {promised}",
                                event.kv.key, event.kv.mod_revision
                            ));
                        }
                        got.insert((event.kv.mod_revision, event.kv.key.as_str()));
                    }
                }
                Received::Progress { revision } => {
                    promised = promised.max(*revision);
                    let until = promised.min(replay.complete_to);
                    judged.look();
                    if until > looked {
                        for ((made, key), change) in changes.range((looked + 1, "")..(until + 1, "")) {
                            if wants(watch, key, change) && !got.contains(&(*made, *key)) {
                                judged.say(format!(
                                    "progress at {revision} came before {key} of revision {made}"
                                ));
                            }
                        }
                        looked = until;
                    }
                }
                _ => {}
            }
        }
    })
}

/// The version before comes where it was asked for, and is the one before.
pub(super) fn previous_versions(&Found { history, changes, compactions, .. }: &Found<'_>) -> Judged {
    each(history, |watch, judged| {
        for (piece, _, events) in batches(watch) {
            for event in events {
                let revision = event.kv.mod_revision;
                let Some(change) = changes.get(&(revision, event.kv.key.as_str())) else { continue };
                judged.look();
                let expected = if watch.prev_kv { change.before } else { None };
                // The one before is history, and may be compacted.
                let hidden = event.prev.is_none()
                    && (revision <= compactions.before(piece.at.tick) || !history.compactions_known);
                if event.prev.as_ref() != expected && !hidden {
                    judged.say(format!(
                        "{} of revision {revision} came with {} before it, and it was {}",
                        event.kv.key,
                        words::version(event.prev.as_ref()),
                        words::version(expected)
                    ));
                }
            }
        }
    })
}

/// Nothing comes that was filtered out or lies outside of the range.
pub(super) fn filtered(history: &History) -> Judged {
    each(history, |watch, judged| {
        for event in batches(watch).flat_map(|(_, _, events)| events) {
            judged.look();
            if !watch.wants(event) {
                let kind = if event.put { "put" } else { "deletion" };
                judged
                    .say(format!("a {kind} of {} at revision {} came", event.kv.key, event.kv.mod_revision));
            }
        }
    })
}
