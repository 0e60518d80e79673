//! What members say to each other, over tonic and mutual TLS.
//!
//! Each peer has a connection per kind of traffic, so that neither a snapshot nor a burst of
//! entries keeps a heartbeat or a vote waiting.

mod client;
mod contact;
mod cut;
mod forward;
#[cfg(test)]
mod forward_test;
mod gate;
mod line;
mod liveness;
pub(crate) mod pb;
mod server;
mod snapshot;
pub(crate) mod wire;

pub(crate) use client::{Factory, Lane, Peers, addressed};
pub(crate) use contact::Contact;
pub(crate) use cut::{Standstill, Until};
pub use line::{PeerAnswers, PeerNetwork, PeerPort, PeerRequest, PeerResponse};
pub(crate) use server::{PeerService, Upcalls};
pub(crate) use snapshot::SnapshotDirs;

/// Largest message between members. Entries are sent in pieces of about a mebibyte; the rest is
/// room for one that is larger.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Names the member that a call is meant for. Another one may answer at its address, with a new
/// disk and a new identity: it must not vote or append in the place of the one that was there.
const TO: &str = "trireme-to";
/// Names the cluster, by its id.
const CLUSTER: &str = "trireme-cluster";
