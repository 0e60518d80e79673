//! Frames, what a segment is made of after its header, and that header.
//!
//! A frame is one write and one sync. Its checksum covers the frame and the checksum of the frame
//! before it, so that the frames of a log form a chain: neither a frame of an older log in the
//! same place nor one that is missing in the middle goes unnoticed.

use bytes::{BufMut, BytesMut};

use crate::types::{LeaderId, LogId, MemberId, Vote, log_id};

/// Version of this format; a log of a newer version is refused.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A segment's first bytes, before the frames.
pub(super) const HEADER_BYTES: u64 = 4096;
pub(super) const FRAME_HEADER_BYTES: usize = 64;
/// Frames start at multiples of this, so that a search for them after damage need not try each
/// byte.
pub(super) const FRAME_ALIGN: u64 = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"TRIRLOG\0";
const FRAME_MAGIC: u32 = 0x4d52_4654;
const HEADER_USED_BYTES: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    /// Encoded entries from `first_index` on.
    Entries = 1,
    Vote = 2,
    /// The log ends at the position in the payload: what follows it is void.
    Truncate = 3,
    /// The committed position alone. Written without a sync, and overwritten by the next frame,
    /// which carries a committed position of its own: so never more than one frame lies beyond
    /// what has been synced.
    Committed = 4,
    /// The log starts after the position in the payload.
    Purge = 5,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entries,
            2 => Self::Vote,
            3 => Self::Truncate,
            4 => Self::Committed,
            5 => Self::Purge,
            _ => return None,
        })
    }
}

/// ```text
///    0 magic u32 · 4 payload length u32 · 8 checksum of the frame before u32 · 12 checksum u32
///   16 kind u8 · 20 entries u32 · 24 first index u64 · 32 flushed through u64
///   40 committed term u64 · 48 committed index + 1 u64 · 56 zeros
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub kind: FrameKind,
    pub payload_len: u32,
    /// Checksum of the frame before; the seed of this one's.
    pub prev_crc: u32,
    pub crc: u32,
    /// Entries in the payload.
    pub count: u32,
    pub first_index: u64,
    /// One past the highest index that was durable when this frame was written.
    pub flushed_through: u64,
    pub committed: Option<LogId>,
}

impl FrameHeader {
    /// The frame's length on disk, its padding included.
    pub(super) fn frame_len(&self) -> u64 {
        aligned(FRAME_HEADER_BYTES as u64 + u64::from(self.payload_len))
    }
}

/// `len` rounded up to where a frame may start.
pub(super) fn aligned(len: u64) -> u64 {
    len.next_multiple_of(FRAME_ALIGN)
}

/// Completes a frame: `buffer` holds room for the header and then the payload. Returns the
/// frame's checksum. The buffer is padded with zeros to the alignment.
pub(super) fn seal(buffer: &mut BytesMut, mut header: FrameHeader) -> u32 {
    header.payload_len = (buffer.len() - FRAME_HEADER_BYTES) as u32;
    header.crc = 0;
    buffer[..FRAME_HEADER_BYTES].copy_from_slice(&encode(&header));
    let crc = crc32c::crc32c_append(header.prev_crc, buffer);
    buffer[12..16].copy_from_slice(&crc.to_le_bytes());
    let len = aligned(buffer.len() as u64) as usize;
    buffer.resize(len, 0);
    crc
}

fn encode(header: &FrameHeader) -> [u8; FRAME_HEADER_BYTES] {
    let mut out = [0u8; FRAME_HEADER_BYTES];
    let mut at = &mut out[..];
    at.put_u32_le(FRAME_MAGIC);
    at.put_u32_le(header.payload_len);
    at.put_u32_le(header.prev_crc);
    at.put_u32_le(header.crc);
    at.put_u8(header.kind as u8);
    at.put_slice(&[0; 3]);
    at.put_u32_le(header.count);
    at.put_u64_le(header.first_index);
    at.put_u64_le(header.flushed_through);
    put_log_id(&mut at, header.committed);
    out
}

/// Reads a frame's header; `None` where there is none.
pub(super) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
    let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.get(..FRAME_HEADER_BYTES)?.try_into().ok()?;
    if u32_at(bytes, 0) != FRAME_MAGIC {
        return None;
    }
    Some(FrameHeader {
        kind: FrameKind::from_byte(bytes[16])?,
        payload_len: u32_at(bytes, 4),
        prev_crc: u32_at(bytes, 8),
        crc: u32_at(bytes, 12),
        count: u32_at(bytes, 20),
        first_index: u64_at(bytes, 24),
        flushed_through: u64_at(bytes, 32),
        committed: take_log_id(bytes, 40),
    })
}

/// Whether `frame` (header and payload, without padding) is what was written.
pub(super) fn verify(frame: &[u8], header: &FrameHeader) -> bool {
    let crc = crc32c::crc32c_append(header.prev_crc, &frame[..12]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &frame[16..]) == header.crc
}

/// What a segment starts with: all that must be known when the segments before it are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub cluster: u64,
    pub member: u64,
    /// Place among the segments, counting from 1.
    pub sequence: u64,
    /// Checksum of the last frame of the segment before.
    pub prev_crc: u32,
    /// Index of the first entry in this segment.
    pub next_index: u64,
    pub purged: Option<LogId>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
}

#[derive(Debug)]
pub(super) enum HeaderState {
    /// All zeros: prepared and not yet in use.
    Unused,
    Valid(SegmentHeader),
    /// Written by a version of this format that is not known here.
    Newer(u32),
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_USED_BYTES);
        out.put_slice(SEGMENT_MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(self.prev_crc);
        out.put_u64_le(self.cluster);
        out.put_u64_le(self.member);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.next_index);
        put_log_id(&mut out, self.purged);
        put_log_id(&mut out, self.committed);
        put_vote(&mut out, self.vote);
        out.resize(HEADER_USED_BYTES - 4, 0);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> HeaderState {
        if bytes.len() < HEADER_USED_BYTES {
            return HeaderState::Damaged;
        }
        if bytes.iter().all(|b| *b == 0) {
            return HeaderState::Unused;
        }
        if &bytes[..8] != SEGMENT_MAGIC {
            return HeaderState::Damaged;
        }
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return HeaderState::Newer(version);
        }
        let used = &bytes[..HEADER_USED_BYTES];
        if crc32c::crc32c(&used[..HEADER_USED_BYTES - 4]) != u32_at(used, HEADER_USED_BYTES - 4) {
            return HeaderState::Damaged;
        }
        HeaderState::Valid(Self {
            prev_crc: u32_at(used, 12),
            cluster: u64_at(used, 16),
            member: u64_at(used, 24),
            sequence: u64_at(used, 32),
            next_index: u64_at(used, 40),
            purged: take_log_id(used, 48),
            committed: take_log_id(used, 64),
            vote: take_vote(used, 80),
        })
    }
}

/// Bytes of an encoded position.
pub(super) const LOG_ID_BYTES: usize = 16;
/// Bytes of an encoded vote.
pub(super) const VOTE_BYTES: usize = 24;

/// The index is kept with one added, so that zeros mean "none".
pub(super) fn put_log_id(out: &mut impl BufMut, id: Option<LogId>) {
    out.put_u64_le(id.map_or(0, |id| id.leader_id.term));
    out.put_u64_le(id.map_or(0, |id| id.index + 1));
}

pub(super) fn take_log_id(bytes: &[u8], at: usize) -> Option<LogId> {
    match u64_at(bytes, at + 8) {
        0 => None,
        next => Some(log_id(u64_at(bytes, at), next - 1)),
    }
}

pub(super) fn put_vote(out: &mut impl BufMut, vote: Option<Vote>) {
    out.put_u64_le(vote.map_or(0, |v| v.leader_id.term));
    out.put_u64_le(vote.map_or(0, |v| v.leader_id.voted_for.0));
    out.put_u64_le(vote.map_or(0, |v| 1 + u64::from(v.committed)));
}

pub(super) fn take_vote(bytes: &[u8], at: usize) -> Option<Vote> {
    let state = u64_at(bytes, at + 16);
    (state != 0).then(|| Vote {
        leader_id: LeaderId { term: u64_at(bytes, at), voted_for: MemberId(u64_at(bytes, at + 8)) },
        committed: state == 2,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found_anywhere() {
        let mut buffer = BytesMut::zeroed(FRAME_HEADER_BYTES);
        buffer.put_slice(b"some entries");
        let header = FrameHeader {
            kind: FrameKind::Entries,
            payload_len: 0,
            prev_crc: 77,
            crc: 0,
            count: 1,
            first_index: 5,
            flushed_through: 4,
            committed: Some(log_id(3, 2)),
        };
        seal(&mut buffer, header);
        let len = FRAME_HEADER_BYTES + 12;
        let found = parse(&buffer).unwrap();
        assert_eq!(found.committed, Some(log_id(3, 2)));
        assert!(verify(&buffer[..len], &found));
        for bit in 0..len * 8 {
            let mut damaged = buffer.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let intact = parse(&damaged).is_some_and(|h| h.payload_len == 12 && verify(&damaged[..len], &h));
            assert!(!intact, "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn a_segment_header_survives_and_a_newer_one_is_told_apart() {
        let header = SegmentHeader {
            cluster: 1,
            member: 2,
            sequence: 3,
            prev_crc: 4,
            next_index: 5,
            purged: Some(log_id(1, 0)),
            vote: Some(Vote::new_committed(9, MemberId(8))),
            committed: None,
        };
        let mut bytes = header.encode();
        assert!(matches!(SegmentHeader::parse(&bytes), HeaderState::Valid(found) if found == header));
        assert!(matches!(SegmentHeader::parse(&[0; 128]), HeaderState::Unused));
        bytes[40] ^= 1;
        assert!(matches!(SegmentHeader::parse(&bytes), HeaderState::Damaged));
        bytes[8] = 2;
        assert!(matches!(SegmentHeader::parse(&bytes), HeaderState::Newer(2)));
    }
}
