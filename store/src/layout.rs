//! How the state lies in the engine: one table a first byte.
//!
//! ```text
//!   k ‖ escaped key ‖ inverted revision → a version of a key, newest first
//!   r ‖ revision ‖ sub                  → the key changed
//!   l ‖ lease                           → time to live, generation
//!   a ‖ lease ‖ key                     → nothing: the key is attached
//!   f ‖ scope                           → epoch
//!   d ‖ first ordinal                   → remembered outcomes of one run
//!   c ‖ client                          → highest forgotten proposal
//!   t ‖ time                            → revision
//!   m                                   → everything of which there is one; `mm` the members
//!   s                                   → how far physical compaction is
//! ```

use std::borrow::Cow;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::engine::EngineError;
use crate::kv::{KeyRange, KeyValue, LeaseId, Revision};

pub(crate) const VERSIONS: u8 = b'k';
pub(crate) const REVISIONS: u8 = b'r';
pub(crate) const LEASES: u8 = b'l';
pub(crate) const ATTACHED: u8 = b'a';
pub(crate) const FENCES: u8 = b'f';
pub(crate) const OUTCOMES: u8 = b'd';
pub(crate) const CLIENTS: u8 = b'c';
pub(crate) const TIMES: u8 = b't';
pub(crate) const META: &[u8] = b"m";
pub(crate) const MEMBERSHIP: &[u8] = b"mm";
pub(crate) const SCRUBBED: &[u8] = b"s";

/// A zero byte of a key is escaped, since a zero ends the key: `00` → `00 FF`, end → `00 01`. Keys
/// sort as they did.
const ESCAPED: u8 = 0xff;
const END: u8 = 0x01;

impl From<DecodeError> for EngineError {
    fn from(error: DecodeError) -> Self {
        EngineError::Corrupt(error.to_string())
    }
}

/// Appends `k ‖ escaped key`: what all versions of the key begin with.
pub(crate) fn push_key(out: &mut Vec<u8>, key: &[u8]) {
    out.push(VERSIONS);
    if key.contains(&0) {
        for &byte in key {
            out.push(byte);
            if byte == 0 {
                out.push(ESCAPED);
            }
        }
    } else {
        out.extend_from_slice(key);
    }
    out.extend_from_slice(&[0, END]);
}

/// Where the version of `key` at or before `at` is found.
pub(crate) fn version_key(out: &mut Vec<u8>, key: &[u8], at: Revision) {
    out.clear();
    push_key(out, key);
    out.extend_from_slice(&inverted(at));
}

pub(crate) fn inverted(revision: Revision) -> [u8; 8] {
    (!(revision.0 as u64)).to_be_bytes()
}

/// Splits a key of the versions' table into what precedes the revision, and the revision.
pub(crate) fn split_version(stored: &[u8]) -> Result<(&[u8], Revision), EngineError> {
    match stored.split_last_chunk::<8>() {
        Some((prefix, raw)) if prefix.len() >= 3 => Ok((prefix, Revision(!u64::from_be_bytes(*raw) as i64))),
        _ => Err(EngineError::Corrupt("a version's key is too short".into())),
    }
}

/// The key within `k ‖ escaped key`.
pub(crate) fn unescape(prefix: &[u8]) -> Result<Cow<'_, [u8]>, EngineError> {
    let damaged = || EngineError::Corrupt("a version's key is not escaped".into());
    let body =
        prefix.strip_prefix(&[VERSIONS]).and_then(|p| p.strip_suffix(&[0, END])).ok_or_else(damaged)?;
    if !body.contains(&0) {
        return Ok(Cow::Borrowed(body));
    }
    let mut key = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(&byte) = bytes.next() {
        key.push(byte);
        if byte == 0 && bytes.next() != Some(&ESCAPED) {
            return Err(damaged());
        }
    }
    Ok(Cow::Owned(key))
}

/// The first stored key at or after every version of keys in the range, and the end of them.
pub(crate) fn version_bounds(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    let mut start = Vec::with_capacity(range.start.len() + 3);
    push_key(&mut start, &range.start);
    let mut end = Vec::with_capacity(range.end.len() + 3);
    if range.end.is_empty() {
        end.extend_from_slice(&start);
        skip_versions(&mut end);
    } else if range.end[..] == [0] {
        end.push(VERSIONS + 1);
    } else {
        push_key(&mut end, &range.end);
    }
    (start, end)
}

/// Turns `k ‖ escaped key` into what follows all its versions.
pub(crate) fn skip_versions(prefix: &mut [u8]) {
    if let Some(last) = prefix.last_mut() {
        *last = END + 1;
    }
}

pub(crate) fn revision_key(revision: Revision, sub: u32) -> [u8; 13] {
    let mut key = [0; 13];
    key[0] = REVISIONS;
    key[1..9].copy_from_slice(&revision.0.to_be_bytes());
    key[9..].copy_from_slice(&sub.to_be_bytes());
    key
}

pub(crate) fn parse_revision_key(stored: &[u8]) -> Result<Revision, EngineError> {
    let raw = stored.get(1..9).filter(|_| stored.len() == 13).and_then(|raw| raw.try_into().ok());
    raw.map(|raw| Revision(i64::from_be_bytes(raw)))
        .ok_or_else(|| EngineError::Corrupt("a revision's key has a wrong length".into()))
}

/// `table ‖ big-endian number`.
pub(crate) fn numbered(table: u8, number: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = table;
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number of a key made by [`numbered`], and what follows it.
pub(crate) fn parse_numbered(stored: &[u8]) -> Result<(u64, &[u8]), EngineError> {
    stored
        .get(1..)
        .and_then(|rest| rest.split_first_chunk::<8>())
        .map(|(raw, rest)| (u64::from_be_bytes(*raw), rest))
        .ok_or_else(|| EngineError::Corrupt("a numbered key is too short".into()))
}

const PUT: u8 = 1;
const TOMBSTONE: u8 = 2;

/// A stored version of a key, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version<'a> {
    Put { create_revision: Revision, version: i64, lease: LeaseId, value: &'a [u8] },
    Tombstone,
}

/// The bytes before the value.
pub(crate) fn put_header(out: &mut Writer, kv: &KeyValue) {
    out.clear();
    out.u8(PUT);
    out.i64(kv.create_revision.0);
    out.i64(kv.version);
    out.i64(kv.lease.0);
}

pub(crate) const TOMBSTONE_VALUE: &[u8] = &[TOMBSTONE];

impl<'a> Version<'a> {
    pub(crate) fn parse(stored: &'a [u8]) -> Result<Self, EngineError> {
        let damaged = || EngineError::Corrupt("a version's record is damaged".into());
        match stored.split_first() {
            Some((&PUT, mut rest)) => {
                let mut number = || -> Option<i64> {
                    let mut value = 0u64;
                    for i in 0..10 {
                        let (&byte, tail) = rest.split_first()?;
                        rest = tail;
                        value |= u64::from(byte & 0x7f) << (7 * i);
                        if byte & 0x80 == 0 {
                            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
                        }
                    }
                    None
                };
                let create_revision = Revision(number().ok_or_else(damaged)?);
                let version = number().ok_or_else(damaged)?;
                let lease = LeaseId(number().ok_or_else(damaged)?);
                Ok(Version::Put { create_revision, version, lease, value: rest })
            }
            Some((&TOMBSTONE, [])) => Ok(Version::Tombstone),
            _ => Err(damaged()),
        }
    }

    pub(crate) fn to_kv(self, key: &[u8], mod_revision: Revision) -> Option<KeyValue> {
        match self {
            Version::Put { create_revision, version, lease, value } => Some(KeyValue {
                key: Bytes::copy_from_slice(key),
                create_revision,
                mod_revision,
                version,
                value: Bytes::copy_from_slice(value),
                lease,
            }),
            Version::Tombstone => None,
        }
    }
}

/// A record of one signed number.
pub(crate) fn number_record(value: i64) -> Bytes {
    let mut w = Writer::default();
    w.i64(value);
    w.finish()
}

pub(crate) fn parse_number_record(stored: &[u8]) -> Result<i64, EngineError> {
    let mut r = Reader::new(Bytes::copy_from_slice(stored), "number");
    let value = r.i64()?;
    r.end()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_sort_as_the_keys_do() {
        let keys: [&[u8]; 9] =
            [b"\0", b"\0\0", b"\0\x01", b"\x01", b"a", b"a\0", b"a\0b", b"a\x01", b"\xff\xff"];
        let stored: Vec<_> = keys
            .iter()
            .flat_map(|key| {
                [9, 1].map(|revision| {
                    let mut out = Vec::new();
                    version_key(&mut out, key, Revision(revision));
                    out
                })
            })
            .collect();
        assert!(stored.is_sorted());
        for (i, key) in keys.iter().enumerate() {
            let (prefix, revision) = split_version(&stored[2 * i + 1]).unwrap();
            assert_eq!((&unescape(prefix).unwrap()[..], revision), (*key, Revision(1)));
        }
    }
}
