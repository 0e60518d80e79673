//! Reading what was agreed, as the log has it.

use std::io;

use bytes::Bytes;
use trireme_store::log::LogPosition;

use super::Replica;
use crate::codec;
use crate::types::Payload;

/// A committed entry that was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedEntry {
    pub at: LogPosition,
    pub body: AgreedBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreedBody {
    Blank,
    /// As the store's entries carry it.
    Membership(Bytes),
    /// The encoding of a command of the store's.
    Command(Bytes),
}

impl Replica {
    /// Entries from `from` up to and with `to` that this member has applied: about `budget` bytes,
    /// one at least. They begin later, or are none, where the log was purged. Bodies share the log's
    /// memory. Blocks, where they are not in the log's cache.
    pub fn agreed(&self, from: u64, to: u64, budget: usize) -> io::Result<Vec<AgreedEntry>> {
        // What is applied was committed; what only lies in the log may still be replaced. The state
        // says how far that is: who asks has looked there, and what this member makes of it
        // otherwise comes a moment later, so that an entry would seem to be purged.
        let applied = self.inner.store.applied().position.map_or(0, |position| position.index);
        let end = applied.min(to).saturating_add(1);
        let entries = self.inner.log.read_some(from, end, budget)?;
        let agreed = entries.into_iter().map(|entry| {
            let at = LogPosition { term: entry.log_id.leader_id.term, node_id: 0, index: entry.log_id.index };
            let body = match entry.payload {
                Payload::Blank => AgreedBody::Blank,
                Payload::Membership(membership) => {
                    AgreedBody::Membership(codec::encode_membership(&membership))
                }
                Payload::Normal(proposal) => AgreedBody::Command(proposal.bytes),
            };
            AgreedEntry { at, body }
        });
        Ok(agreed.collect())
    }
}
