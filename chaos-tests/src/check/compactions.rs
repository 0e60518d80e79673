//! A compaction hides what it was asked to hide, from readers and watchers, and not more.

use super::judged::Judged;
use super::{Found, words};
use crate::history::{Call, History, Op, Outcome, Received, Refusal, Tick};

/// Revisions that compactions asked for, which may have been done, by the tick at which they began.
pub(super) struct Compactions(Vec<(Tick, i64)>);

impl Compactions {
    pub(super) fn of(history: &History) -> Compactions {
        let asked =
            history.operations.iter().filter_map(|operation| match (&operation.call, &operation.outcome) {
                (Call::Compact { revision }, Outcome::Done(_) | Outcome::Unknown(_)) => {
                    Some((operation.begin.tick, *revision))
                }
                _ => None,
            });
        let mut asked: Vec<_> = asked.chain(history.compactions.iter().copied()).collect();
        asked.sort_unstable();
        let mut most = 0;
        for (_, revision) in &mut asked {
            most = most.max(*revision);
            *revision = most;
        }
        Compactions(asked)
    }

    /// The highest one that can have been done by then.
    pub(super) fn before(&self, tick: Tick) -> i64 {
        match self.0.partition_point(|(at, _)| *at < tick) {
            0 => 0,
            n => self.0[n - 1].1,
        }
    }

    /// What is wrong with refusing what begins at `start` at that tick, as compacted to `told`.
    fn wrong(&self, start: i64, told: i64, tick: Tick) -> Option<String> {
        let asked = self.before(tick);
        if start <= 0 || start >= asked {
            Some(format!("was refused as compacted, and no more than {asked} had been compacted"))
        } else if told > asked {
            Some(format!("was told of a compaction to {told}, and it was asked for {asked} at most"))
        } else {
            None
        }
    }
}

/// The revisions at which a call reads, zero: the newest; and whether of what a member has. Nothing: it
/// reads no keys.
fn read_at(call: &Call) -> Option<(Vec<i64>, bool)> {
    Some(match call {
        Call::Range(range) => (vec![range.revision], range.serializable),
        Call::Txn(txn) => {
            let past = txn.success.iter().chain(&txn.failure).filter_map(|op| match op {
                Op::Range(range) if range.revision > 0 => Some(range.revision),
                _ => None,
            });
            let past: Vec<i64> = past.collect();
            (if past.is_empty() { vec![0] } else { past }, false)
        }
        _ => return None,
    })
}

/// What was not compacted is there, and what has been seen is not said to lie in the future.
pub(super) fn history_is_there_until_compacted(found: &Found<'_>) -> Judged {
    let Found { history, known, compactions, .. } = *found;
    let mut judged = Judged::default();
    for operation in &history.operations {
        let Outcome::Refused(refusal) = &operation.outcome else { continue };
        let Some((revisions, serializable)) = read_at(&operation.call) else { continue };
        let what = match refusal {
            // It may have been any of them, of either branch.
            Refusal::Compacted { revision } if history.compactions_known => {
                let wrong = |read: &i64| compactions.wrong(*read, *revision, operation.end.tick);
                let wrong: Option<Vec<String>> = revisions.iter().map(wrong).collect();
                wrong.and_then(|wrong| wrong.into_iter().next())
            }
            Refusal::FutureRevision if !serializable => {
                let before = known.before(operation.begin.tick);
                let seen = revisions.iter().all(|read| *read <= before);
                seen.then(|| format!("was refused as of the future after {before} was known"))
            }
            _ => continue,
        };
        judged.case(what.map(|what| format!("{} {what}", words::operation(operation))));
    }
    for watch in history.watches.iter().filter(|_| history.compactions_known) {
        // From now on, and it is not known when that was, at a member that may be behind: no place until
        // something came.
        let from_now =
            watch.pieces.first().is_some_and(|piece| matches!(piece.what, Received::Opened { start: 0 }));
        let mut next = if from_now { 0 } else { watch.from.checked_add(1).unwrap_or(0) };
        for piece in &watch.pieces {
            match &piece.what {
                // Where it goes on, if its stream falls behind or cannot be opened.
                Received::Events { revision, .. } | Received::Progress { revision } => {
                    next = next.max(revision + 1);
                }
                Received::Compacted { revision } => {
                    // Without a place all that can be said is that somebody has compacted so far.
                    let what = compactions.wrong(next.max(1), *revision, piece.at.tick);
                    judged.case(what.map(|what| {
                        format!("watch {} of {} from {next} on {what}", watch.watcher, watch.keys)
                    }));
                }
                _ => {}
            }
        }
    }
    judged
}
