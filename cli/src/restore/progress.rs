//! What takes long when a cluster is made again, shown.

use std::time::{Duration, Instant};

use trireme_raft::Work;

use crate::progress::{Bar, Unit, count};

/// One bar at a time, each gone when the next begins.
pub(crate) struct Progress {
    bar: Bar,
    doing: &'static str,
    began: Instant,
    keys: u64,
    bytes: u64,
    raw_bytes: u64,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let (bar, began) = (Bar::hidden(), Instant::now());
        Progress { bar, doing: "", began, keys: 0, bytes: 0, raw_bytes: 0 }
    }

    /// About so many bytes are to be read or written from now on.
    pub(crate) fn expect(&mut self, raw_bytes: u64) {
        self.raw_bytes = raw_bytes;
    }

    pub(crate) fn did(&mut self, work: Work) {
        match work {
            Work::Entries { done, of } => {
                self.show("reading the log", of, Unit::Things("entries"));
                self.bar.set(done, of);
            }
            Work::Checked { bytes } => {
                self.show("checking", self.raw_bytes, Unit::Bytes);
                self.bar.inc_at_least(bytes);
            }
            Work::Written { keys, bytes } => {
                self.show("writing", self.raw_bytes, Unit::Bytes);
                self.keys += keys;
                self.bytes += bytes;
                self.bar.inc_at_least(bytes);
            }
            Work::Copied { members, of } => {
                self.show("copying to the other members", of as u64, Unit::Things("members"));
                self.bar.set(members as u64, of as u64);
            }
        }
    }

    /// What is done elsewhere.
    pub(crate) fn fetched(&mut self, doing: &'static str, done: u64, of: u64, unit: Unit) {
        self.show(doing, of, unit);
        self.bar.set(done, of);
    }

    fn show(&mut self, doing: &'static str, of: u64, unit: Unit) {
        if self.doing == doing {
            return;
        }
        self.end();
        (self.doing, self.began) = (doing, Instant::now());
        self.bar = Bar::new(doing, of, unit);
    }

    /// How fast keys were written, and the time since the first.
    pub(crate) fn figure(&self) -> String {
        figure(self.keys, self.bytes, self.began.elapsed())
    }

    pub(crate) fn end(&mut self) {
        self.bar.end();
        self.doing = "";
    }
}

fn figure(keys: u64, bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let mb = bytes as f64 / 1e6;
    format!(
        "{}, {mb:.1} MB in {seconds:.1} s: {:.1} MB/s, {:.0} keys/s",
        count(keys, "key"),
        mb / seconds,
        keys as f64 / seconds
    )
}
