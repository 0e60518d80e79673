//! What the clients were told, judged: functions from a history to what is wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::{History, Outcome, Seen};

/// Counts that were acknowledged, and counts that were sent, of one object.
struct Sent<'h> {
    history: &'h History,
    object: usize,
}

impl<'h> Sent<'h> {
    fn all(history: &'h History) -> impl Iterator<Item = Sent<'h>> {
        let objects = history.writes.iter().map(|write| write.object + 1).max().unwrap_or(0);
        (0..objects.max(history.last.len())).map(move |object| Sent { history, object })
    }

    /// Count and revision of acknowledged writes, in the order in which they were sent.
    fn acknowledged(&self) -> Vec<(u64, i64)> {
        let of = self.history.writes.iter().filter(|write| write.object == self.object);
        let acknowledged = of.filter_map(|write| match write.outcome {
            Outcome::Acknowledged(revision) => Some((write.count, revision)),
            Outcome::Not => None,
        });
        acknowledged.collect()
    }

    /// The highest count that was acknowledged before `moment`.
    fn known(&self, moment: Duration) -> u64 {
        let of = self.history.writes.iter().filter(|write| write.object == self.object);
        let before = of
            .filter(|write| matches!(write.outcome, Outcome::Acknowledged(_)) && write.ended <= moment)
            .map(|write| write.count);
        before.max().unwrap_or(0)
    }

    /// Whether somebody had begun to write that count by then; the first is there from the beginning.
    fn was_sent(&self, count: u64, by: Duration) -> bool {
        let is = |write: &super::load::Write| {
            write.object == self.object && write.count == count && write.began <= by
        };
        count == 0 || self.history.writes.iter().any(is)
    }

    fn name(&self) -> String {
        format!("counter-{}", self.object)
    }
}

/// What was acknowledged is there at the end, and revisions of acknowledged writes grow.
pub(super) fn nothing_is_lost(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for sent in Sent::all(history) {
        let acknowledged = sent.acknowledged();
        for pair in acknowledged.windows(2) {
            if pair[1].1 <= pair[0].1 {
                wrong.push(format!(
                    "{}: {} was acknowledged at revision {}, and {} after it at {}",
                    sent.name(),
                    pair[0].0,
                    pair[0].1,
                    pair[1].0,
                    pair[1].1
                ));
            }
        }
        let highest = acknowledged.iter().map(|(count, _)| *count).max().unwrap_or(0);
        match history.last.get(sent.object).copied().flatten() {
            None => wrong.push(format!("{} is gone; {highest} was acknowledged", sent.name())),
            Some(found) if found < highest => {
                wrong.push(format!("{} is {found} at the end; {highest} was acknowledged", sent.name()));
            }
            Some(found) if !sent.was_sent(found, Duration::MAX) => {
                wrong.push(format!("{} is {found} at the end, which nobody wrote", sent.name()));
            }
            Some(_) => {}
        }
    }
    wrong
}

/// A read shows what was acknowledged before it began.
pub(super) fn no_read_is_stale(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for read in &history.reads {
        let sent = Sent { history, object: read.object };
        let known = sent.known(read.began);
        let at = read.began.as_secs_f64();
        if read.count < known {
            wrong.push(format!(
                "at {at:.2} s a read of {} gave {}; {known} had been acknowledged before",
                sent.name(),
                read.count
            ));
        } else if !sent.was_sent(read.count, read.ended) {
            wrong.push(format!(
                "at {at:.2} s a read of {} gave {}, which nobody had written",
                sent.name(),
                read.count
            ));
        }
    }
    wrong
}

/// The watch brings every acknowledged write, once, in the order of revisions.
pub(super) fn the_watch_misses_nothing(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut newest, mut brought) = (0, BTreeMap::new());
    // Revisions of which nothing can be said: what the watch had to begin from was gone.
    let mut excused = Vec::new();
    for seen in &history.seen {
        match *seen {
            Seen::Event { object, count, revision } => {
                if revision <= newest {
                    wrong.push(format!(
                        "counter-{object} = {count} at revision {revision} came after revision {newest}"
                    ));
                }
                if !(Sent { history, object }).was_sent(count, Duration::MAX) {
                    wrong.push(format!("counter-{object} = {count} was watched, and nobody wrote it"));
                }
                brought.insert(revision, (object, count));
                newest = newest.max(revision);
            }
            Seen::Deleted { object, revision } => {
                wrong.push(format!("counter-{object} was deleted at revision {revision}, by nobody here"));
                newest = newest.max(revision);
            }
            Seen::Anew { revision } => {
                excused.push((newest, revision));
                newest = newest.max(revision);
            }
        }
    }
    for sent in Sent::all(history) {
        for (count, revision) in sent.acknowledged() {
            let is_excused = excused.iter().any(|(from, to)| *from < revision && revision <= *to);
            match brought.get(&revision) {
                Some(event) if *event == (sent.object, count) => {}
                Some((object, other)) => wrong.push(format!(
                    "revision {revision} is {} = {count}, and was watched as counter-{object} = {other}",
                    sent.name()
                )),
                None if is_excused => {}
                None => {
                    wrong.push(format!("{} = {count} at revision {revision} was not watched", sent.name()));
                }
            }
        }
    }
    wrong
}

/// No write fails from `from` on.
pub(super) fn no_write_fails(history: &History, from: Duration) -> Vec<String> {
    let failed = history.writes.iter().filter(|write| write.outcome == Outcome::Not && write.ended >= from);
    let failed: Vec<String> = failed
        .map(|write| {
            format!(
                "counter-{} = {} was not acknowledged at {:.1} s, after {:.1} s",
                write.object,
                write.count,
                write.ended.as_secs_f64(),
                (write.ended - write.began).as_secs_f64()
            )
        })
        .collect();
    if failed.is_empty() { failed } else { [failed, history.refusals.clone()].concat() }
}

/// Some write is acknowledged within so long of every moment from `from` to `to`.
pub(super) fn writes_resume(
    history: &History,
    from: Duration,
    to: Duration,
    within: Duration,
) -> Vec<String> {
    let acknowledged =
        history.writes.iter().filter(|write| matches!(write.outcome, Outcome::Acknowledged(_)));
    let mut moments: Vec<Duration> = acknowledged.map(|write| write.ended).filter(|at| *at >= from).collect();
    moments.push(to);
    moments.sort_unstable();
    let mut last = from;
    let mut wrong = Vec::new();
    for at in moments.into_iter().take_while(|at| *at <= to) {
        if at - last > within {
            wrong.push(format!(
                "no write was acknowledged from {:.1} s to {:.1} s, for {:.1} s",
                last.as_secs_f64(),
                at.as_secs_f64(),
                (at - last).as_secs_f64()
            ));
        }
        last = at;
    }
    wrong
}

#[cfg(test)]
#[path = "judge_test.rs"]
mod tests;
