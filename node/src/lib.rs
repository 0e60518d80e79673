//! The node agent: registers its node, heartbeats, and drives the pods assigned to it.
//!
//! ```text
//!   pods assigned to our nodes ──► one worker per pod ──plan──► Runtime (CRI-shaped)
//!                                        └──status──► API
//! ```
//!
//! The `hollow` runtime runs nothing: it plays containers, for thousands of nodes in one process
//! if asked to. Its nodes say so in a label and an annotation.
//!
//! **Invariant**: an API client like any other; knows no store.

pub mod runtime;

pub mod hollow;

mod agent;

mod node;

mod address;

mod pod;

pub use agent::{HollowConfig, run};
pub use node::Capacity;
