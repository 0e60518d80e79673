//! What a run says when it is over.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::check::VIOLATIONS_SHOWN_MAX;
use crate::history::History;
use crate::run::Options;

pub struct Report {
    seed: u64,
    repeat: String,
    counts: String,
    checks: Vec<(String, Vec<String>)>,
    kept: Option<PathBuf>,
}

impl Report {
    pub fn new(seed: u64, options: &Options, history: &History) -> Report {
        Report {
            seed,
            repeat: format!(
                "make chaos SEED={seed} ARGS=\"--faults {} --clients {} --masters {}\"",
                options.faults, options.clients, options.masters
            ),
            counts: history.tally().to_string(),
            checks: Vec::new(),
            kept: None,
        }
    }

    pub fn checked(&mut self, name: &str, violations: Vec<String>) {
        self.checks.push((name.to_owned(), violations));
    }

    pub fn kept(&mut self, dir: &Path) {
        self.kept = Some(dir.to_owned());
    }

    pub fn passed(&self) -> bool {
        self.checks.iter().all(|(_, violations)| violations.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.counts)?;
        for (name, violations) in &self.checks {
            writeln!(f, "{} {name}", if violations.is_empty() { "ok  " } else { "FAIL" })?;
            for violation in violations.iter().take(VIOLATIONS_SHOWN_MAX) {
                writeln!(f, "       {violation}")?;
            }
            if violations.len() > VIOLATIONS_SHOWN_MAX {
                writeln!(f, "       and {} more", violations.len() - VIOLATIONS_SHOWN_MAX)?;
            }
        }
        if self.passed() {
            return write!(f, "passed with seed {}", self.seed);
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "history and logs: {}", kept.display())?;
        }
        write!(f, "FAILED with seed {}, commit {}; repeat with\n  {}", self.seed, commit(), self.repeat)
    }
}

pub(crate) fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.ok().filter(|output| output.status.success()).map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
