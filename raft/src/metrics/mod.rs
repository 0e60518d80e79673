//! What a member counts, and where the time of a request goes.
//!
//! ```text
//!   hot paths ── atomic additions ──► Metrics, Timeline ◄── a scrape, a slow request
//! ```
//!
//! Names, types, labels and bounds are etcd's wherever etcd has such a metric, so that its
//! dashboards and alerts work; what etcd does not have begins with `trireme_store_`. `docs/metrics.md`
//! lists them all.

mod histogram;
mod process;
mod slow;
mod text;
mod timeline;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use trireme_store::log::Outcome;
use trireme_store::{OpResponse, TxnResponse};

pub(crate) use histogram::{CALL_BOUNDS_S, Counter, DISK_BOUNDS_S, Gauge, Histogram};
use histogram::{ROUND_TRIP_BOUNDS_S, SNAPSHOT_BOUNDS_S};
pub(crate) use slow::{Moments, SlowLog, Steps, Subject, split};
pub(crate) use text::Text;
pub(crate) use timeline::{Run, Timeline, now_ns};
pub(crate) use traffic::{Counted, CountedConnector, Traffic};

use crate::types::MemberId;

/// Everything that one member counts.
pub(crate) struct Metrics {
    pub(crate) leader_changes: Counter,
    pub(crate) heartbeat_failures: Counter,
    pub(crate) proposals_failed: Counter,
    pub(crate) slow_applies: Counter,
    pub(crate) slow_read_indexes: Counter,
    pub(crate) read_indexes_failed: Counter,
    pub(crate) snapshots_applying: Gauge,
    /// One engine batch of applied entries.
    pub(crate) commit: Histogram,
    pub(crate) snapshot_sent: Histogram,
    pub(crate) snapshot_received: Histogram,
    /// When runs were handed to apply, begun and done.
    pub(crate) applied: Timeline,
    pub(crate) operations: Operations,
    pub(crate) steps: Steps,
    pub(crate) writes: Histogram,
    pub(crate) reads: Histogram,
    pub(crate) slow: SlowLog,
    pub(crate) checks: DiskChecks,
    pub(crate) marks_agreed: Counter,
    pub(crate) marks_differed: Counter,
    round_trips: Mutex<BTreeMap<MemberId, Arc<RoundTrips>>>,
}

impl Metrics {
    /// `slow_after`: requests that take longer are told of in the log.
    pub(crate) fn new(slow_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            leader_changes: Counter::default(),
            heartbeat_failures: Counter::default(),
            proposals_failed: Counter::default(),
            slow_applies: Counter::default(),
            slow_read_indexes: Counter::default(),
            read_indexes_failed: Counter::default(),
            snapshots_applying: Gauge::default(),
            commit: Histogram::new(&DISK_BOUNDS_S),
            snapshot_sent: Histogram::new(&SNAPSHOT_BOUNDS_S),
            snapshot_received: Histogram::new(&SNAPSHOT_BOUNDS_S),
            applied: Timeline::default(),
            operations: Operations::default(),
            steps: Steps::default(),
            writes: Histogram::new(&ROUND_TRIP_BOUNDS_S),
            reads: Histogram::new(&ROUND_TRIP_BOUNDS_S),
            slow: SlowLog::new(slow_after),
            checks: DiskChecks::default(),
            marks_agreed: Counter::default(),
            marks_differed: Counter::default(),
            round_trips: Mutex::default(),
        })
    }

    /// Heartbeats to `member`.
    pub(crate) fn round_trips(&self, member: MemberId) -> Arc<RoundTrips> {
        self.round_trips.lock().entry(member).or_default().clone()
    }

    /// Those of every member that was called, in the order of ids.
    pub(crate) fn all_round_trips(&self) -> Vec<(MemberId, Arc<RoundTrips>)> {
        self.round_trips.lock().iter().map(|(member, trips)| (*member, trips.clone())).collect()
    }

    /// Writes the families that are about the whole process.
    pub(crate) fn render_process(text: &mut Text) {
        process::render(text);
    }
}

/// Heartbeats to one member.
pub(crate) struct RoundTrips {
    pub(crate) took: Histogram,
    pub(crate) failed: Counter,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self { took: Histogram::new(&ROUND_TRIP_BOUNDS_S), failed: Counter::default() }
    }
}

/// What was done to the store, as applied by this member; ranges are those that it was asked for.
#[derive(Default)]
pub(crate) struct Operations {
    pub(crate) ranges: Counter,
    pub(crate) puts: Counter,
    pub(crate) deletes: Counter,
    pub(crate) txns: Counter,
    pub(crate) leases_granted: Counter,
    pub(crate) leases_revoked: Counter,
    pub(crate) leases_renewed: Counter,
    pub(crate) leases_expired: Counter,
}

impl Operations {
    /// Counts what was applied. `txns` of its commands were more than a plain put or deletion.
    pub(crate) fn applied(&self, outcomes: &[Outcome], txns: u64) {
        self.txns.add(txns);
        for outcome in outcomes {
            match outcome {
                Outcome::Txn(done) => self.txn(done),
                Outcome::Granted(_) => self.leases_granted.inc(),
                Outcome::Revoked(_) => self.leases_revoked.inc(),
                Outcome::Expired { leases, .. } => self.leases_expired.add(leases.len() as u64),
                _ => {}
            }
        }
    }

    fn txn(&self, done: &TxnResponse) {
        for response in &done.responses {
            match response {
                OpResponse::Put { .. } => self.puts.inc(),
                OpResponse::Delete { .. } => self.deletes.inc(),
                OpResponse::Range(_) => self.ranges.inc(),
                OpResponse::Txn(inner) => self.txn(inner),
            }
        }
    }
}

/// The checks of everything on the disk.
#[derive(Default)]
pub(crate) struct DiskChecks {
    pub(crate) running: Gauge,
    pub(crate) sound: Counter,
    pub(crate) damaged: Counter,
    pub(crate) failed: Counter,
    /// Of the last that came to an end. Zero before.
    pub(crate) ended_unix_ms: Gauge,
    pub(crate) took_ms: Gauge,
    pub(crate) state_bytes: Gauge,
    pub(crate) log_bytes: Gauge,
    pub(crate) keys: Gauge,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
