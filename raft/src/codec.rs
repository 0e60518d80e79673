//! The encoding of log entries, the same in the log's frames and between peers: they travel from
//! the leader's memory to a follower's disk without being encoded again.
//!
//! ```text
//!   entry:      term u64 · kind u8 · length u32 · body        (little-endian)
//!   body:       blank: nothing · normal: the command's own encoding · membership: below
//!   membership: configs u32 · { voters u32 · { id u64 } } · nodes u32 · { id u64 · 3 strings }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{Entry, MemberId, MemberNode, Membership, Payload, Proposal, log_id};

const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Bytes before an entry's body.
pub(crate) const ENTRY_HEADER_BYTES: usize = 8 + 1 + 4;

/// Members or configurations in one membership: far above what a cluster has, low enough that a
/// damaged count cannot ask for much memory.
const MEMBERS_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
#[error("malformed entry: {0}")]
pub(crate) struct Malformed(&'static str);

impl From<Malformed> for std::io::Error {
    fn from(error: Malformed) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Bytes that [`encode_entry`] will add, except for the rare membership entry, where it is an
/// estimate.
pub(crate) fn encoded_len(entry: &Entry) -> usize {
    ENTRY_HEADER_BYTES
        + match &entry.payload {
            Payload::Blank => 0,
            Payload::Normal(proposal) => proposal.bytes.len(),
            Payload::Membership(_) => 256,
        }
}

/// Appends `entry`; its index is not part of the encoding, it follows from its place.
pub(crate) fn encode_entry(entry: &Entry, out: &mut BytesMut) {
    out.put_u64_le(entry.log_id.leader_id.term);
    match &entry.payload {
        Payload::Blank => {
            out.put_u8(KIND_BLANK);
            out.put_u32_le(0);
        }
        Payload::Normal(proposal) => {
            out.put_u8(KIND_NORMAL);
            out.put_u32_le(proposal.bytes.len() as u32);
            out.put_slice(&proposal.bytes);
        }
        Payload::Membership(membership) => {
            let body = encode_membership(membership);
            out.put_u8(KIND_MEMBERSHIP);
            out.put_u32_le(body.len() as u32);
            out.put_slice(&body);
        }
    }
}

/// Takes the next entry from `input`, giving it `index`. The body shares `input`'s memory.
pub(crate) fn decode_entry(input: &mut Bytes, index: u64) -> Result<Entry, Malformed> {
    if input.len() < ENTRY_HEADER_BYTES {
        return Err(Malformed("entry header cut short"));
    }
    let term = input.get_u64_le();
    let kind = input.get_u8();
    let length = input.get_u32_le() as usize;
    if input.len() < length {
        return Err(Malformed("entry body cut short"));
    }
    let body = input.split_to(length);
    let payload = match kind {
        KIND_BLANK => Payload::Blank,
        KIND_NORMAL => Payload::Normal(Proposal::encoded(body)),
        KIND_MEMBERSHIP => Payload::Membership(decode_membership(body)?),
        _ => return Err(Malformed("unknown kind of entry")),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    let configs = membership.get_joint_config();
    out.put_u32_le(configs.len() as u32);
    for config in configs {
        out.put_u32_le(config.len() as u32);
        for id in config {
            out.put_u64_le(id.0);
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.put_u32_le(nodes.len() as u32);
    for (id, node) in nodes {
        out.put_u64_le(id.0);
        for text in [&node.name, &node.peer_address, &node.client_address] {
            out.put_u32_le(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
    }
    out.freeze()
}

pub(crate) fn decode_membership(mut input: Bytes) -> Result<Membership, Malformed> {
    let mut configs = Vec::new();
    for _ in 0..take_count(&mut input)? {
        let mut voters = BTreeSet::new();
        for _ in 0..take_count(&mut input)? {
            voters.insert(MemberId(take_u64(&mut input)?));
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..take_count(&mut input)? {
        let id = MemberId(take_u64(&mut input)?);
        let name = take_text(&mut input)?;
        let peer_address = take_text(&mut input)?;
        let client_address = take_text(&mut input)?;
        nodes.insert(id, MemberNode { name, peer_address, client_address });
    }
    if !input.is_empty() {
        return Err(Malformed("bytes after the membership"));
    }
    // `new` refuses an empty configuration, which the default membership has: it is what a state
    // machine reports before the first membership was applied.
    if configs.iter().all(BTreeSet::is_empty) {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| Malformed("membership names a voter without an address"))
}

fn take_u64(input: &mut Bytes) -> Result<u64, Malformed> {
    if input.len() < 8 {
        return Err(Malformed("membership cut short"));
    }
    Ok(input.get_u64_le())
}

fn take_count(input: &mut Bytes) -> Result<usize, Malformed> {
    if input.len() < 4 {
        return Err(Malformed("membership cut short"));
    }
    let count = input.get_u32_le() as usize;
    if count > MEMBERS_MAX {
        return Err(Malformed("membership too large"));
    }
    Ok(count)
}

fn take_text(input: &mut Bytes) -> Result<String, Malformed> {
    if input.len() < 4 {
        return Err(Malformed("membership cut short"));
    }
    let length = input.get_u32_le() as usize;
    if input.len() < length {
        return Err(Malformed("membership cut short"));
    }
    String::from_utf8(input.split_to(length).to_vec()).map_err(|_| Malformed("membership text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let node = |n: u64| MemberNode {
            name: format!("m{n}"),
            peer_address: format!("127.0.0.1:238{n}"),
            client_address: format!("127.0.0.1:237{n}"),
        };
        let nodes = BTreeMap::from([(MemberId(1), node(1)), (MemberId(2), node(2)), (MemberId(9), node(9))]);
        let joint = vec![BTreeSet::from([MemberId(1)]), BTreeSet::from([MemberId(1), MemberId(2)])];
        vec![
            Entry { log_id: log_id(1, 7), payload: Payload::Blank },
            Entry {
                log_id: log_id(1, 8),
                payload: Payload::Normal(Proposal::encoded(Bytes::from_static(b"put a"))),
            },
            Entry {
                log_id: log_id(2, 9),
                payload: Payload::Membership(Membership::new(joint, nodes).unwrap()),
            },
        ]
    }

    #[test]
    fn entries_survive_the_round_trip() {
        let mut out = BytesMut::new();
        for entry in entries() {
            encode_entry(&entry, &mut out);
        }
        let mut input = out.freeze();
        for entry in entries() {
            assert_eq!(decode_entry(&mut input, entry.log_id.index).unwrap(), entry);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn a_cut_encoding_is_refused() {
        let mut out = BytesMut::new();
        encode_entry(&entries()[2], &mut out);
        let whole = out.freeze();
        for length in 0..whole.len() {
            assert!(decode_entry(&mut whole.slice(..length), 9).is_err(), "{length} bytes were accepted");
        }
    }
}
