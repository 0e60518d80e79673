//! What the log knows in memory: its ends, the vote, and where each entry lies.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;

use super::LogConfig;
use super::cache::Cache;
use super::file::LogFile;
use super::frame::{self, FRAME_HEADER_BYTES};
use super::prepare::Room;
use crate::codec;
use crate::metrics::{DISK_BOUNDS_S, Histogram, Timeline};
use crate::types::{Entry, LogId, Vote};

/// A file of the log.
#[derive(Clone)]
pub(super) struct Segment {
    pub name: String,
    pub file: Arc<dyn LogFile>,
    pub capacity: u64,
    /// Index of the first entry that may be in it.
    pub first_index: u64,
    /// Up to where its frames are on the disk and never written again, and the last one's checksum.
    pub settled: Option<Settled>,
}

/// An end of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub offset: u64,
    pub crc: u32,
}

/// Where the entries of one frame lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameRef {
    pub first_index: u64,
    /// Entries that still count; a truncation lowers it.
    pub count: u32,
    pub segment: u64,
    pub offset: u64,
    pub payload_len: u32,
}

impl FrameRef {
    fn next_index(&self) -> u64 {
        self.first_index + u64::from(self.count)
    }
}

pub(super) struct State {
    pub purged: Option<LogId>,
    /// Last entry, or `purged` when there is none.
    pub last: Option<LogId>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub cache: Cache,
    /// Frames with entries, in order and without gaps.
    pub frames: VecDeque<FrameRef>,
    pub segments: BTreeMap<u64, Segment>,
    /// Entries below this index can be read from the files.
    pub written: u64,
}

/// What the log's handles and its writer share.
pub(super) struct Shared {
    pub state: Mutex<State>,
    pub config: LogConfig,
    /// How much of the last segment is used.
    pub tail_used_16ths: AtomicU32,
    /// Set and cleared by the preparer, whether anything is written or not.
    pub room: Arc<Room>,
    /// The disk is taken for full until then, by [`Shared::now_ms`].
    pub told_full_until_ms: AtomicU64,
    /// When the running sync began, by [`Shared::now_ms`]; zero when none runs.
    pub sync_started_ms: AtomicU64,
    pub syncs: AtomicU64,
    /// Bytes of frames written since the log was opened.
    pub bytes: AtomicU64,
    pub meter: Meter,
    origin: Instant,
}

/// How long the disk takes.
pub(crate) struct Meter {
    pub(crate) write: Histogram,
    pub(crate) sync: Histogram,
    /// When frames of entries were begun, written and synced.
    pub(crate) frames: Timeline,
}

impl Shared {
    pub(super) fn new(state: State, config: LogConfig, room: Arc<Room>) -> Self {
        Self {
            state: Mutex::new(state),
            config,
            tail_used_16ths: AtomicU32::new(0),
            room,
            told_full_until_ms: AtomicU64::new(0),
            sync_started_ms: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            meter: Meter {
                write: Histogram::new(&DISK_BOUNDS_S),
                sync: Histogram::new(&DISK_BOUNDS_S),
                frames: Timeline::default(),
            },
            origin: Instant::now(),
        }
    }

    /// Milliseconds since the log was opened, never zero.
    pub(super) fn now_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64 + 1
    }

    /// Entries of `from..to` that the log has, up to about `budget` bytes, at least one.
    pub(super) fn read(&self, from: u64, to: u64, budget: usize) -> io::Result<Vec<Entry>> {
        let mut budget = budget;
        let mut out = Vec::new();
        let (reads, cached) = {
            let state = self.state.lock();
            let from = from.max(state.first_available());
            let to = to.min(state.next_index());
            if from >= to {
                return Ok(out);
            }
            let cached_from = state.cache.first_index().unwrap_or(u64::MAX).clamp(from, to);
            let mut reads = Vec::new();
            if from < cached_from {
                let mut wanted = budget;
                let start = state.frames.partition_point(|frame| frame.next_index() <= from);
                for frame in state.frames.range(start..) {
                    if frame.first_index >= cached_from || (wanted == 0 && !reads.is_empty()) {
                        break;
                    }
                    let segment = state.segments.get(&frame.segment).ok_or_else(|| missing(frame))?;
                    wanted = wanted.saturating_sub(frame.payload_len as usize);
                    reads.push((*frame, segment.file.clone(), from.max(frame.first_index), cached_from));
                }
                if reads.first().is_none_or(|(frame, ..)| frame.first_index > from) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("the raft log has no frame with entry {from}"),
                    ));
                }
                // What the cache has is read by the next call, unless the files gave everything.
                let covered = reads.last().is_some_and(|(frame, ..)| frame.next_index() >= cached_from);
                let mut cached = Vec::new();
                if covered && cached_from < to && wanted > 0 {
                    let mut rest = wanted;
                    state.cache.read(cached_from, to, &mut rest, &mut cached);
                }
                (reads, cached)
            } else {
                state.cache.read(from, to, &mut budget, &mut out);
                return Ok(out);
            }
        };
        for (frame, file, from, to) in reads {
            read_frame(file.as_ref(), &frame, from, to, &mut budget, &mut out)?;
            if budget == 0 {
                return Ok(out);
            }
        }
        out.extend(cached);
        Ok(out)
    }
}

fn missing(frame: &FrameRef) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("segment {} of the raft log is missing", frame.segment))
}

/// Reads the entries `from..to` of one frame, and checks the frame on the way: what rots on the
/// disk must not reach a follower or the state.
fn read_frame(
    file: &dyn LogFile,
    frame: &FrameRef,
    from: u64,
    to: u64,
    budget: &mut usize,
    out: &mut Vec<Entry>,
) -> io::Result<()> {
    let mut buffer = BytesMut::zeroed(FRAME_HEADER_BYTES + frame.payload_len as usize);
    file.read_exact_at(&mut buffer, frame.offset)?;
    let intact = frame::parse(&buffer)
        .is_some_and(|header| header.first_index == frame.first_index && frame::verify(&buffer, &header));
    if !intact {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the raft log is damaged in segment {} at byte {}", frame.segment, frame.offset),
        ));
    }
    let mut payload: Bytes = buffer.freeze();
    payload.advance(FRAME_HEADER_BYTES);
    for index in frame.first_index..frame.next_index().min(to) {
        let before = payload.len();
        let entry = codec::decode_entry(&mut payload, index)?;
        if index < from {
            continue;
        }
        let bytes = before - payload.len();
        if bytes > *budget && !out.is_empty() {
            *budget = 0;
            return Ok(());
        }
        *budget = budget.saturating_sub(bytes);
        out.push(entry);
    }
    Ok(())
}

impl State {
    pub(super) fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// The first entry that is there: a log may begin at any index.
    fn first_available(&self) -> u64 {
        let in_files = self.frames.front().map(|frame| frame.first_index);
        let known = in_files.into_iter().chain(self.cache.first_index()).min();
        known.unwrap_or(u64::MAX).max(self.first_index())
    }

    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.capacity).sum()
    }

    /// Voids the frames' entries from `index` on.
    pub(super) fn truncate_frames(&mut self, index: u64) {
        while let Some(frame) = self.frames.back_mut() {
            if frame.next_index() <= index {
                break;
            }
            if frame.first_index < index {
                frame.count = (index - frame.first_index) as u32;
                break;
            }
            self.frames.pop_back();
        }
        self.written = self.written.min(index);
    }

    /// Forgets the frames whose entries all lie at or below `index`.
    pub(super) fn purge_frames(&mut self, index: u64) {
        while self.frames.front().is_some_and(|frame| frame.next_index() <= index + 1) {
            self.frames.pop_front();
        }
    }

    /// Takes out the segments that hold nothing above the purged position; the last one stays.
    pub(super) fn take_unused_segments(&mut self) -> Vec<Segment> {
        let first = self.first_index();
        let mut unused = Vec::new();
        while self.segments.len() > 1 {
            let second = self.segments.values().nth(1).expect("two at least");
            if second.first_index > first {
                break;
            }
            let (_, segment) = self.segments.pop_first().expect("two at least");
            unused.push(segment);
        }
        unused
    }

    /// See [`super::Log::purge_target`]. Whole segments are what purging frees, so the answer is
    /// the last entry of one.
    pub(super) fn purge_target(&self, limit: u64, keep_bytes: u64) -> Option<u64> {
        let mut total = self.size_bytes();
        let mut target = None;
        let segments: Vec<_> = self.segments.values().collect();
        for pair in segments.windows(2) {
            total -= pair[0].capacity;
            let end = pair[1].first_index;
            if total < keep_bytes || end == 0 || end - 1 > limit {
                break;
            }
            target = Some(end - 1);
        }
        target.filter(|index| *index >= self.first_index())
    }
}
