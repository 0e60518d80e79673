//! Whether some order of overlapping operations explains what they say: the search of Wing and Gong
//! with Lowe's memory of what was tried, as Porcupine does it. It knows nothing of revisions.
//!
//! Exponential at worst, and so it is bounded: a search that takes too many steps ends without a word.

use std::collections::HashSet;

/// An operation on a register whose values are numbers; zero stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) begin: u64,
    /// It was done by then; without it, it may have been done at any time, or never.
    pub(super) end: Option<u64>,
    /// It is done only where this is the value.
    pub(super) sees: Option<u32>,
    /// And this it leaves.
    pub(super) leaves: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Explained,
    /// No order explains it; the operation, by its place, at whose end that shows.
    Unexplained {
        at: usize,
    },
    Undecided,
}

/// Beginnings and ends in the order of time, as a list from which entries can be taken and put back.
struct Timeline {
    /// The operation of each entry, and whether it is its end.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    prev: Vec<usize>,
    /// Where the end of an operation stands.
    ends: Vec<Option<usize>>,
}

impl Timeline {
    /// Entry 0 stands before all others, and the last one behind.
    fn of(steps: &[Step]) -> Timeline {
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(steps.len() * 2);
        for (n, step) in steps.iter().enumerate() {
            times.push((step.begin, false, n));
            times.extend(step.end.map(|end| (end, true, n)));
        }
        // At one time what begins comes first: the two overlap.
        times.sort_unstable();
        let mut entries = vec![(usize::MAX, false)];
        let mut ends = vec![None; steps.len()];
        for (_, is_end, n) in times {
            if is_end {
                ends[n] = Some(entries.len());
            }
            entries.push((n, is_end));
        }
        entries.push((usize::MAX, true));
        let count = entries.len();
        let next = (1..=count).collect();
        let prev = (0..count).map(|n: usize| n.saturating_sub(1)).collect();
        Timeline { entries, next, prev, ends }
    }

    fn last(&self) -> usize {
        self.entries.len() - 1
    }

    fn take(&mut self, entry: usize) {
        let (before, after) = (self.prev[entry], self.next[entry]);
        self.next[before] = after;
        self.prev[after] = before;
    }

    /// In the opposite order of taking.
    fn put_back(&mut self, entry: usize) {
        let (before, after) = (self.prev[entry], self.next[entry]);
        self.next[before] = entry;
        self.prev[after] = entry;
    }

    /// Takes an operation out, beginning and end.
    fn lift(&mut self, entry: usize) {
        self.take(entry);
        if let Some(end) = self.ends[self.entries[entry].0] {
            self.take(end);
        }
    }

    fn unlift(&mut self, entry: usize) {
        if let Some(end) = self.ends[self.entries[entry].0] {
            self.put_back(end);
        }
        self.put_back(entry);
    }
}

/// A number of an operation of which sets are made by exclusive or: two sets that differ come to one
/// number once in 2^128.
fn number(n: usize) -> u128 {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let n = n as u64;
    u128::from(mix(n * 2 + 1)) << 64 | u128::from(mix(n * 2 + 2))
}

/// Looks for an order of `steps` on a register that begins without a value. `budget` counts what was
/// tried down; at zero it ends.
pub(super) fn check(steps: &[Step], budget: &mut u64) -> Verdict {
    let mut timeline = Timeline::of(steps);
    let mut unfinished = steps.iter().filter(|step| step.end.is_some()).count();
    let mut tried: HashSet<(u128, u32)> = HashSet::new();
    // What was done, with the value before it.
    let mut done: Vec<(usize, u32)> = Vec::new();
    let (mut value, mut set) = (0, 0_u128);
    let mut furthest = 0;
    let mut entry = timeline.next[0];
    while unfinished > 0 {
        if *budget == 0 {
            return Verdict::Undecided;
        }
        *budget -= 1;
        let (n, is_end) = timeline.entries[entry];
        if !is_end {
            let step = steps[n];
            let after = step.leaves.unwrap_or(value);
            let possible = step.sees.is_none_or(|sees| sees == value);
            if possible && tried.insert((set ^ number(n), after)) {
                timeline.lift(entry);
                done.push((entry, value));
                value = after;
                set ^= number(n);
                unfinished -= usize::from(step.end.is_some());
                entry = timeline.next[0];
            } else {
                entry = timeline.next[entry];
            }
            continue;
        }
        // Something ended here that no order has done by now.
        if entry != timeline.last() {
            furthest = furthest.max(entry);
        }
        let Some((last, before)) = done.pop() else {
            return Verdict::Unexplained { at: timeline.entries[furthest].0 };
        };
        let n = timeline.entries[last].0;
        timeline.unlift(last);
        value = before;
        set ^= number(n);
        unfinished += usize::from(steps[n].end.is_some());
        entry = timeline.next[last];
    }
    Verdict::Explained
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn step(begin: u64, end: u64, sees: Option<u32>, leaves: Option<u32>) -> Step {
        Step { begin, end: (end > 0).then_some(end), sees, leaves }
    }

    fn verdict(steps: &[Step]) -> bool {
        match check(steps, &mut 1_000_000) {
            Verdict::Explained => true,
            Verdict::Unexplained { .. } => false,
            Verdict::Undecided => panic!("too few steps for {steps:?}"),
        }
    }

    #[test]
    fn small_histories() {
        let write = |begin, end, value| step(begin, end, None, Some(value));
        let read = |begin, end, value| step(begin, end, Some(value), None);
        assert!(verdict(&[]));
        assert!(verdict(&[write(0, 1, 1), read(2, 3, 1)]));
        assert!(!verdict(&[write(0, 1, 1), read(2, 3, 0)]), "stale");
        assert!(verdict(&[write(0, 3, 1), read(1, 2, 0)]), "they overlap");
        assert!(!verdict(&[write(0, 9, 1), read(1, 2, 1), read(3, 4, 0)]), "there and back");
        assert!(verdict(&[write(0, 0, 1), read(1, 2, 0), read(3, 4, 1)]), "done late");
        assert!(!verdict(&[write(0, 0, 1), read(1, 2, 1), write(3, 4, 2), read(5, 6, 1)]), "done once");
        let swaps = [step(0, 3, Some(0), Some(1)), step(1, 4, Some(0), Some(2))];
        assert!(!verdict(&swaps), "both cannot win");
    }

    /// Every order that time allows, tried one by one.
    fn by_hand(steps: &[Step], done: u32, value: u32) -> bool {
        let left = |n: &usize| done & (1 << n) == 0;
        let open: Vec<usize> = (0..steps.len()).filter(left).collect();
        if open.iter().all(|n| steps[*n].end.is_none()) {
            return true;
        }
        let first_end = open.iter().filter_map(|n| steps[*n].end).min().unwrap_or(u64::MAX);
        open.iter().any(|n| {
            let step = steps[*n];
            step.begin <= first_end
                && step.sees.is_none_or(|sees| sees == value)
                && by_hand(steps, done | 1 << n, step.leaves.unwrap_or(value))
        })
    }

    #[test]
    fn it_agrees_with_trying_every_order() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..4_000 {
            let steps: Vec<Step> = (0..random.random_range(1..8_u64))
                .map(|_| {
                    let begin = random.random_range(0..40);
                    let end = begin + random.random_range(1..15);
                    let end = if random.random_bool(0.15) { 0 } else { end };
                    let sees = random.random_bool(0.6).then(|| random.random_range(0..3));
                    let leaves = random.random_bool(0.5).then(|| random.random_range(0..3));
                    step(begin, end, sees, leaves)
                })
                .collect();
            let expected = by_hand(&steps, 0, 0);
            assert_eq!(verdict(&steps), expected, "{steps:?}");
            *if expected { &mut good } else { &mut bad } += 1;
        }
        assert!(good > 500 && bad > 500, "{good} and {bad}: one of the two was not tried");
    }
}
