//! How far a run is: in place on a terminal, a line at the begin of each part elsewhere.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_millis(100);

pub(super) struct Show {
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Show {
    pub(super) fn new(began: Instant) -> Show {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Show { began, bar }
    }

    /// A part of the run begins.
    pub(super) fn part(&self, words: &str) {
        let at = self.began.elapsed().as_secs_f64();
        match &self.bar {
            Some(bar) => {
                bar.println(format!("{at:>7.1} s  {words}"));
                bar.set_message(words.to_owned());
            }
            None => eprintln!("{at:>7.1} s  {words}"),
        }
    }

    fn left(&self, words: &str, left: Duration) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{words}, {} s left", left.as_secs_f64().ceil()));
        }
    }

    /// Waits so long, or until `stop`; says what for, and how long yet.
    pub(super) async fn wait(&self, words: &str, lasts: Duration, stop: &CancellationToken) {
        self.part(&format!("{words}, for {} s", lasts.as_secs_f64()));
        let _ = stop.run_until_cancelled(self.count_down(words, lasts)).await;
    }

    /// Tells how long yet, until it is over.
    pub(super) async fn count_down(&self, words: &str, lasts: Duration) {
        let until = Instant::now() + lasts;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.left(words, left);
            tokio::time::sleep(left.min(TICK)).await;
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Asks whether to go on.
pub(super) fn confirm() -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("--yes is needed where there is no terminal to ask at; nothing was done");
    }
    print!("Go on? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was done");
    }
    Ok(())
}
