//! Why the replicated machine could not do what the log says.

use crate::codec::DecodeError;
use crate::engine::EngineError;
use crate::kv::Error;

/// A failure of this replica, as opposed to the outcome of a command. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Apply again when there is room.
    #[error("no space left on the device")]
    NoSpace,
    /// Apply again, or restart.
    #[error("storage: {0}")]
    Io(String),
    /// This copy of the state must be replaced by a snapshot.
    #[error("the state is damaged: {0}")]
    Corrupt(String),
    /// The log has a command that this build does not know: it must stop.
    #[error(transparent)]
    Command(#[from] DecodeError),
    /// An entry does not follow the last one applied: the caller is wrong.
    #[error("entry {found} cannot be applied after entry {applied}")]
    OutOfOrder { applied: u64, found: u64 },
    /// The snapshot was refused; the state is as before.
    #[error("snapshot refused: {0}")]
    Snapshot(String),
    /// An earlier failure left the machine unusable until it is opened again.
    #[error("the machine stopped: {0}")]
    Stopped(String),
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoSpace => Fault::NoSpace,
            EngineError::Io(what) => Fault::Io(what),
            EngineError::Corrupt(what) => Fault::Corrupt(what),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSpace => Error::NoSpace,
            Fault::Io(_) => Error::Unavailable(fault.to_string()),
            _ => Error::Broken(fault.to_string()),
        }
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        Fault::from(error).into()
    }
}
