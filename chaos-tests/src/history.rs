//! What clients did and what they were told: the only thing that checkers see.

mod api;
mod store;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use api::*;
pub use store::*;

/// Order of events as the harness saw them: every beginning and end of an operation, every watch
/// event has a tick of its own. If one operation's end is before another's beginning, it really
/// happened before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tick(pub u64);

/// A tick, and the clients' clock at it: nanoseconds since the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    pub tick: Tick,
    pub ns: u64,
}

/// One call to the store and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub client: u32,
    /// The member that was asked, where the client never asks another.
    pub member: Option<String>,
    pub begin: Moment,
    pub end: Moment,
    pub call: Call,
    pub outcome: Outcome,
}

/// How a member stood, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Before it was asked, and when it had answered.
    pub asked: Tick,
    pub tick: Tick,
    /// Its identity, in hexadecimal: a member that begins anew is another one.
    pub member: String,
    pub term: u64,
    pub leads: bool,
    pub applied_index: u64,
    /// Zero where it was not asked.
    pub revision: i64,
    /// Of the state at `applied_index`, in hexadecimal; empty where it was not asked.
    pub state_hash: String,
}

/// Everything of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// All compactions are here: those of this traffic, and what others may have asked for.
    pub compactions_known: bool,
    /// Others asked for compactions up to these revisions, at these ticks at the earliest.
    #[serde(default)]
    pub compactions: Vec<(Tick, i64)>,
    pub operations: Vec<Operation>,
    pub watches: Vec<Watch>,
    pub samples: Vec<Sample>,
    /// Members whose contents were read when everything had healed.
    pub looked: Vec<String>,
    pub api: ApiHistory,
    /// What `kubectl` was run for.
    #[serde(default)]
    pub commands: Vec<Command>,
}

/// How many operations ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub written: usize,
    /// Acknowledged without a change.
    pub read: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Events that watches delivered.
    pub events: usize,
    pub watches: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { written, read, refused, unknown, events, watches } = self;
        write!(
            f,
            "{written} writes, {read} reads, {refused} refused, {unknown} unknown, {events} events of {watches} watches"
        )
    }
}

impl History {
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { watches: self.watches.len() + self.api.watches.len(), ..Tally::default() };
        for operation in &self.operations {
            match &operation.outcome {
                Outcome::Done(answer) if answer.changed() => tally.written += 1,
                Outcome::Done(_) => tally.read += 1,
                Outcome::Refused(_) => tally.refused += 1,
                Outcome::Unknown(_) => tally.unknown += 1,
            }
        }
        for operation in &self.api.operations {
            match &operation.outcome {
                ApiOutcome::Changed(_) => tally.written += 1,
                ApiOutcome::Found(_) | ApiOutcome::Absent | ApiOutcome::Listed { .. } => tally.read += 1,
                ApiOutcome::Refused(_) => tally.refused += 1,
                ApiOutcome::Unknown(_) => tally.unknown += 1,
            }
        }
        let events = self.watches.iter().flat_map(|watch| &watch.pieces).map(|piece| match &piece.what {
            Received::Events { events, .. } => events.len(),
            _ => 0,
        });
        tally.events =
            events.sum::<usize>() + self.api.watches.iter().map(|watch| watch.events.len()).sum::<usize>();
        tally
    }
}

/// Filled by many clients at once. Where somebody beside them compacts the store,
/// [`compactors`](crate::traffic::store::compactors) must look at it.
pub struct Recorder {
    tick: AtomicU64,
    began: OnceLock<Instant>,
    acknowledged: AtomicU64,
    history: Mutex<History>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            tick: AtomicU64::new(0),
            began: OnceLock::new(),
            acknowledged: AtomicU64::new(0),
            history: Mutex::new(History { compactions_known: true, ..History::default() }),
        }
    }
}

impl Recorder {
    pub fn tick(&self) -> Tick {
        Tick(self.tick.fetch_add(1, Ordering::SeqCst))
    }

    /// A tick and the time. To be called where the clients are: other processes have other clocks.
    pub fn moment(&self) -> Moment {
        let began = *self.began.get_or_init(Instant::now);
        let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { tick: self.tick(), ns }
    }

    pub async fn operation(&self, operation: Operation) {
        if matches!(&operation.outcome, Outcome::Done(answer) if answer.changed()) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.history.lock().await.operations.push(operation);
    }

    /// Begins a watch; its number.
    pub async fn watch(&self, watch: Watch) -> usize {
        let watches = &mut self.history.lock().await.watches;
        watches.push(watch);
        watches.len() - 1
    }

    /// What came of the watch of this number.
    pub async fn received(&self, watch: usize, what: Received) {
        let mut history = self.history.lock().await;
        let at = self.moment();
        history.watches[watch].receive(at, what);
    }

    pub async fn sample(&self, sample: Sample) {
        self.history.lock().await.samples.push(sample);
    }

    pub async fn api_operation(&self, operation: ApiOperation) {
        if matches!(operation.outcome, ApiOutcome::Changed(_)) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.history.lock().await.api.operations.push(operation);
    }

    /// Changes the record; for what is known only at the end.
    pub async fn with<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        change(&mut *self.history.lock().await)
    }

    /// The revision up to which every watch of everything has got: what lies below can be compacted
    /// without one of them losing its place. Zero while there is none.
    pub async fn followed(&self) -> i64 {
        let history = self.history.lock().await;
        let whole = history.watches.iter().filter(|watch| watch.whole && !watch.lost());
        whole.map(Watch::reached).min().unwrap_or(0)
    }

    /// The revision of the last compaction that was acknowledged; zero while there is none.
    pub async fn compacted(&self) -> i64 {
        let history = self.history.lock().await;
        let done = history.operations.iter().rev().find_map(|operation| match operation.call {
            Call::Compact { revision } if matches!(operation.outcome, Outcome::Done(_)) => Some(revision),
            _ => None,
        });
        done.unwrap_or(0)
    }

    /// Writes acknowledged so far.
    pub async fn acknowledged(&self) -> usize {
        usize::try_from(self.acknowledged.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }
}
