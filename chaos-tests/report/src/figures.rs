//! A run, and what is reckoned from it.

use std::fmt::Write;
use std::time::Duration;

/// Violations shown per promise; the rest is counted.
pub const VIOLATIONS_SHOWN_MAX: usize = 10;

/// Calls that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    StoreWrite,
    StoreRead,
    ApiWrite,
    ApiRead,
}

impl What {
    pub(crate) const ALL: [(What, &'static str); 4] = [
        (What::StoreWrite, "write to the store"),
        (What::StoreRead, "linearizable read of the store"),
        (What::ApiWrite, "write to the API"),
        (What::ApiRead, "linearizable read of the API"),
    ];

    pub(crate) fn is_write(self) -> bool {
        matches!(self, What::StoreWrite | What::ApiWrite)
    }
}

/// One call of a client.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub what: What,
    /// Since the run began.
    pub ended: Duration,
    pub took: Duration,
    /// It was acknowledged, or answered.
    pub ok: bool,
}

/// A master was first seen to lead in this term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Since the run began.
    pub at: Duration,
    pub term: u64,
    pub leader: String,
}

/// One thing that was done.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Short: `kill`.
    pub name: String,
    pub words: String,
    pub whom: String,
    /// It was seen to do something; what was not, has not been survived.
    pub took_hold: bool,
}

/// What was done at one time. Times are since the run began.
#[derive(Clone, Debug)]
pub struct Step {
    pub what: Vec<Deed>,
    pub began: Duration,
    /// Taken back.
    pub ended: Duration,
    /// All masters well again, and writes acknowledged.
    pub healed: Option<Duration>,
}

impl Step {
    /// Until it was over for clients, or for as far as is known.
    pub fn over(&self) -> Duration {
        self.healed.unwrap_or(self.ended)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Promise {
    pub name: String,
    /// None: it was kept.
    pub violations: Vec<String>,
    /// Cases that could have been violations, where they are counted: of none nothing was judged.
    pub looked_at: Option<u64>,
    /// What could not be decided; empty where all could.
    pub undecided: String,
}

/// What has become of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Broken,
    /// It was not put to the test.
    NothingToJudge,
}

impl Promise {
    /// One whose cases are not counted.
    pub fn new(name: &str, violations: Vec<String>) -> Promise {
        Promise { name: name.to_owned(), violations, ..Promise::default() }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Promise { violations, .. } if !violations.is_empty() => Verdict::Broken,
            Promise { looked_at: Some(0), .. } => Verdict::NothingToJudge,
            _ => Verdict::Kept,
        }
    }

    /// Its name, and what of it is not known.
    pub(crate) fn title(&self) -> String {
        match self.undecided.as_str() {
            "" => self.name.clone(),
            undecided => format!("{} (not decided: {undecided})", self.name),
        }
    }
}

/// A table of the page without figures.
#[derive(Clone, Debug)]
pub struct Note {
    pub title: String,
    pub rows: Vec<(String, String)>,
    /// Stands there where it has no rows; empty, and the note is left out.
    pub without_rows: String,
}

/// All that is told of a run. Whatever is in its texts is shown as text.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `chaos with seed 7`.
    pub title: String,
    /// Lines below the title.
    pub lead: Vec<String>,
    /// Of which versions and machine it is.
    pub fine_print: String,
    /// The command that does the same again.
    pub repeat: String,
    pub lasted: Duration,
    pub samples: Vec<Sample>,
    pub steps: Vec<Step>,
    pub elections: Vec<Election>,
    pub promises: Vec<Promise>,
    pub notes: Vec<Note>,
}

/// Latencies of what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub count: usize,
    pub failed: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// Parts of a run, as its clients saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Before,
    During,
    After,
}

pub const PHASES: [(Phase, &str); 3] = [
    (Phase::Before, "before the first fault"),
    (Phase::During, "from a fault until it had healed"),
    (Phase::After, "after a fault had healed"),
];

impl Report {
    pub fn passed(&self) -> bool {
        self.promises.iter().all(|promise| promise.violations.is_empty())
    }

    /// Faults that were survived: that took hold, in steps that healed.
    pub fn survived(&self) -> usize {
        let healed = self.steps.iter().filter(|step| step.healed.is_some());
        healed.flat_map(|step| &step.what).filter(|deed| deed.took_hold).count()
    }

    fn phase(&self, at: Duration) -> Phase {
        let Some(first) = self.steps.first() else { return Phase::Before };
        if at < first.began {
            return Phase::Before;
        }
        let during = self.steps.iter().any(|step| step.began <= at && at < step.over());
        if during { Phase::During } else { Phase::After }
    }

    /// Of calls that ended in this part.
    pub fn latency(&self, what: What, phase: Phase) -> Latency {
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

    /// The kinds of calls that were made, with their names.
    pub(crate) fn kinds(&self) -> Vec<(What, &'static str)> {
        let made = |what| self.samples.iter().any(|sample| sample.what == what);
        What::ALL.into_iter().filter(|(what, _)| made(*what)).collect()
    }

    /// The longest time without an acknowledged call of this kind that reaches into these moments.
    pub fn longest_gap(&self, of: What, from: Duration, to: Duration) -> Duration {
        let mut acks: Vec<Duration> =
            self.samples.iter().filter(|s| s.ok && s.what == of).map(|s| s.ended).collect();
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
    pub fn longest_healing(&self) -> Duration {
        let healed = self.steps.iter().filter_map(|step| Some(step.healed?.saturating_sub(step.ended)));
        healed.max().unwrap_or_default()
    }

    /// Latencies and verdicts, a line each.
    pub fn words(&self) -> String {
        let mut out = String::new();
        for (what, name) in self.kinds().into_iter().filter(|(what, _)| what.is_write()) {
            for (phase, when) in PHASES {
                let latency = self.latency(what, phase);
                let _ = writeln!(
                    out,
                    "  {name}, {when}: {} acknowledged, {} not, p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
                    latency.count,
                    latency.failed,
                    ms(latency.p50),
                    ms(latency.p99),
                    ms(latency.max)
                );
            }
        }
        for promise in &self.promises {
            let verdict = match promise.verdict() {
                Verdict::Kept => "ok  ",
                Verdict::Broken => "FAIL",
                Verdict::NothingToJudge => "nothing to judge:",
            };
            let _ = writeln!(out, "{verdict} {}", promise.title());
            for violation in promise.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
                let _ = writeln!(out, "       {violation}");
            }
            if promise.violations.len() > VIOLATIONS_SHOWN_MAX {
                let _ = writeln!(out, "       and {} more", promise.violations.len() - VIOLATIONS_SHOWN_MAX);
            }
        }
        out
    }

    /// A whole page of HTML, without scripts and without anything from elsewhere.
    pub fn page(&self) -> String {
        crate::page::render(self)
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn sample(what: What, ended_ms: u64, took_ms: u64, ok: bool) -> Sample {
        Sample { what, ended: Duration::from_millis(ended_ms), took: Duration::from_millis(took_ms), ok }
    }

    /// Ten seconds with one fault from the fourth to the sixth, healed in the seventh.
    pub(crate) fn example() -> Report {
        let mut samples: Vec<Sample> = (0..40).map(|n| sample(What::StoreWrite, n * 100, 5, true)).collect();
        samples.push(sample(What::StoreWrite, 6_200, 2_200, false));
        samples.push(sample(What::StoreWrite, 6_500, 2_500, true));
        samples.extend((70..100).map(|n| sample(What::StoreWrite, n * 100, 6, true)));
        samples.push(sample(What::ApiWrite, 9_000, 9, true));
        Report {
            title: "chaos with seed 7".into(),
            lead: vec!["3 masters".into()],
            fine_print: "commit abc".into(),
            repeat: "trireme-chaos real --seed 7".into(),
            lasted: Duration::from_secs(10),
            samples,
            steps: vec![Step {
                what: vec![Deed {
                    name: "kill".into(),
                    words: "a master is killed".into(),
                    whom: "master-1".into(),
                    took_hold: true,
                }],
                began: Duration::from_secs(4),
                ended: Duration::from_secs(6),
                healed: Some(Duration::from_millis(6_800)),
            }],
            elections: vec![Election { at: Duration::from_secs(5), term: 2, leader: "master-2".into() }],
            promises: vec![Promise::new("nothing is lost", Vec::new())],
            notes: vec![Note {
                title: "Skipped".into(),
                rows: vec![("clock".into(), "no library".into())],
                without_rows: "Nothing".into(),
            }],
        }
    }

    #[test]
    fn figures_are_those_of_their_part() {
        let report = example();
        let before = report.latency(What::StoreWrite, Phase::Before);
        assert_eq!((before.count, before.failed, before.max), (40, 0, Duration::from_millis(5)));
        let during = report.latency(What::StoreWrite, Phase::During);
        assert_eq!((during.count, during.failed, during.p50), (1, 1, Duration::from_millis(2_500)));
        let after = report.latency(What::StoreWrite, Phase::After);
        assert_eq!((after.count, after.p99), (30, Duration::from_millis(6)));
        let gap = |from, to| {
            report.longest_gap(What::StoreWrite, Duration::from_secs(from), Duration::from_secs(to))
        };
        assert_eq!((gap(4, 6), gap(8, 9)), (Duration::from_millis(2_600), Duration::from_millis(100)));
        assert_eq!(report.longest_healing(), Duration::from_millis(800));
        assert_eq!(report.survived(), 1);
    }

    #[test]
    fn what_was_never_acknowledged_again_is_a_gap_to_the_end() {
        let mut report = example();
        report.samples.retain(|sample| sample.ended < Duration::from_secs(4));
        let gap = report.longest_gap(What::StoreWrite, Duration::from_secs(4), report.lasted);
        assert_eq!(gap, Duration::from_millis(6_100));
    }

    #[test]
    fn a_violation_is_a_failure_and_is_told() {
        let mut report = example();
        assert!(report.passed() && report.words().contains("ok   nothing is lost"));
        report.promises[0].violations.push("a=1 is gone".into());
        let said = report.words();
        assert!(!report.passed() && said.contains("FAIL nothing is lost\n       a=1 is gone"), "{said}");
    }

    #[test]
    fn what_was_not_judged_is_not_said_to_be_kept() {
        let mut report = example();
        report.promises[0].looked_at = Some(0);
        let (said, page) = (report.words(), report.page());
        assert!(report.passed() && said.contains("nothing to judge: nothing is lost"), "{said}");
        assert!(page.contains("<td class=\"soft\">nothing to judge</td>"), "{page}");
        report.promises[0].looked_at = Some(3);
        report.promises[0].undecided = "2 of 5 keys".into();
        let said = report.words();
        assert!(said.contains("ok   nothing is lost (not decided: 2 of 5 keys)"), "{said}");
    }
}
