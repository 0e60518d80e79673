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

pub use kv::*;
