//! The API client that controllers, the node agent and the command line use: over TLS to any API
//! server, or in-process to the one on the same master. List-watch caches on top.
//!
//! **Invariant**: knows no store. What it can do, any client can do.

pub mod transport;

pub use transport::*;
