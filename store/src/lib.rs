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

pub mod kv;
pub mod limits;

mod check;
mod codec;
pub mod log;
mod outcome;

pub mod engine;
mod fault;
mod history;
mod layout;
mod lessor;
mod machine;
pub mod planted;
mod scrub;
mod watch;
pub mod work;

mod local;

#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use fault::Fault;
pub use kv::*;
pub use lessor::{Lessor, Renewal};
pub use local::{Clock, Local};
pub use machine::{
    Applied, DiskChecked, Dump, Gap, How, KvHash, LeaseRecord, Lost, LostKey, Place, RangePage, Rebirth,
    Reborn, SNAPSHOT_FILE, SnapshotFile, SnapshotMeta, Store, Versions,
};
pub use watch::WatchCounts;

#[cfg(test)]
mod tests;
