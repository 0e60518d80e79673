//! Which revisions were known to exist at a moment: what begins after it must not fall behind them.

use crate::history::{History, Outcome, Received, Tick};

/// The highest revision that anybody had been told of, by tick.
pub(super) struct Known {
    told: Vec<(Tick, i64)>,
}

impl Known {
    pub(super) fn of(history: &History) -> Known {
        let answers = history.operations.iter().filter_map(|operation| match &operation.outcome {
            Outcome::Done(answer) => Some((operation.end.tick, answer.revision()?)),
            _ => None,
        });
        let pieces = history.watches.iter().flat_map(|watch| &watch.pieces);
        let watched = pieces.filter_map(|piece| match &piece.what {
            Received::Events { revision, .. } | Received::Progress { revision } => {
                Some((piece.at.tick, *revision))
            }
            _ => None,
        });
        let mut told: Vec<_> = answers.chain(watched).collect();
        told.sort_unstable();
        // The running maximum, so that the last one before a tick is the greatest.
        let mut most = 0;
        for (_, revision) in &mut told {
            most = most.max(*revision);
            *revision = most;
        }
        Known { told }
    }

    /// The highest one told before `tick`.
    pub(super) fn before(&self, tick: Tick) -> i64 {
        match self.told.partition_point(|(at, _)| *at < tick) {
            0 => 0,
            n => self.told[n - 1].1,
        }
    }
}
