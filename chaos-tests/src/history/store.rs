//! What is asked of the store, and what it answers, in full.
//!
//! Keys and values are text. Of a value only what the traffic put into it is kept, without the
//! padding that makes it as long as real ones.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Moment;

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    pub key: String,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    /// Zero: none.
    pub lease: i64,
    pub value: String,
}

/// Keys by etcd's rule: without an end the one key, otherwise up to the end and without it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Keys {
    pub start: String,
    pub end: String,
}

impl Keys {
    pub fn one(key: impl Into<String>) -> Keys {
        Keys { start: key.into(), end: String::new() }
    }

    /// Every key that begins with `prefix`, which must end in a character below `~`.
    pub fn prefix(prefix: &str) -> Keys {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Keys { start: prefix.to_owned(), end: String::from_utf8_lossy(&end).into_owned() }
    }

    pub fn contains(&self, key: &str) -> bool {
        if self.end.is_empty() {
            key == self.start
        } else {
            key >= self.start.as_str() && key < self.end.as_str()
        }
    }

    pub fn is_one(&self) -> bool {
        self.end.is_empty()
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one() { f.write_str(&self.start) } else { write!(f, "{}..{}", self.start, self.end) }
    }
}

/// A read of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub keys: Keys,
    /// Zero: all.
    pub limit: i64,
    /// Zero: the newest.
    pub revision: i64,
    pub serializable: bool,
    pub keys_only: bool,
    pub count_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    Greater,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Version(i64),
    Create(i64),
    Mod(i64),
    Lease(i64),
    /// Only to be compared for being equal or not: padding is not looked at.
    Value(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub key: String,
    pub relation: Relation,
    pub target: Target,
}

impl Compare {
    /// The key is as it was written at `revision`; zero: it is not there.
    pub fn unchanged(key: impl Into<String>, revision: i64) -> Compare {
        Compare { key: key.into(), relation: Relation::Equal, target: Target::Mod(revision) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Range(Range),
    Put {
        key: String,
        /// No two puts of a run have the same.
        value: String,
        lease: i64,
        prev_kv: bool,
    },
    Delete {
        keys: Keys,
        prev_kv: bool,
    },
}

/// One of two lists of operations, chosen by compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
    /// Done only while this is the epoch of whoever leads the clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// Its success begins the next epoch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raises: bool,
}

impl Txn {
    pub fn branch(&self, succeeded: bool) -> &[Op] {
        if succeeded { &self.success } else { &self.failure }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    Range(Range),
    Txn(Txn),
    Compact { revision: i64 },
    Grant { lease: i64, ttl_s: i64 },
    Revoke { lease: i64 },
    KeepAlive { lease: i64 },
    TimeToLive { lease: i64 },
    Barrier,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeAnswer {
    /// The store's when it answered, whatever revision was read at.
    pub revision: i64,
    pub kvs: Vec<KeyVersion>,
    pub more: bool,
    pub count: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpAnswer {
    Range(RangeAnswer),
    Put { prev: Option<KeyVersion> },
    Delete { deleted: i64, prev: Vec<KeyVersion> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Range(RangeAnswer),
    /// At its own revision if it changed a key, else at the newest.
    Txn {
        revision: i64,
        succeeded: bool,
        results: Vec<OpAnswer>,
    },
    Compacted {
        revision: i64,
    },
    Granted {
        revision: i64,
        ttl_s: i64,
    },
    Revoked {
        revision: i64,
    },
    KeptAlive {
        ttl_s: i64,
    },
    /// Less than zero: there is no such lease.
    TimeToLive {
        revision: i64,
        ttl_s: i64,
        granted_ttl_s: i64,
    },
    Barrier {
        revision: i64,
    },
}

impl Answer {
    /// The store's revision as the answer says it.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Answer::Range(range) => Some(range.revision),
            Answer::Txn { revision, .. }
            | Answer::Compacted { revision }
            | Answer::Granted { revision, .. }
            | Answer::Revoked { revision }
            | Answer::TimeToLive { revision, .. }
            | Answer::Barrier { revision } => Some(*revision),
            Answer::KeptAlive { .. } => None,
        }
    }

    /// Whether it says that a transaction changed a key.
    pub fn changed(&self) -> bool {
        let Answer::Txn { results, .. } = self else { return false };
        results.iter().any(|result| match result {
            OpAnswer::Put { .. } => true,
            OpAnswer::Delete { deleted, .. } => *deleted > 0,
            OpAnswer::Range(_) => false,
        })
    }
}

/// Why something was certainly not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Zero where the answer does not say to which revision.
    Compacted {
        revision: i64,
    },
    FutureRevision,
    LeaseNotFound,
    /// Somebody else leads, in this epoch.
    Fenced {
        current: u64,
    },
    Other(String),
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done(Answer),
    /// Certainly not done.
    Refused(Refusal),
    /// May or may not have been done.
    Unknown(String),
}

/// One change as a watch delivered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub put: bool,
    /// Of a deletion only the key and the revision that deleted it.
    pub kv: KeyVersion,
    pub prev: Option<KeyVersion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Received {
    /// A stream was opened: from this revision on, zero: from now on.
    Opened {
        start: i64,
    },
    Events {
        revision: i64,
        events: Vec<Event>,
    },
    /// Everything up to here was delivered.
    Progress {
        revision: i64,
    },
    /// The stream's start is compacted; zero where the answer does not say to which revision.
    Compacted {
        revision: i64,
    },
    Ended {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub at: Moment,
    pub what: Received,
}

/// One watch, which goes on in a new stream where the one before ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    pub watcher: u32,
    pub keys: Keys,
    pub prev_kv: bool,
    pub no_put: bool,
    pub no_delete: bool,
    /// It follows every key of the traffic, and every change.
    pub whole: bool,
    /// Its reader pauses between messages, and follows to the end nevertheless.
    #[serde(default)]
    pub slow: bool,
    /// It has to deliver everything after this revision.
    pub from: i64,
    /// The highest revision that it was told of, by events or progress.
    pub told: i64,
    pub pieces: Vec<Piece>,
}

impl Watch {
    /// The revision up to which it says that it has delivered everything.
    pub fn reached(&self) -> i64 {
        self.told.max(self.from)
    }

    pub fn receive(&mut self, at: Moment, what: Received) {
        if let Received::Events { revision, .. } | Received::Progress { revision } = &what {
            self.told = self.told.max(*revision);
        }
        self.pieces.push(Piece { at, what });
    }

    /// It cannot go on where it was.
    pub fn lost(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece { what: Received::Compacted { .. }, .. }))
    }

    pub fn wants(&self, event: &Event) -> bool {
        self.keys.contains(&event.kv.key) && if event.put { !self.no_put } else { !self.no_delete }
    }
}
