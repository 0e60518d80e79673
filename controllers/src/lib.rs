//! Controllers: each brings the cluster nearer to what one kind of object says.
//!
//! ```text
//!   Manager ── Lease ──► one leader runs them all
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
