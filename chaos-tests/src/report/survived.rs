//! What each commit has survived: a table in a document, of which a run writes its commit's row.

use std::path::Path;

use anyhow::{Context, Result};

const HEADER: &str = "| commit | store: seeds | hours | per core hour | faults | control plane: seeds | hours | per core hour | faults | real: seed | minutes | faults |";
const CELLS: usize = 12;
/// What a row says of worlds that were not run.
const NOTHING: &str = "–";

/// Which world a run was of, and what of it was survived.
#[derive(Clone, Debug, PartialEq)]
pub enum Run {
    Simulated { control_plane: bool, seeds: String, hours: f64, per_core_hour: f64, faults: usize },
    Real { seed: u64, minutes: f64, faults: usize },
}

impl Run {
    /// The first cell, and what is in it and in those after it.
    fn cells(&self) -> (usize, Vec<String>) {
        match self {
            Run::Simulated { control_plane, seeds, hours, per_core_hour, faults } => {
                let cells = vec![
                    seeds.clone(),
                    format!("{hours:.2}"),
                    format!("{per_core_hour:.0}"),
                    faults.to_string(),
                ];
                (if *control_plane { 5 } else { 1 }, cells)
            }
            Run::Real { seed, minutes, faults } => {
                (9, vec![seed.to_string(), format!("{minutes:.1}"), faults.to_string()])
            }
        }
    }
}

/// Writes what `run` survived into the row of `commit` of the table in `file`: a new last row, or the one that
/// is there, whose other worlds stay as they are.
///
/// # Errors
/// Where the file cannot be read or written, or has no such table.
pub fn record(file: &Path, commit: &str, run: &Run) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let with = with_row(&text, commit, run)
        .with_context(|| format!("{} has no table that begins with {HEADER:?}", file.display()))?;
    let beside = file.with_extension("new");
    std::fs::write(&beside, with).with_context(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, file).with_context(|| format!("write {}", file.display()))
}

fn with_row(text: &str, commit: &str, run: &Run) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let header = lines.iter().position(|line| line == HEADER)?;
    let first = header + 2;
    let end =
        lines.iter().skip(first).position(|line| !line.starts_with('|')).map_or(lines.len(), |n| first + n);
    let name = format!("`{commit}`");
    let found = (first..end).find(|n| cells_of(&lines[*n]).first() == Some(&name.as_str()));
    let mut cells: Vec<String> = match found {
        Some(n) => cells_of(&lines[n]).into_iter().map(str::to_owned).collect(),
        None => std::iter::once(name).collect(),
    };
    cells.resize(CELLS, NOTHING.to_owned());
    let (from, new) = run.cells();
    cells.splice(from..from + new.len(), new);
    let row = format!("| {} |", cells.join(" | "));
    match found {
        Some(n) => lines[n] = row,
        None => lines.insert(end, row),
    }
    Some(lines.join("\n") + "\n")
}

fn cells_of(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> String {
        format!("# Survived\n\nWords.\n\n{HEADER}\n|{}\n{rows}\nMore words.\n", "---|".repeat(CELLS))
    }

    #[test]
    fn a_commit_has_one_row_of_which_each_world_writes_its_part() {
        let store = Run::Simulated {
            control_plane: false,
            seeds: "1..9".into(),
            hours: 0.5,
            per_core_hour: 300.4,
            faults: 70,
        };
        let once =
            with_row(&table("| `old` | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 |\n"), "new", &store)
                .unwrap();
        let real = Run::Real { seed: 7, minutes: 10.0, faults: 80 };
        let twice = with_row(&once, "new", &real).unwrap();
        let again = with_row(&twice, "new", &Run::Real { seed: 8, minutes: 2.0, faults: 9 }).unwrap();
        let rows = |text: &str| {
            text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(rows(&once)[1], "| `new` | 1..9 | 0.50 | 300 | 70 | – | – | – | – | – | – | – |");
        assert_eq!(rows(&twice)[1], "| `new` | 1..9 | 0.50 | 300 | 70 | – | – | – | – | 7 | 10.0 | 80 |");
        assert_eq!(rows(&again)[1], "| `new` | 1..9 | 0.50 | 300 | 70 | – | – | – | – | 8 | 2.0 | 9 |");
        assert_eq!(rows(&again).len(), 2);
        assert!(again.ends_with("\nMore words.\n"), "{again}");
    }

    #[test]
    fn a_document_without_the_table_is_left_alone() {
        assert_eq!(
            with_row("# Something else\n", "new", &Run::Real { seed: 1, minutes: 1.0, faults: 1 }),
            None
        );
    }
}
