//! What came of a run in which masters were broken under load, reckoned and shown: as one page of HTML
//! that needs nothing else, and in words.
//!
//! ```text
//!   samples (every call, timed), steps (what was done, when), elections, promises with verdicts
//!        └─► figures: latencies before, during and after, gaps, healing ─► page with chart, or words
//! ```
//!
//! For runs on simulated or private hosts (`trireme-chaos`) and for those on a user's own cluster
//! (`trireme chaos`) alike.
//!
//! **Invariant**: knows no cluster, no clock and no fault by name; it depends on nothing.

mod chart;
mod figures;
mod page;

pub use figures::{
    Deed, Election, Latency, Note, PHASES, Phase, Promise, Report, Sample, Step, VIOLATIONS_SHOWN_MAX, What,
};
