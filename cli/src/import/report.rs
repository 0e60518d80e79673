//! What was taken, what was left out on purpose, and what could not be taken and why.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::progress::count;

/// Keys that are named for one reason; of the others only the number is told.
const NAMED_MAX: usize = 20;

#[derive(Default)]
pub(super) struct Report {
    resources: BTreeMap<String, Counts>,
    /// Reasons with resources and counts.
    left_out: BTreeMap<&'static str, BTreeMap<String, u64>>,
    refused: BTreeMap<String, Refused>,
}

#[derive(Default)]
struct Counts {
    taken: u64,
    alike: u64,
    left_out: u64,
    refused: u64,
}

#[derive(Default)]
struct Refused {
    named: Vec<String>,
    count: u64,
}

impl Report {
    fn counts(&mut self, resource: &str) -> &mut Counts {
        self.resources.entry(resource.to_owned()).or_default()
    }

    pub(super) fn taken(&mut self, resource: &str) {
        self.counts(resource).taken += 1;
    }

    /// The target has it, with the same content.
    pub(super) fn alike(&mut self, resource: &str) {
        self.counts(resource).alike += 1;
    }

    pub(super) fn left_out(&mut self, resource: &str, why: &'static str) {
        self.counts(resource).left_out += 1;
        *self.left_out.entry(why).or_default().entry(resource.to_owned()).or_default() += 1;
    }

    pub(super) fn refused(&mut self, resource: &str, key: &str, why: String) {
        self.counts(resource).refused += 1;
        let refused = self.refused.entry(why).or_default();
        refused.count += 1;
        if refused.named.len() < NAMED_MAX {
            refused.named.push(key.to_owned());
        }
    }

    pub(super) fn print(&self, dry_run: bool) {
        print!("{}", self.text(dry_run));
    }

    fn text(&self, dry_run: bool) -> String {
        let taken = if dry_run { "WOULD TAKE" } else { "TAKEN" };
        let mut rows = vec![["RESOURCE", taken, "THERE ALREADY", "LEFT OUT", "NOT TAKEN"].map(str::to_owned)];
        let mut sum = [0; 4];
        for (resource, counts) in &self.resources {
            let numbers = [counts.taken, counts.alike, counts.left_out, counts.refused];
            sum.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
            let [a, b, c, d] = numbers.map(|n| n.to_string());
            rows.push([resource.clone(), a, b, c, d]);
        }
        let [a, b, c, d] = sum.map(|n| n.to_string());
        rows.push(["(all)".to_owned(), a, b, c, d]);
        let widths: Vec<usize> =
            (0..5).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
        let mut out = String::new();
        for row in &rows {
            out.push_str(&format!("{:<w$}", row[0], w = widths[0]));
            for i in 1..5 {
                out.push_str(&format!("  {:>w$}", row[i], w = widths[i]));
            }
            out.push('\n');
        }
        if !self.left_out.is_empty() {
            out.push_str("\nLeft out on purpose:\n");
            for (why, resources) in &self.left_out {
                let named: Vec<_> = resources.iter().map(|(name, n)| format!("{n} {name}")).collect();
                out.push_str(&format!("  {}: {why}\n", named.join(", ")));
            }
        }
        if !self.refused.is_empty() {
            out.push_str("\nNot taken:\n");
            for (why, refused) in &self.refused {
                out.push_str(&format!("  {why}\n"));
                for key in &refused.named {
                    out.push_str(&format!("    {key}\n"));
                }
                if refused.count > refused.named.len() as u64 {
                    out.push_str(&format!("    and {} more\n", refused.count - refused.named.len() as u64));
                }
            }
        }
        out
    }

    /// An error when something could not be taken.
    pub(super) fn result(&self) -> Result<()> {
        let refused: u64 = self.refused.values().map(|refused| refused.count).sum();
        if refused > 0 {
            bail!("{} of the source could not be taken: see above", count(refused, "object"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_and_long_lists_are_cut() {
        let mut report = Report::default();
        report.taken("pods");
        report.left_out("events", "they end");
        assert!(report.result().is_ok());
        for i in 0..25 {
            report.refused("secrets", &format!("secrets/a/{i}"), "encrypted".into());
        }
        let text = report.text(false);
        assert!(text.contains("  1 events: they end\n"), "{text}");
        assert!(text.contains("    secrets/a/19\n    and 5 more\n"), "{text}");
        assert!(text.contains("(all)         1              0         1         25\n"), "{text}");
        assert!(report.result().unwrap_err().to_string().starts_with("25 objects"));
    }
}
