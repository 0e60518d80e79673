//! What a run has come to: for the page, and in words.

use std::fmt;
use std::time::Duration;

use trireme_chaos_report::{Deed, Election, Note, Promise, Report, Sample, Step, What};

use super::effect::Effect;
use super::kubectl::Tally;
use super::plan::Kind;

/// A fault that was done.
#[derive(Clone, Debug)]
pub(super) struct Dealt {
    pub kind: Kind,
    /// To whom, and what came of it.
    pub whom: String,
    /// It was seen to do something.
    pub took_hold: bool,
}

impl Dealt {
    pub(super) fn new(kind: Kind, mut whom: String, effect: Effect) -> Dealt {
        if !effect.took_hold {
            whom += ": nothing came of it";
        }
        if !effect.words.is_empty() {
            whom = format!("{whom} ({})", effect.words);
        }
        Dealt { kind, whom, took_hold: effect.took_hold }
    }
}

/// One step of the plan, as it went. Times are since the run began.
#[derive(Clone, Debug)]
pub(super) struct Inflicted {
    pub what: Vec<Dealt>,
    pub began: Duration,
    /// Taken back.
    pub ended: Duration,
    /// All masters well again, and writes acknowledged.
    pub healed: Option<Duration>,
}

impl Inflicted {
    fn step(&self) -> Step {
        let deed = |dealt: &Dealt| Deed {
            name: dealt.kind.to_string(),
            words: dealt.kind.words().to_owned(),
            whom: dealt.whom.clone(),
            took_hold: dealt.took_hold,
        };
        Step {
            what: self.what.iter().map(deed).collect(),
            began: self.began,
            ended: self.ended,
            healed: self.healed,
        }
    }
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

impl Summary {
    pub(super) fn passed(&self) -> bool {
        self.promises.iter().all(|promise| promise.violations.is_empty())
    }

    /// Kinds of faults that were done alone and never seen to do anything, whatever they met.
    pub(super) fn without_hold(&self) -> Vec<String> {
        let alone: Vec<&Dealt> =
            self.inflicted.iter().filter(|step| step.what.len() == 1).flat_map(|step| &step.what).collect();
        let held = |kind: Kind| alone.iter().any(|dealt| dealt.kind == kind && dealt.took_hold);
        let never = alone.iter().filter(|dealt| dealt.kind.is_always_met() && !held(dealt.kind));
        never.map(|dealt| format!("{} of {}", dealt.kind, dealt.whom)).collect()
    }

    pub(super) fn report(&self) -> Report {
        let mut report = Report {
            title: format!("chaos with seed {}", self.seed),
            fine_print: format!("commit {} \u{b7} {}", self.commit, self.machine),
            repeat: self.repeat.clone(),
            lasted: self.lasted,
            samples: self.samples.clone(),
            steps: self.inflicted.iter().map(Inflicted::step).collect(),
            elections: self.elections.clone(),
            promises: self.promises.clone(),
            notes: vec![Note {
                title: "Skipped, for what this machine lacks".into(),
                rows: self.skipped.clone(),
                without_rows: "Nothing: this machine can do all of it.".into(),
            }],
            ..Report::default()
        };
        report.lead.push(format!(
            "{} masters, {:.0} s, {} real faults survived, healed after {:.1} s at most, no acknowledged write \
             for {:.1} s at most by the store, {:.1} s by the API.",
            self.masters,
            self.lasted.as_secs_f64(),
            report.survived(),
            report.longest_healing().as_secs_f64(),
            report.longest_gap(What::StoreWrite, Duration::ZERO, self.lasted).as_secs_f64(),
            report.longest_gap(What::ApiWrite, Duration::ZERO, self.lasted).as_secs_f64()
        ));
        report.lead.push(self.counts.clone());
        if let Some(tally) = &self.kubectl {
            report.lead.push(format!(
                "kubectl: {} calls done and {} to be repeated, {} rounds of a Deployment made, scaled, rolled and \
                 deleted.",
                tally.done, tally.not_done, tally.rounds
            ));
        }
        if self.interrupted {
            report.lead.push("The run was interrupted; everything was taken back.".into());
        }
        report
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report();
        writeln!(f, "{}", self.counts)?;
        writeln!(
            f,
            "{} faults survived in {:.0} s; healed after {:.1} s at most; {} elections",
            report.survived(),
            self.lasted.as_secs_f64(),
            report.longest_healing().as_secs_f64(),
            self.elections.len().saturating_sub(1)
        )?;
        f.write_str(&report.words())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Summary {
        Summary {
            seed: 7,
            commit: "abc".into(),
            repeat: "trireme-chaos real --seed 7".into(),
            machine: "Linux".into(),
            masters: 3,
            lasted: Duration::from_secs(10),
            samples: Vec::new(),
            inflicted: vec![Inflicted {
                what: vec![Dealt { kind: Kind::Kill, whom: "master-1".into(), took_hold: true }],
                began: Duration::from_secs(4),
                ended: Duration::from_secs(6),
                healed: Some(Duration::from_millis(6_800)),
            }],
            elections: Vec::new(),
            promises: vec![Promise::new("nothing is lost", Vec::new())],
            skipped: vec![("clock".into(), "no library".into())],
            counts: "some".into(),
            kubectl: None,
            interrupted: false,
        }
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

    #[test]
    fn a_fault_that_never_does_anything_is_told_and_not_counted() {
        let mut summary = example();
        assert_eq!((summary.report().survived(), summary.without_hold()), (1, Vec::new()));
        summary.inflicted[0].what[0].took_hold = false;
        let never = vec!["kill of master-1".to_owned()];
        assert_eq!((summary.report().survived(), summary.without_hold()), (0, never));
        // Two followers may have nothing to say to each other.
        summary.inflicted[0].what[0].kind = Kind::Bridge;
        assert_eq!(summary.without_hold(), Vec::<String>::new());
        // Beside another, what it would have met may be gone.
        let beside = Dealt { kind: Kind::Stop, whom: "master-1".into(), took_hold: true };
        summary.inflicted[0].what[0].kind = Kind::Kill;
        summary.inflicted[0].what.push(beside);
        assert_eq!((summary.report().survived(), summary.without_hold()), (1, Vec::new()));
    }

    #[test]
    fn the_page_tells_of_all_of_it() {
        let page = example().report().page();
        for found in ["1 real faults survived", "no library", "a master is killed", "chaos with seed 7"] {
            assert!(page.contains(found), "{found} is not in the page");
        }
    }
}
