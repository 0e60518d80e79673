//! The state of a Trireme cluster: keys, bytes, revisions, leases and watches.
//!
//! ```text
//!   Command ──► apply (pure) ──► Engine batch ──► watch hub ──► WatchStream
//!                                   │
//!                                   └─ range at any revision that is not compacted
//! ```
//!
//! **Invariant**: knows no Kubernetes kind, no Raft, no network and no clock. What two replicas
//! must agree on is a function of the commands alone.

mod codec;
pub mod engine;
mod fault;
pub mod kv;
pub mod limits;
pub mod log;
mod machine;
mod outcome;

pub use fault::Fault;
pub use kv::*;
pub use machine::{Applied, LeaseRecord, SnapshotFile, SnapshotMeta, Store};
