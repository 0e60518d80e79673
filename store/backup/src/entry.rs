//! Log entries as they are archived.
//!
//! ```text
//!   entry: term u64 · node u64 · kind u8 · length u32 · body        (little-endian)
//! ```
//!
//! The body of a command is its own encoding, as the log has it: nothing is decoded to archive it.
//! An entry's index follows from its place.

use bytes::{Buf, Bytes};
use trireme_store::log::{Command, DecodeError, Entry, EntryBody, LogPosition};

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;
const HEADER_BYTES: usize = 8 + 8 + 1 + 4;

/// A committed entry that was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    pub at: LogPosition,
    pub body: RawBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawBody {
    Blank,
    /// As in [`EntryBody::Membership`].
    Membership(Bytes),
    /// What [`Command::encode`] gave.
    Command(Bytes),
}

impl RawEntry {
    pub(crate) fn encoded_len(&self) -> usize {
        HEADER_BYTES
            + match &self.body {
                RawBody::Blank => 0,
                RawBody::Membership(body) | RawBody::Command(body) => body.len(),
            }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at.term.to_le_bytes());
        out.extend_from_slice(&self.at.node_id.to_le_bytes());
        let (kind, body): (u8, &[u8]) = match &self.body {
            RawBody::Blank => (BLANK, &[]),
            RawBody::Command(body) => (COMMAND, body),
            RawBody::Membership(body) => (MEMBERSHIP, body),
        };
        out.push(kind);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(body);
    }

    pub(crate) fn decoded(self) -> Result<Entry, DecodeError> {
        let body = match self.body {
            RawBody::Blank => EntryBody::Blank,
            RawBody::Membership(members) => EntryBody::Membership(members),
            RawBody::Command(command) => EntryBody::Command(Command::decode(command)?),
        };
        Ok(Entry { at: self.at, body })
    }
}

/// The entries of an object that begins with `first`; bodies share `input`'s memory.
pub(crate) fn decode(mut input: Bytes, first: u64) -> Result<Vec<RawEntry>, &'static str> {
    let mut entries = Vec::new();
    let mut index = first;
    while input.has_remaining() {
        if input.len() < HEADER_BYTES {
            return Err("an entry is cut short");
        }
        let (term, node_id) = (input.get_u64_le(), input.get_u64_le());
        let (kind, length) = (input.get_u8(), input.get_u32_le() as usize);
        if input.len() < length {
            return Err("an entry is cut short");
        }
        let body = input.split_to(length);
        let body = match kind {
            BLANK => RawBody::Blank,
            COMMAND => RawBody::Command(body),
            MEMBERSHIP => RawBody::Membership(body),
            _ => return Err("an entry of an unknown kind"),
        };
        entries.push(RawEntry { at: LogPosition { term, node_id, index }, body });
        index += 1;
    }
    Ok(entries)
}
