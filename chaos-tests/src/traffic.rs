//! Clients that write, read and watch, and write down what they were told.
//!
//! Worlds start the same few things (`all`): clients of a mix that the seed draws, watchers, residents of
//! one member, and at the end the last look (`store`); clients and watchers of the API (`api`).

mod all;
pub mod api;
pub mod store;

pub use all::{Ports, Stop, Traffic};

use std::time::Duration;

/// A client gives up on an answer after this; the outcome is then unknown.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an answer that was no success.
pub const PAUSE: Duration = Duration::from_millis(20);
