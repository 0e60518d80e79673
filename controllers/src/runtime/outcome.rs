//! What comes after a reconcile.

use std::time::Duration;

use trireme_client::Error;

/// The key was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing to do until something changes.
    Done,
    /// Look again after this time, whether something changes or not.
    After(Duration),
}

impl Next {
    /// The earlier of two.
    pub fn sooner(self, other: Next) -> Next {
        match (self, other) {
            (Next::After(a), Next::After(b)) => Next::After(a.min(b)),
            (Next::Done, other) => other,
            (this, Next::Done) => this,
        }
    }
}

/// The key was not handled: it comes again, with back-off.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Api(#[from] Error),
    /// Something else must happen first; the text says what.
    #[error("{0}")]
    NotYet(String),
}

impl Failure {
    /// Another writer was faster, or the object went: normal life, not worth a warning.
    pub fn is_routine(&self) -> bool {
        match self {
            Failure::Api(e) => e.is_conflict() || e.is_not_found() || e.is_already_exists(),
            Failure::NotYet(_) => true,
        }
    }

    /// A newer leader has written: this process must stop leading.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Failure::Api(error) if is_fenced(error))
    }
}

/// Whether the store refused a change because a newer leader has taken over.
pub fn is_fenced(error: &Error) -> bool {
    let Error::Api { details, .. } = error else { return false };
    details["details"]["causes"].items().iter().any(|cause| cause["reason"] == "LeaderFenced")
}

pub type Reconciled = Result<Next, Failure>;
