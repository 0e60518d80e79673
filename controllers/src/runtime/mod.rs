//! What every controller stands on: a queue of keys, workers, leadership, expectations, events.
//!
//! ```text
//!   informer ──on_change──► WorkQueue ──key──► Controller::reconcile ──► Next
//!                              ▲                                          │
//!                              └───────── after a time, with back-off ────┘
//! ```

mod claim;
mod expectations;
mod leader;
mod metrics;
mod outcome;
mod queue;
mod runner;
mod slow_start;
mod witness;

pub use claim::{CONTROLLER_INDEX, Claim, claim, controller_index, orphans_of, owned_by, owner_reference};
pub use expectations::Expectations;
pub use leader::{Election, Leadership, LeaseTiming, Witness};
pub use metrics::Metrics;
pub use outcome::{Failure, Next, Reconciled, is_fenced};
pub use queue::WorkQueue;
pub use runner::{Controller, Running, run};
pub use slow_start::slow_start;
pub use trireme_client::clock::{Clock, parse_time, rfc3339, rfc3339_micro};
pub use trireme_client::{EventKind, Recorder};
pub use witness::{MemberWitness, identity};
