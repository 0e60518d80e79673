//! Why a backup cannot be made or used.

use std::path::PathBuf;

/// Named by what has to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot work; nothing was touched.
    #[error("{0}")]
    Invalid(String),
    #[error("the key: {0}")]
    Key(String),
    /// The storage did not do what it was asked; can be tried again.
    #[error("the backup's storage: {0}")]
    Storage(#[from] object_store::Error),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error("{location} holds no backup")]
    Empty { location: String },
    #[error("{location} holds backups of several clusters ({}): name one of them", clusters.join(", "))]
    SeveralClusters { location: String, clusters: Vec<String> },
    #[error("{object} was sealed with another key")]
    WrongKey { object: String },
    #[error("{object} is sealed: its key is needed")]
    KeyNeeded { object: String },
    /// Somebody without the key may have put it there.
    #[error("{object} is not sealed, and a key was given for it")]
    NotSealed { object: String },
    #[error("{object} was written by a newer version of trireme (format {format})")]
    Newer { object: String, format: u8 },
    #[error("{object} is damaged: {reason}")]
    Damaged { object: String, reason: String },
    #[error("{object} is missing")]
    Missing { object: String },
    #[error("log entries {first} to {last} are missing from the backup: {because}")]
    Gap { first: u64, last: u64, because: String },
    #[error("the backup begins at {begins}, after {asked}")]
    TooEarly { asked: String, begins: String },
    #[error("the backup ends at {ends}, before {asked}")]
    Beyond { asked: String, ends: String },
    #[error(
        "revision {asked} was made together with revision {reached}, by the end of several leases: ask for {before} or {reached}"
    )]
    WithinEntry { asked: i64, before: i64, reached: i64 },
    #[error("{} exists already: a new directory is expected", .0.display())]
    Exists(PathBuf),
    #[error("the state made from {what} has hash {found:032x}, and {expected:032x} was recorded")]
    OtherHash { what: String, found: u128, expected: u128 },
    /// The log that the member has is not a continuation of the archive's.
    #[error("the backup goes on from a state that this store never had, at log entry {index}")]
    Fork { index: u64 },
    #[error("the restored state: {0}")]
    Store(#[from] trireme_store::Fault),
    #[error("stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |error| Self::Io { what, error }
    }

    pub(crate) fn damaged(object: &str, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { object: object.into(), reason: reason.to_string() }
    }
}
