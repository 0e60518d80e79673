//! How far a long piece of work is: a bar on a terminal; a line now and then where standard error is
//! a file or a pipe, so that logs of scheduled work tell it as well.

use std::borrow::Cow;
use std::fmt;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// Work that ends sooner says nothing.
const FIRST_LINE: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    /// Objects, entries, keys.
    Things(&'static str),
}

/// One piece of work after the other, each shown while it is done.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Mostly `None` on a terminal.
    lines: Option<Mutex<Lines>>,
}

impl Bar {
    pub(crate) fn hidden() -> Bar {
        Bar { bar: ProgressBar::hidden(), lines: None }
    }

    pub(crate) fn new(what: impl Into<Cow<'static, str>>, of: u64, unit: Unit) -> Bar {
        let what = what.into();
        let bar = ProgressBar::new(of);
        let counts = match unit {
            Unit::Bytes => "{bytes}/{total_bytes}, {bytes_per_sec}".to_owned(),
            Unit::Things(things) => format!("{{human_pos}}/{{human_len}} {things}, {{per_sec}}"),
        };
        if let Ok(style) =
            ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {counts}, {{eta}} left"))
        {
            bar.set_style(style);
        }
        bar.set_message(what.clone());
        let lines = (!std::io::stderr().is_terminal()).then(|| Mutex::new(Lines::new(what, unit)));
        Bar { bar, lines }
    }

    /// In lines on a terminal as well: for a process that writes other things there.
    pub(crate) fn in_lines(what: &'static str, of: u64, unit: Unit) -> Bar {
        let bar = ProgressBar::hidden();
        bar.set_length(of);
        Bar { bar, lines: Some(Mutex::new(Lines::new(what.into(), unit))) }
    }

    /// So much of so much is done.
    pub(crate) fn set(&self, done: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(done);
        self.tell();
    }

    pub(crate) fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.tell();
    }

    /// More of what may be an estimate: it grows where it was too low.
    pub(crate) fn inc_at_least(&self, more: u64) {
        let done = self.bar.position() + more;
        self.set(done, self.bar.length().unwrap_or(0).max(done));
    }

    fn tell(&self) {
        let Some(Ok(mut lines)) = self.lines.as_ref().map(Mutex::lock) else { return };
        if let Some(line) = lines.due(Instant::now(), self.bar.position(), self.bar.length().unwrap_or(0)) {
            eprintln!("{line}");
        }
    }

    pub(crate) fn end(&self) {
        if let Some(Ok(mut lines)) = self.lines.as_ref().map(Mutex::lock)
            && let Some(line) = lines.last(Instant::now(), self.bar.position())
        {
            eprintln!("{line}");
        }
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

struct Lines {
    what: Cow<'static, str>,
    unit: Unit,
    began: Instant,
    next: Instant,
    told: bool,
}

impl Lines {
    fn new(what: Cow<'static, str>, unit: Unit) -> Lines {
        let began = Instant::now();
        Lines { what, unit, began, next: began + FIRST_LINE, told: false }
    }

    fn due(&mut self, now: Instant, done: u64, of: u64) -> Option<String> {
        if now < self.next {
            return None;
        }
        (self.next, self.told) = (now + LINE_EVERY, true);
        let seconds = (now - self.began).as_secs_f64().max(0.001);
        let per_s = done as f64 / seconds;
        let left = match per_s > 0.0 && of >= done {
            true => format!("{} left", span(((of - done) as f64 / per_s).ceil() as u64)),
            false => "time left not known".to_owned(),
        };
        let (what, rate) = (self.what.trim_end(), self.show(per_s as u64));
        let done = match of >= done {
            true => format!("{} of {}", self.count(done), self.show(of)),
            // How much there is is not known.
            false => self.show(done),
        };
        Some(format!("{what}: {done}, {rate}/s, {left}"))
    }

    /// The end of work of which something was told.
    fn last(&mut self, now: Instant, done: u64) -> Option<String> {
        let told = std::mem::take(&mut self.told);
        let took = span((now - self.began).as_secs().max(1));
        told.then(|| format!("{}: {} in {took}", self.what.trim_end(), self.show(done)))
    }

    fn count(&self, n: u64) -> String {
        match self.unit {
            Unit::Bytes => HumanBytes(n).to_string(),
            Unit::Things(_) => HumanCount(n).to_string(),
        }
    }

    fn show(&self, n: u64) -> String {
        match self.unit {
            Unit::Bytes => self.count(n),
            Unit::Things(things) => format!("{} {things}", self.count(n)),
        }
    }
}

/// `1 base`, `2 bases`, `0 log entries`.
pub(crate) fn count<N: fmt::Display + PartialEq + From<u8>>(n: N, thing: &str) -> String {
    if n == N::from(1) {
        return format!("{n} {thing}");
    }
    match thing.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{n} {stem}ies"),
        _ => format!("{n} {thing}s"),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!([count(0, "base"), count(1, "base"), count(2, "base")], ["0 bases", "1 base", "2 bases"]);
        assert_eq!([count(1_i64, "log entry"), count(7_u64, "log entry")], ["1 log entry", "7 log entries"]);
        assert_eq!(count(202_u64, "key"), "202 keys");
    }

    #[test]
    fn lines_tell_rate_and_time_left_now_and_then() {
        let mut lines = Lines::new("fetching".into(), Unit::Bytes);
        let at = |ms: u64, lines: &Lines| lines.began + Duration::from_millis(ms);
        assert_eq!(lines.due(at(900, &lines), 1, 2), None);
        assert_eq!(lines.last(at(900, &lines), 1), None, "what is quick says nothing");
        let line = lines.due(at(2_000, &lines), 4 << 20, 16 << 20);
        assert_eq!(line.as_deref(), Some("fetching: 4.00 MiB of 16.00 MiB, 2.00 MiB/s, 6 s left"));
        assert_eq!(lines.due(at(6_900, &lines), 5 << 20, 16 << 20), None);
        assert!(lines.due(at(7_100, &lines), 0, 0).is_some_and(|line| line.contains("not known")));
        let line = lines.due(at(12_500, &lines), 25 << 20, 0);
        assert_eq!(line.as_deref(), Some("fetching: 25.00 MiB, 2.00 MiB/s, time left not known"));
        let end = lines.last(at(8_000, &lines), 16 << 20);
        assert_eq!(end.as_deref(), Some("fetching: 16.00 MiB in 8 s"));
        let mut lines = Lines::new("writing".into(), Unit::Things("keys"));
        let line = lines.due(at(1_000, &lines), 1_000, 500_000);
        assert_eq!(line.as_deref(), Some("writing: 1,000 of 500,000 keys, 1,000 keys/s, 9 min left"));
    }
}
