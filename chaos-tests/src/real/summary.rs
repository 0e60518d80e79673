//! What a run has come to, and what is reckoned from it: for the page, and in words.

use std::fmt;
use std::time::Duration;

use super::elections::Election;
use super::kubectl::Tally;
use super::meter::{Sample, What};
use super::plan::Kind;
use crate::check::VIOLATIONS_SHOWN_MAX;

/// One step of the plan, as it went. Times are since the run began.
#[derive(Clone, Debug)]
pub(super) struct Inflicted {
    pub what: Vec<(Kind, String)>,
    pub began: Duration,
    /// Taken back.
    pub ended: Duration,
    /// All masters well again, and writes acknowledged.
    pub healed: Option<Duration>,
}

impl Inflicted {
    /// Until it was over for clients, or for as far as is known.
    pub(super) fn over(&self) -> Duration {
        self.healed.unwrap_or(self.ended)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub name: String,
    pub violations: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub seed: u64,
    pub commit: String,
    /// The command that does the same again.
    pub repeat: String,
    pub machine: String,
    pub masters: usize,
    pub lasted: Duration,
    pub samples: Vec<Sample>,
    pub inflicted: Vec<Inflicted>,
    pub elections: Vec<Election>,
    pub promises: Vec<Promise>,
    /// By name, with the reason.
    pub skipped: Vec<(String, String)>,
    /// How many operations of the history ended in which way.
    pub counts: String,
    pub kubectl: Option<Tally>,
    pub interrupted: bool,
}

/// Latencies of what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latency {
    pub count: usize,
    pub failed: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// Parts of a run, as its clients saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Before,
    During,
    After,
}

pub(super) const PHASES: [(Phase, &str); 3] = [
    (Phase::Before, "before the first fault"),
    (Phase::During, "from a fault until it had healed"),
    (Phase::After, "after a fault had healed"),
];

impl Summary {
    pub(super) fn passed(&self) -> bool {
        self.promises.iter().all(|promise| promise.violations.is_empty())
    }

    /// Faults that were survived: of steps that healed.
    pub(super) fn survived(&self) -> usize {
        self.inflicted.iter().filter(|step| step.healed.is_some()).map(|step| step.what.len()).sum()
    }

    fn phase(&self, at: Duration) -> Phase {
        let Some(first) = self.inflicted.first() else { return Phase::Before };
        if at < first.began {
            return Phase::Before;
        }
        let during = self.inflicted.iter().any(|step| step.began <= at && at < step.over());
        if during { Phase::During } else { Phase::After }
    }

    /// Of calls that ended in this part.
    pub(super) fn latency(&self, what: What, phase: Phase) -> Latency {
        let of: Vec<&Sample> =
            self.samples.iter().filter(|s| s.what == what && self.phase(s.ended) == phase).collect();
        let mut took: Vec<Duration> = of.iter().filter(|s| s.ok).map(|s| s.took).collect();
        took.sort_unstable();
        let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
        Latency {
            count: took.len(),
            failed: of.len() - took.len(),
            p50: at(50).copied().unwrap_or_default(),
            p99: at(99).copied().unwrap_or_default(),
            max: took.last().copied().unwrap_or_default(),
        }
    }

    /// The longest time without an acknowledged write that reaches into these moments.
    pub(super) fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let mut acks: Vec<Duration> =
            self.samples.iter().filter(|s| s.ok && s.what != What::StoreRead).map(|s| s.ended).collect();
        acks.push(self.lasted);
        acks.sort_unstable();
        let mut longest = Duration::ZERO;
        let mut last = Duration::ZERO;
        for ack in acks {
            if ack >= from && last <= to {
                longest = longest.max(ack - last);
            }
            last = ack;
        }
        longest
    }

    /// The longest time from the end of a fault until all was well.
    pub(super) fn longest_healing(&self) -> Duration {
        let healed = self.inflicted.iter().filter_map(|step| Some(step.healed?.saturating_sub(step.ended)));
        healed.max().unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.counts)?;
        writeln!(
            f,
            "{} faults survived in {:.0} s; healed after {:.1} s at most; {} elections",
            self.survived(),
            self.lasted.as_secs_f64(),
            self.longest_healing().as_secs_f64(),
            self.elections.len().saturating_sub(1)
        )?;
        for (phase, name) in PHASES {
            let latency = self.latency(What::StoreWrite, phase);
            writeln!(
                f,
                "  writes {name}: {} acknowledged, p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
                latency.count,
                ms(latency.p50),
                ms(latency.p99),
                ms(latency.max)
            )?;
        }
        for promise in &self.promises {
            let verdict = if promise.violations.is_empty() { "ok  " } else { "FAIL" };
            writeln!(f, "{verdict} {}", promise.name)?;
            for violation in promise.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
                writeln!(f, "       {violation}")?;
            }
            if promise.violations.len() > VIOLATIONS_SHOWN_MAX {
                writeln!(f, "       and {} more", promise.violations.len() - VIOLATIONS_SHOWN_MAX)?;
            }
        }
        for (name, reason) in &self.skipped {
            writeln!(f, "skipped: {name}: {reason}")?;
        }
        if self.interrupted {
            writeln!(f, "interrupted: everything was taken back, and what there was is judged")?;
        }
        if self.passed() {
            return write!(f, "passed with seed {}, commit {}", self.seed, self.commit);
        }
        write!(f, "FAILED with seed {}, commit {}; repeat with\n  {}", self.seed, self.commit, self.repeat)
    }
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn sample(what: What, ended_ms: u64, took_ms: u64, ok: bool) -> Sample {
        Sample { what, ended: Duration::from_millis(ended_ms), took: Duration::from_millis(took_ms), ok }
    }

    /// Ten seconds with one fault from the fourth to the sixth, healed in the seventh.
    pub(in crate::real) fn example() -> Summary {
        let mut samples: Vec<Sample> = (0..40).map(|n| sample(What::StoreWrite, n * 100, 5, true)).collect();
        samples.push(sample(What::StoreWrite, 6_200, 2_200, false));
        samples.push(sample(What::StoreWrite, 6_500, 2_500, true));
        samples.extend((70..100).map(|n| sample(What::StoreWrite, n * 100, 6, true)));
        samples.push(sample(What::ApiWrite, 9_000, 9, true));
        Summary {
            seed: 7,
            commit: "abc".into(),
            repeat: "trireme-chaos real --seed 7".into(),
            machine: "Linux".into(),
            masters: 3,
            lasted: Duration::from_secs(10),
            samples,
            inflicted: vec![Inflicted {
                what: vec![(Kind::Kill, "master-1".into())],
                began: Duration::from_secs(4),
                ended: Duration::from_secs(6),
                healed: Some(Duration::from_millis(6_800)),
            }],
            elections: vec![Election { at: Duration::from_secs(5), term: 2, leader: "master-2".into() }],
            promises: vec![Promise { name: "nothing is lost".into(), violations: Vec::new() }],
            skipped: vec![("clock".into(), "no library".into())],
            counts: "some".into(),
            kubectl: None,
            interrupted: false,
        }
    }

    #[test]
    fn figures_are_those_of_their_part() {
        let summary = example();
        let before = summary.latency(What::StoreWrite, Phase::Before);
        assert_eq!((before.count, before.failed, before.max), (40, 0, Duration::from_millis(5)));
        let during = summary.latency(What::StoreWrite, Phase::During);
        assert_eq!((during.count, during.failed, during.p50), (1, 1, Duration::from_millis(2_500)));
        let after = summary.latency(What::StoreWrite, Phase::After);
        assert_eq!((after.count, after.p99), (30, Duration::from_millis(6)));
        assert_eq!(
            summary.longest_gap(Duration::from_secs(4), Duration::from_secs(6)),
            Duration::from_millis(2_600)
        );
        assert_eq!(
            summary.longest_gap(Duration::from_secs(8), Duration::from_secs(9)),
            Duration::from_millis(100)
        );
        assert_eq!(summary.longest_healing(), Duration::from_millis(800));
        assert_eq!(summary.survived(), 1);
    }

    #[test]
    fn a_violation_is_a_failure_and_says_how_to_repeat_it() {
        let mut summary = example();
        assert!(summary.passed() && summary.to_string().contains("passed with seed 7"));
        summary.promises[0].violations.push("a=1 is gone".into());
        let said = summary.to_string();
        assert!(!summary.passed() && said.contains("FAIL nothing is lost\n       a=1 is gone"), "{said}");
        assert!(said.contains("trireme-chaos real --seed 7"), "{said}");
    }
}
