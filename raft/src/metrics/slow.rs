//! Requests that took too long, told with where their time went.
//!
//! ```text
//!   write:  queued ─► forwarded (the leader's part)                                ─► response
//!           queued ─► log_wait ─► log_sync ─► quorum ─► apply_wait ─► apply        ─► response
//!   read:   barrier ─► read ─► encode
//! ```
//!
//! A request carries two moments; the rest is looked up by its place in the log, and only when it
//! was slow.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trireme_store::log::{Command, CommandOp};
use trireme_store::{KeyRange, Op, TxnRequest};

use super::histogram::{Counter, Histogram, ROUND_TRIP_BOUNDS_S};
use super::timeline::{Timeline, now_ns};

/// Lines in one second; what is slow beyond that is counted and not told.
const LINES_PER_SECOND_MAX: u64 = 10;
/// Bytes of a key in a line.
const KEY_BYTES_MAX: usize = 256;

/// How long each step takes, of all requests.
pub(crate) struct Steps {
    pub(crate) queued: Histogram,
    pub(crate) forwarded: Histogram,
    pub(crate) apply_wait: Histogram,
    pub(crate) quorum: Histogram,
    pub(crate) barrier: Histogram,
    pub(crate) read: Histogram,
    pub(crate) encode: Histogram,
}

impl Default for Steps {
    fn default() -> Self {
        let new = || Histogram::new(&ROUND_TRIP_BOUNDS_S);
        Self {
            queued: new(),
            forwarded: new(),
            apply_wait: new(),
            quorum: new(),
            barrier: new(),
            read: new(),
            encode: new(),
        }
    }
}

/// What a request was about: its first key and its size, never a value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) what: &'static str,
    pub(crate) key: String,
    pub(crate) range_end: String,
    pub(crate) operations: usize,
}

impl Subject {
    pub(crate) fn of_range(range: &KeyRange) -> Self {
        let (key, range_end) = (shown(&range.start), shown(&range.end));
        Self { what: "range", key, range_end, operations: 1 }
    }

    pub(crate) fn of_command(command: &Command) -> Self {
        let plain = |what| Self { what, operations: 1, ..Self::default() };
        match &command.op {
            CommandOp::Txn(txn) => Self::of_txn(txn),
            CommandOp::Compact(_) => plain("compact"),
            CommandOp::LeaseGrant { .. } => plain("lease grant"),
            CommandOp::LeaseRevoke(_) => plain("lease revoke"),
            CommandOp::LeaseRenew(_) => plain("lease renew"),
            CommandOp::LeaseExpire(_) => plain("lease expire"),
            CommandOp::Mark(_) => plain("mark"),
            CommandOp::FeatureLevel(_) => plain("feature level"),
        }
    }

    fn of_txn(txn: &TxnRequest) -> Self {
        let operations = txn.success.len() + txn.failure.len();
        let single = txn.compare.is_empty() && operations == 1;
        let first = txn.success.first().or(txn.failure.first());
        let subject = match first {
            Some(Op::Put(put)) => Self { what: "put", key: shown(&put.key), ..Self::default() },
            Some(Op::Delete(delete)) => Self { what: "delete", ..Self::of_range(&delete.range) },
            Some(Op::Range(range)) => Self::of_range(&range.range),
            Some(Op::Txn(inner)) => Self::of_txn(inner),
            None => Self::default(),
        };
        Self { what: if single { subject.what } else { "txn" }, operations, ..subject }
    }
}

/// A key as a line shows it.
fn shown(key: &[u8]) -> String {
    let mut out = key[..key.len().min(KEY_BYTES_MAX)].escape_ascii().to_string();
    if key.len() > KEY_BYTES_MAX {
        out.push('…');
    }
    out
}

/// The moments of a write that this member saw itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    /// By [`now_ns`], as the others; zero where it did not come to that.
    pub(crate) began_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) ended_ns: u64,
    /// Its place in the log; zero where that is not known.
    pub(crate) index: u64,
    /// It was sent to the leader: what happened there is the leader's to tell.
    pub(crate) forwarded: bool,
}

/// Steps of one request, in order; together they are its whole time, as far as it is known.
pub(crate) type Split = Vec<(&'static str, u64)>;

/// Where the time of a write went.
pub(crate) fn split(moments: Moments, log: &Timeline, applied: &Timeline) -> Split {
    let Moments { began_ns, sent_ns, ended_ns, index, forwarded } = moments;
    let mut steps = Split::new();
    let mut at = began_ns;
    let mut until = |name, moment: u64| {
        let moment = moment.min(ended_ns);
        if moment > 0 && moment >= at {
            steps.push((name, moment - at));
            at = moment;
        }
    };
    if sent_ns == 0 {
        until("queued", ended_ns);
        return steps;
    }
    until("queued", sent_ns);
    if forwarded {
        until("forwarded", ended_ns);
        return steps;
    }
    if index == 0 {
        until("unknown", ended_ns);
        return steps;
    }
    let apply = applied.find(index);
    // Others may have made a quorum before this member's own disk was done.
    let agreed = apply.map_or(u64::MAX, |run| run.at_ns[0]);
    if let Some(run) = log.find(index) {
        until("log_wait", run.at_ns[0].min(agreed));
        until("log_sync", run.at_ns[2].min(agreed));
    }
    if let Some(run) = apply {
        until("quorum", run.at_ns[0]);
        until("apply_wait", run.at_ns[1]);
        until("apply", run.at_ns[2]);
    }
    until("response", ended_ns);
    steps
}

/// The log of slow requests: a bounded number of lines.
pub(crate) struct SlowLog {
    after_ns: u64,
    pub(crate) writes: Counter,
    pub(crate) reads: Counter,
    second: AtomicU64,
    lines: AtomicU64,
    untold: AtomicU64,
}

impl SlowLog {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after_ns: after.as_nanos() as u64,
            writes: Counter::default(),
            reads: Counter::default(),
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_slow(&self, took_ns: u64) -> bool {
        took_ns > self.after_ns
    }

    /// Tells of a write. `outcome` says how it ended.
    pub(crate) fn write(
        &self,
        subject: &Subject,
        role: &str,
        bytes: usize,
        outcome: &str,
        moments: Moments,
        split: &Split,
    ) {
        self.writes.inc();
        let Some(untold) = self.may_tell() else { return };
        tracing::warn!(
            request = subject.what,
            key = subject.key,
            range_end = subject.range_end,
            operations = subject.operations,
            bytes,
            role,
            outcome,
            log_index = moments.index,
            took_ms = ms(moments.ended_ns.saturating_sub(moments.began_ns)),
            steps = listed(split),
            untold,
            "a request was slow"
        );
    }

    /// Tells of a read. `keys` and `bytes` are of its answer.
    pub(crate) fn read(&self, subject: &Subject, role: &str, keys: usize, bytes: usize, split: &Split) {
        self.reads.inc();
        let Some(untold) = self.may_tell() else { return };
        tracing::warn!(
            request = subject.what,
            key = subject.key,
            range_end = subject.range_end,
            keys,
            bytes,
            role,
            took_ms = ms(split.iter().map(|(_, ns)| ns).sum()),
            steps = listed(split),
            untold,
            "a request was slow"
        );
    }

    /// How many were kept back since the last line, where there may be another now.
    fn may_tell(&self) -> Option<u64> {
        let second = now_ns() / 1_000_000_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= LINES_PER_SECOND_MAX {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

fn ms(ns: u64) -> f64 {
    (ns / 1000) as f64 / 1000.0
}

/// `queued=0.1 log_sync=250.4`, in milliseconds.
fn listed(split: &Split) -> String {
    let mut out = String::new();
    for (name, ns) in split {
        let _ = write!(out, "{}{name}={}", if out.is_empty() { "" } else { " " }, ms(*ns));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::timeline::Run;
    use super::*;

    const MS: u64 = 1_000_000;

    fn moments(ended_ms: u64) -> Moments {
        Moments { began_ns: MS, sent_ns: 3 * MS, ended_ns: ended_ms * MS, index: 7, forwarded: false }
    }

    fn timelines(log: [u64; 3], applied: [u64; 3]) -> (Timeline, Timeline) {
        let of = |at: [u64; 3]| {
            let timeline = Timeline::default();
            timeline.record(Run { first_index: 5, next_index: 9, at_ns: at.map(|ms| ms * MS) });
            timeline
        };
        (of(log), of(applied))
    }

    #[test]
    fn the_steps_of_a_write_are_its_whole_time() {
        let (log, applied) = timelines([4, 5, 260], [262, 263, 270]);
        let steps = split(moments(271), &log, &applied);
        let expected = [
            ("queued", 2),
            ("log_wait", 1),
            ("log_sync", 256),
            ("quorum", 2),
            ("apply_wait", 1),
            ("apply", 7),
            ("response", 1),
        ];
        assert_eq!(steps, expected.map(|(name, ms)| (name, ms * MS)));
        assert_eq!(listed(&steps[..2].to_vec()), "queued=2 log_wait=1");
    }

    #[test]
    fn a_quorum_of_the_others_ends_the_wait_for_the_own_disk() {
        let (log, applied) = timelines([4, 5, 900], [10, 11, 12]);
        let steps = split(moments(13), &log, &applied);
        assert_eq!(steps.iter().map(|(_, ns)| ns).sum::<u64>(), 12 * MS);
        assert!(steps.contains(&("log_sync", 6 * MS)) && steps.contains(&("quorum", 0)), "{steps:?}");
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let none = (Timeline::default(), Timeline::default());
        let of = |moments| split(moments, &none.0, &none.1);
        assert_eq!(of(moments(10)), [("queued", 2 * MS), ("response", 7 * MS)]);
        let forwarded = Moments { forwarded: true, index: 0, ..moments(10) };
        assert_eq!(of(forwarded), [("queued", 2 * MS), ("forwarded", 7 * MS)]);
        let lost = Moments { index: 0, ..moments(10) };
        assert_eq!(of(lost), [("queued", 2 * MS), ("unknown", 7 * MS)]);
        let never_sent = Moments { sent_ns: 0, index: 0, ..moments(10) };
        assert_eq!(of(never_sent), [("queued", 9 * MS)]);
    }

    #[test]
    fn lines_are_bounded_and_the_rest_is_counted() {
        let slow = SlowLog::new(Duration::from_millis(100));
        assert!(!slow.is_slow(100 * MS) && slow.is_slow(100 * MS + 1));
        // Two seconds at most are met.
        let told = (0..1000).filter(|_| slow.may_tell().is_some()).count() as u64;
        assert!((LINES_PER_SECOND_MAX..=2 * LINES_PER_SECOND_MAX).contains(&told), "{told}");
        assert!(slow.untold.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_line_shows_keys_and_never_values() {
        let put = Op::Put(trireme_store::PutRequest::new("a\n", "secret"));
        let txn = TxnRequest { success: vec![put], ..TxnRequest::default() };
        let subject = Subject::of_txn(&txn);
        assert_eq!((subject.what, &subject.key[..], subject.operations), ("put", "a\\n", 1));
        assert!(!format!("{subject:?}").contains("secret"));
        assert_eq!(shown(&[b'x'; 300]).chars().count(), KEY_BYTES_MAX + 1);
    }
}
