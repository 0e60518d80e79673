//! Bars for what takes long when a cluster is made again.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use trireme_raft::Work;

/// One bar at a time, each gone when the next begins.
pub(crate) struct Progress {
    bar: ProgressBar,
    doing: &'static str,
    began: Instant,
    keys: u64,
    bytes: u64,
    raw_bytes: u64,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let (bar, began) = (ProgressBar::hidden(), Instant::now());
        Progress { bar, doing: "", began, keys: 0, bytes: 0, raw_bytes: 0 }
    }

    /// About so many bytes are to be read or written from now on.
    pub(crate) fn expect(&mut self, raw_bytes: u64) {
        self.raw_bytes = raw_bytes;
    }

    pub(crate) fn did(&mut self, work: Work) {
        match work {
            Work::Entries { done, of } => {
                self.show("reading the log", of, false);
                self.bar.set_position(done);
            }
            Work::Checked { bytes } => {
                self.show("checking", self.raw_bytes, true);
                self.inc(bytes);
            }
            Work::Written { keys, bytes } => {
                self.show("writing", self.raw_bytes, true);
                self.keys += keys;
                self.bytes += bytes;
                self.inc(bytes);
            }
            Work::Copied { members, of } => {
                self.show("copying to the other members", of as u64, false);
                self.bar.set_position(members as u64);
            }
        }
    }

    /// A bar for what is done elsewhere, of so many bytes or entries.
    pub(crate) fn fetched(&mut self, doing: &'static str, done: u64, of: u64, bytes: bool) {
        self.show(doing, of, bytes);
        self.bar.set_position(done);
    }

    fn inc(&mut self, bytes: u64) {
        // The total is an estimate.
        if self.bar.position() + bytes > self.bar.length().unwrap_or(0) {
            self.bar.set_length(self.bar.position() + bytes);
        }
        self.bar.inc(bytes);
    }

    fn show(&mut self, doing: &'static str, of: u64, bytes: bool) {
        if self.doing == doing {
            return;
        }
        self.end();
        (self.doing, self.began) = (doing, Instant::now());
        self.bar = ProgressBar::new(of);
        let counts = match bytes {
            true => "{bytes}/{total_bytes}, {bytes_per_sec}",
            false => "{human_pos}/{human_len}, {per_sec}",
        };
        if let Ok(style) =
            ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {counts}, {{eta}} left"))
        {
            self.bar.set_style(style);
        }
        self.bar.set_message(doing);
    }

    /// How fast keys were written, and the time since the first.
    pub(crate) fn figure(&self) -> String {
        figure(self.keys, self.bytes, self.began.elapsed())
    }

    pub(crate) fn end(&mut self) {
        self.bar.finish_and_clear();
        self.doing = "";
    }
}

fn figure(keys: u64, bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let mb = bytes as f64 / 1e6;
    format!(
        "{keys} keys, {mb:.1} MB in {seconds:.1} s: {:.1} MB/s, {:.0} keys/s",
        mb / seconds,
        keys as f64 / seconds
    )
}
