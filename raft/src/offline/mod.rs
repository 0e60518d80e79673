//! Members that do not run: what one holds, what one has lost, and the making of a new cluster's members.

mod found;
mod lost;
#[cfg(test)]
mod lost_test;
mod read;
mod stopped;
#[cfg(test)]
mod stopped_test;

pub use found::{Founder, found};
pub use lost::{Damaged, DamagedLog, ReadDamaged, Written};
pub use read::{ReadLogError, read_log};
pub use stopped::{OpenCopy, Stopped, StoppedMember, Survey};

use std::io;
use std::path::{Path, PathBuf};

use trireme_store::Fault;
use trireme_store::engine::EngineError;

use crate::identity::IdentityError;
use crate::log::OpenError;

/// A piece of work done: what a progress bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Entries of the log, of so many.
    Entries { done: u64, of: u64 },
    /// Bytes of the state that were read and found right.
    Checked { bytes: u64 },
    /// A key was written, with its value of so many bytes in all.
    Written { keys: u64, bytes: u64 },
    /// A member's copy of what was written.
    Copied { members: usize, of: usize },
}

#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{0} holds no member's data")]
    NoMember(PathBuf),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error("entry {index} of the log cannot be read: {reason}")]
    Entry { index: u64, reason: String },
    /// The log begins after what the state holds.
    #[error("the state ends at entry {applied}, and the log begins after entry {purged}")]
    Hole { applied: u64, purged: u64 },
    #[error(transparent)]
    State(#[from] Fault),
    #[error("the membership cannot be read: {0}")]
    Membership(String),
    /// The directory is not what a member can begin in.
    #[error("{dir}: {reason}")]
    NotEmpty { dir: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl OfflineError {
    /// Whether what was on the disk is lost or wrong, as far as this copy goes.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Log(error) => error.is_damage(),
            Self::State(Fault::Corrupt(_)) | Self::Hole { .. } | Self::Entry { .. } => true,
            _ => false,
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<EngineError> for OfflineError {
    fn from(error: EngineError) -> Self {
        Self::State(error.into())
    }
}
