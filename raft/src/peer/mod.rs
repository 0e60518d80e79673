//! What members say to each other, over tonic and mutual TLS.
//!
//! Each peer has a connection per kind of traffic, so that neither a snapshot nor a burst of
//! entries keeps a heartbeat or a vote waiting.

mod client;
mod contact;
mod gate;
pub(crate) mod pb;
mod server;
mod snapshot;
pub(crate) mod wire;

pub(crate) use client::{Factory, Lane, Peers};
pub(crate) use contact::Contact;
pub(crate) use server::{PeerService, Upcalls};
pub(crate) use snapshot::SnapshotDirs;

/// Largest message between members. Entries are sent in pieces of about a mebibyte; the rest is
/// room for one that is larger.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
