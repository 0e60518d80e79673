//! Prometheus' text format.

use std::fmt::{Display, Write};

use super::histogram::Histogram;

/// Labels of one sample.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a scrape is answered with, family by family. A family is opened once.
#[derive(Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn finish(self) -> String {
        self.0
    }

    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: Labels, value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    pub(crate) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        self.buckets(name, &[], histogram);
    }

    /// The samples of one histogram of an open family.
    pub(crate) fn buckets(&mut self, name: &str, labels: Labels, histogram: &Histogram) {
        let (buckets, count, sum) = histogram.read();
        for (bound, up_to) in buckets {
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(&bound.to_string()));
            let _ = writeln!(self.0, " {up_to}");
        }
        let _ = write!(self.0, "{name}_bucket");
        self.labels(labels, Some("+Inf"));
        let _ = writeln!(self.0, " {count}");
        for (ending, value) in [("sum", sum), ("count", count as f64)] {
            let _ = write!(self.0, "{name}_{ending}");
            self.labels(labels, None);
            let _ = writeln!(self.0, " {value}");
        }
    }

    fn labels(&mut self, labels: Labels, le: Option<&str>) {
        if labels.is_empty() && le.is_none() {
            return;
        }
        let all = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
        for (place, (name, value)) in all.enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        self.0.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("a", &[("b", "x\\\"\n")], 1.5);
        text.sample("c", &[], 2u64);
        assert_eq!(text.finish(), "a{b=\"x\\\\\\\"\\n\"} 1.5\nc 2\n");
    }
}
