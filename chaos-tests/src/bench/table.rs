//! The table at the end.

use std::fmt;

#[derive(Default)]
pub(super) struct Table {
    rows: Vec<[String; 5]>,
}

impl Table {
    /// Ours, theirs, ours divided by theirs. Calls that failed are shown instead: what a refusal
    /// costs says nothing about the call.
    pub(super) fn ratio(&mut self, name: &str, ours: f64, theirs: f64, failed: u64, note: &str) {
        let row = if failed > 0 {
            [name.to_owned(), format!("{failed} failed"), number(theirs), String::new(), String::new()]
        } else {
            let ratio = format!("{:.2}", ours / theirs);
            [name.to_owned(), number(ours), number(theirs), ratio, note.to_owned()]
        };
        self.rows.push(row);
    }

    pub(super) fn figure(&mut self, name: &str, ours: String, note: &str) {
        self.rows.push([name.to_owned(), ours, String::new(), String::new(), note.to_owned()]);
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["figure", "Trireme", "etcd or upstream", "ratio", "what bounds it"].map(str::to_owned);
        let all: Vec<&[String; 5]> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &all {
            writeln!(
                f,
                "{:<a$}  {:>b$}  {:>c$}  {:>d$}  {}",
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                a = width(0),
                b = width(1),
                c = width(2),
                d = width(3)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_no_ratio() {
        let mut table = Table::default();
        table.ratio("good", 1.0, 4.0, 0, "note");
        table.ratio("bad", 1.0, 4.0, 7, "note");
        let text = table.to_string();
        let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(row("good").contains("0.25"), "{text}");
        assert!(row("bad").contains("7 failed") && !row("bad").contains("0.25"), "{text}");
    }
}
