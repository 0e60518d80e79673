//! Controllers: each brings the cluster nearer to what one kind of object says.
//!
//! ```text
//!   manager::run ── Lease ──► one leader runs them all
//!      │
//!      └─ per controller: informers ─► queue ─► plan(observed, now) ─► actions ─► API
//! ```
//!
//! A controller is a folder: `plan.rs` decides and is pure, `mod.rs` watches and executes.
//!
//! **Invariant**: an API client like any other; knows no store, and no secret beyond its own
//! identity's.

pub mod runtime;

pub mod scheduler;

mod manager;

mod pods;
mod protection;

mod replicas;

mod deployment;

mod namespace;

mod service_account;

mod root_ca;

mod endpoints;

mod garbage;

mod node;

mod pod_gc;

pub use manager::{Config, Options, SYSTEM_NAMESPACE, run};
pub use node::Options as NodeOptions;
