//! How far a master is that comes into a cluster: lines on standard error until it has a vote. The
//! server's log goes there as well, so that a bar would be written over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trireme_raft::{Joining, Replica};

use crate::progress::{Bar, Unit};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shows how it goes until `replica` votes; nothing, if it does.
pub(crate) async fn show(replica: Replica, stop: CancellationToken) {
    let mut course = Course::default();
    let mut shown: Option<(Stage, Bar)> = None;
    while !replica.votes() {
        if let Some(now) = replica.status().joining.map(|joining| course.look(&joining)) {
            if shown.as_ref().is_none_or(|(stage, _)| *stage != now.stage) {
                end(&mut shown);
                shown = Some((now.stage, now.stage.bar(now.of)));
            }
            if let Some((_, bar)) = &shown {
                bar.set(now.done, now.of);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
    end(&mut shown);
}

fn end(shown: &mut Option<(Stage, Bar)>) {
    if let Some((_, bar)) = shown.take() {
        bar.end();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has none of the log: a snapshot comes.
    State,
    /// What was written since, or all of the log where there is no snapshot.
    Log,
}

impl Stage {
    fn bar(self, of: u64) -> Bar {
        match self {
            Stage::State => Bar::in_lines("joining, receiving the state", of, Unit::Bytes),
            Stage::Log => Bar::in_lines("joining, catching up", of, Unit::Things("entries")),
        }
    }
}

/// What was there at first is no merit of this run, and would make it look faster than it is.
#[derive(Debug, Default)]
struct Course {
    has_at_first: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Now {
    stage: Stage,
    done: u64,
    /// Zero where it is not known.
    of: u64,
}

impl Course {
    fn look(&mut self, joining: &Joining) -> Now {
        let (has, of) = joining.entries;
        if has == 0 {
            let (done, of) = joining.snapshot_bytes;
            return Now { stage: Stage::State, done, of };
        }
        let first = *self.has_at_first.get_or_insert(has);
        Now { stage: Stage::Log, done: has.saturating_sub(first), of: of.saturating_sub(first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_the_state_comes_and_then_the_log() {
        let mut course = Course::default();
        let mut look = |entries, snapshot_bytes| {
            let Now { stage, done, of } = course.look(&Joining { entries, snapshot_bytes });
            (stage, done, of)
        };
        assert_eq!(look((0, 5_000), (0, 0)), (Stage::State, 0, 0));
        assert_eq!(look((0, 5_600), (9_000, 70_000)), (Stage::State, 9_000, 70_000));
        assert_eq!(look((4_000, 6_000), (0, 0)), (Stage::Log, 0, 2_000));
        assert_eq!(look((5_500, 6_100), (0, 0)), (Stage::Log, 1_500, 2_100));
    }
}
