//! Clients that write, read and watch, and write down what they were told.
//!
//! Every key has one writer. Each write is a compare-and-swap on the revision the writer knows, so
//! that a write whose outcome is unknown cannot land after a later one.

pub mod api;
pub mod store;

use std::time::Duration;

/// A client gives up on an answer after this; the outcome is then unknown.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an answer that was no success.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Keys per client: few, so that compare-and-swap is exercised.
pub const KEYS_PER_CLIENT: u64 = 4;
/// Every so many operations one is a read of somebody's key.
pub const READ_EVERY: u64 = 4;
