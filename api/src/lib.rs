//! Kubernetes objects: the one tree, the schema that describes it, and everything that is a pure
//! function of them (codecs, defaults, validation, selectors, patches, field ownership, Tables).
//!
//! ```text
//!   bytes (JSON, YAML, protobuf) ──codec──► Value ──default, validate, patch──► Value ──normal form──► bytes
//!                                             ▲
//!                             schema: Message / Field facts, kinds: one row each
//! ```
//!
//! **Invariant**: no I/O, no clock, no randomness, no tokio.

pub mod admission;
pub mod codec;
pub mod convert;
pub mod field_error;
pub mod kinds;
pub mod load;
pub mod managed;
pub mod normal;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod table;
pub mod time;
pub mod tree;
pub mod types;

pub use object::Object;
pub use tree::{Key, Map, Value};
