//! What the person at the terminal sees: a line per process while starting, then what happens.
//! Elsewhere than at a terminal only the last state of each is worth a line.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Lines that move on a terminal; plain lines elsewhere.
pub(super) struct Display {
    lines: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    states: BTreeMap<String, String>,
    terminal: bool,
}

impl Display {
    pub(super) fn new(names: &[String]) -> Display {
        let terminal = std::io::stderr().is_terminal();
        let lines = MultiProgress::new();
        let mut bars = BTreeMap::new();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        if terminal {
            let style = ProgressStyle::with_template(&format!("{{spinner}} {{prefix:{width}}}  {{msg}}"))
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            for name in names {
                let bar = lines.add(ProgressBar::new_spinner());
                bar.set_style(style.clone());
                bar.set_prefix(name.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                bars.insert(name.clone(), bar);
            }
        }
        Display { lines, bars, states: BTreeMap::new(), terminal }
    }

    /// What `name` is doing now; the same again shows nothing.
    pub(super) fn state(&mut self, name: &str, state: &str) {
        if self.states.insert(name.to_owned(), state.to_owned()).as_deref() == Some(state) {
            return;
        }
        if let Some(bar) = self.bars.get(name) {
            bar.set_message(state.to_owned());
        }
    }

    /// Something went wrong that is going to be tried again.
    pub(super) fn trouble(&mut self, name: &str, state: &str) {
        self.state(name, state);
        if !self.terminal {
            eprintln!("{name}: {state}");
        }
    }

    /// `name` is ready.
    pub(super) fn done(&mut self, name: &str, state: &str) {
        self.state(name, state);
        match self.bars.get(name) {
            Some(bar) => bar.finish(),
            None if !self.terminal => eprintln!("{name}: {state}"),
            None => {}
        }
    }

    /// Takes the moving lines away; what follows is plain text.
    pub(super) fn finish(&mut self) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
        let _ = self.lines.clear();
        self.bars.clear();
        self.terminal = true;
    }
}
