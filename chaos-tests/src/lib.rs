//! Breaks real clusters and checks what they promised.
//!
//! ```text
//!   traffic ──► a world: real processes, or simulated ones ◄── faults
//!      │ history: what was asked, what was answered, what watchers saw
//!      ▼
//!   check (pure functions) ──► report: seed, what failed, one command that repeats it
//! ```
//!
//! **Invariant**: traffic knows no fault, faults know no client, checkers know neither cluster nor
//! clock. Every checker has first caught a planted bug.

pub mod history;

pub mod check;

pub mod cluster;

pub mod remote;

pub mod traffic;

pub mod real;

pub mod sim;

pub mod report;

pub mod bench;
