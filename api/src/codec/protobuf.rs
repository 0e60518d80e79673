//! Protobuf as upstream writes it, both ways, by the schema's facts.
//!
//! Go writes every non-pointer field, zero or not, so a zero on the wire means "absent" for those
//! and "set to zero" for pointers. The tree that comes out follows the rules of the normal form
//! for fields that may vanish; [`crate::normal`] does the rest.

mod decode;
mod encode;
mod envelope;
mod wire;

pub use decode::decode;
pub use encode::encode;
pub use envelope::{Envelope, MAGIC, open, seal, watch_event};
