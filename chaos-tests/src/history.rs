//! What clients did and what they were told: the only thing that checkers see.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// Order of events as the harness saw them: every beginning and end of an operation, every watch
/// event has a tick of its own. If one operation's end is before another's beginning, it really
/// happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tick(pub u64);

/// What an operation asked for. Every key is written by one client alone, with values that count
/// up, so that any value read tells how far the key has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    Write {
        key: String,
        value: u64,
    },
    /// Linearizable.
    Read {
        key: String,
    },
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// At this revision.
    Written { revision: i64 },
    /// Without a value: there is no such key. `revision` is the store's when it answered, where the
    /// answer says it.
    Read { value: Option<u64>, revision: Option<i64> },
    /// Certainly not done.
    Refused(String),
    /// May or may not have been done.
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub client: u32,
    pub begin: Tick,
    pub end: Tick,
    pub call: Call,
    pub outcome: Outcome,
}

/// One event as one watcher received it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub watcher: u32,
    pub tick: Tick,
    pub key: String,
    pub value: u64,
    pub revision: i64,
}

/// What one watcher has to have received: every event of keys that start with `prefix`, of
/// revisions after `from` and up to `reached`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watcher {
    pub id: u32,
    pub prefix: String,
    pub from: i64,
    pub reached: i64,
}

/// A key with its value and revision, as a member holds it.
pub type Held = (String, u64, i64);

/// Everything of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub operations: Vec<Operation>,
    pub seen: Vec<Seen>,
    pub watchers: Vec<Watcher>,
    /// Keys and values read when everything had healed.
    pub last: Vec<(String, u64)>,
    /// What each member held at the end.
    pub members: Vec<(String, Vec<Held>)>,
}

/// Filled by many clients at once.
#[derive(Default)]
pub struct Recorder {
    tick: AtomicU64,
    history: Mutex<History>,
}

impl Recorder {
    pub fn tick(&self) -> Tick {
        Tick(self.tick.fetch_add(1, Ordering::SeqCst))
    }

    pub async fn operation(&self, client: u32, begin: Tick, call: Call, outcome: Outcome) {
        let end = self.tick();
        self.history.lock().await.operations.push(Operation { client, begin, end, call, outcome });
    }

    pub async fn seen(&self, watcher: u32, events: impl IntoIterator<Item = (String, u64, i64)>) {
        let mut history = self.history.lock().await;
        for (key, value, revision) in events {
            let tick = self.tick();
            history.seen.push(Seen { watcher, tick, key, value, revision });
        }
    }

    /// Changes the record; for what is known only at the end.
    pub async fn with<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        change(&mut *self.history.lock().await)
    }

    /// Writes acknowledged so far.
    pub async fn acknowledged(&self) -> usize {
        let history = self.history.lock().await;
        history.operations.iter().filter(|op| matches!(op.outcome, Outcome::Written { .. })).count()
    }
}
