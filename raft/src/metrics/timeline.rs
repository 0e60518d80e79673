//! When the recent runs of the log were written and applied: where a slow request looks up what it
//! waited for, so that a fast one need not carry its own record.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Instant;

/// Runs that are remembered.
const RUNS: usize = 2048;

/// Nanoseconds since this process first asked, never zero: comparable everywhere in it.
pub(crate) fn now_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

/// A run of entries and three moments of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first_index: u64,
    /// One past the last.
    pub(crate) next_index: u64,
    /// By [`now_ns`], in the order in which they happen.
    pub(crate) at_ns: [u64; 3],
}

#[derive(Default)]
struct Slot {
    /// Odd while it is being written.
    version: AtomicU64,
    first_index: AtomicU64,
    next_index: AtomicU64,
    at_ns: [AtomicU64; 3],
}

/// The last runs. One thread records; any may look, and takes nothing from it by doing so.
pub(crate) struct Timeline {
    slots: Box<[Slot]>,
    recorded: AtomicU64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { slots: (0..RUNS).map(|_| Slot::default()).collect(), recorded: AtomicU64::new(0) }
    }
}

impl Timeline {
    /// Records a run. Calls must not overlap.
    pub(crate) fn record(&self, run: Run) {
        let n = self.recorded.load(Ordering::Relaxed);
        let slot = &self.slots[n as usize % RUNS];
        slot.version.store(2 * n + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.first_index.store(run.first_index, Ordering::Relaxed);
        slot.next_index.store(run.next_index, Ordering::Relaxed);
        for (to, at) in slot.at_ns.iter().zip(run.at_ns) {
            to.store(at, Ordering::Relaxed);
        }
        slot.version.store(2 * n + 2, Ordering::Release);
        self.recorded.store(n + 1, Ordering::Release);
    }

    /// The newest run that holds `index`, if it is still remembered.
    pub(crate) fn find(&self, index: u64) -> Option<Run> {
        let recorded = self.recorded.load(Ordering::Acquire);
        (0..recorded.min(RUNS as u64)).map(|back| recorded - 1 - back).find_map(|n| {
            let run = self.read(n)?;
            (run.first_index <= index && index < run.next_index).then_some(run)
        })
    }

    fn read(&self, n: u64) -> Option<Run> {
        let slot = &self.slots[n as usize % RUNS];
        let before = slot.version.load(Ordering::Acquire);
        let mut run = Run {
            first_index: slot.first_index.load(Ordering::Relaxed),
            next_index: slot.next_index.load(Ordering::Relaxed),
            ..Run::default()
        };
        for (at, from) in run.at_ns.iter_mut().zip(&slot.at_ns) {
            *at = from.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        (before == 2 * n + 2 && slot.version.load(Ordering::Relaxed) == before).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_of_an_index_is_found_until_it_is_overwritten() {
        let timeline = Timeline::default();
        let run = |first_index, next_index, at| Run { first_index, next_index, at_ns: [at; 3] };
        assert_eq!(timeline.find(1), None);
        timeline.record(run(1, 4, 10));
        timeline.record(run(4, 5, 20));
        // Truncated and written anew.
        timeline.record(run(3, 5, 30));
        assert_eq!(timeline.find(1), Some(run(1, 4, 10)));
        assert_eq!(timeline.find(4), Some(run(3, 5, 30)));
        assert_eq!(timeline.find(5), None);
        for i in 0..RUNS as u64 {
            timeline.record(run(100 + i, 101 + i, 40));
        }
        assert_eq!(timeline.find(1), None);
        assert_eq!(timeline.find(100), Some(run(100, 101, 40)));
    }

    #[test]
    fn a_reader_never_sees_half_a_run() {
        let timeline = Timeline::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut found = 0;
                while found < 10_000 {
                    if let Some(run) = timeline.find(0) {
                        assert_eq!(run.at_ns, [run.next_index; 3]);
                        found += 1;
                    }
                }
            });
            let mut n = 1;
            while !reader.is_finished() {
                timeline.record(Run { first_index: 0, next_index: n, at_ns: [n; 3] });
                n += 1;
            }
        });
    }
}
