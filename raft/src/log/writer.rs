//! Who writes: appends that wait together become one frame, one write and one sync.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use openraft::storage::IOFlushed;
use tokio::sync::oneshot;
use trireme_store::planted::{self, Bug};
use trireme_store::work::{self, Next, Worker};

use super::frame::{
    self, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, HEADER_BYTES, LOG_ID_BYTES, SegmentHeader,
    VOTE_BYTES,
};
use super::prepare::{Preparer, segment_name};
use super::state::{FrameRef, Segment, Settled, Shared};
use crate::codec;
use crate::metrics::{Run, now_ns};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Entries are gathered into one frame up to this size; one entry may be larger.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The group buffer is given back above this size, so that one large entry does not stay in
/// memory for good.
const BUFFER_KEEP_BYTES: usize = 1024 * 1024;

/// A committed position that no frame has carried is written by itself once nothing came for so long.
const COMMITTED_WITHIN: Duration = Duration::from_millis(100);

/// In a simulated world, where nothing blocks: between two looks for a segment that the disk refused.
const SEGMENT_RETRY: Duration = Duration::from_millis(100);

pub(super) enum Op {
    /// `flushed` is told when they are durable; nobody, where others of the same append follow.
    Append {
        entries: Vec<Entry>,
        flushed: Option<IOFlushed<TypeConfig>>,
    },
    Vote {
        vote: Vote,
        done: oneshot::Sender<()>,
    },
    Truncate {
        after: Option<LogId>,
        done: oneshot::Sender<()>,
    },
    Purge(LogId),
    Stop,
}

/// Where writing goes on: the end of the last segment.
pub(super) struct Tail {
    pub sequence: u64,
    pub segment: Segment,
    pub offset: u64,
    pub crc: u32,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    preparer: Preparer,
    tail: Tail,
    /// What the next segment's header carries.
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// The committed position as it was last written.
    committed: Option<LogId>,
    /// Index after the last entry written.
    next_index: u64,
    buffer: BytesMut,
    /// When the last frame was begun, written and synced.
    times_ns: [u64; 3],
    dead: bool,
    group: Group,
    /// In a simulated world: what waits for a segment.
    held: Option<Op>,
    is_simulated: bool,
}

/// Entries on their way into one frame.
#[derive(Default)]
struct Group {
    entries: u32,
    first_index: u64,
    flushed: Vec<IOFlushed<TypeConfig>>,
}

impl Worker<Op> for Writer {
    fn held_up(&mut self) {
        self.shared.sync_started_ms.store(self.shared.now_ms(), Ordering::Relaxed);
    }

    fn work(&mut self, op: Option<Op>, more: &mut dyn FnMut() -> Option<Op>) -> Next {
        self.shared.sync_started_ms.store(0, Ordering::Relaxed);
        let mut op = self.held.take().or(op);
        if op.is_none() {
            self.start_frame();
            self.write_committed();
            self.prepare_ahead();
            return self.next();
        }
        let mut group = std::mem::take(&mut self.group);
        let mut go_on = true;
        // Whatever came in during the last sync joins this one.
        while let Some(mut next) = op.take() {
            if self.is_simulated {
                if self.needs_segment(&next) {
                    self.flush(&mut group);
                }
                let rest = self.split(&mut next);
                if self.needs_segment(&next) && !self.has_segment() {
                    self.held = Some(rejoin(next, rest));
                    break;
                }
                if rest.is_some() {
                    self.take(next, &mut group);
                    op = rest;
                    continue;
                }
            }
            go_on = self.take(next, &mut group);
            op = if go_on { more() } else { None };
        }
        self.flush(&mut group);
        self.group = group;
        if !go_on {
            self.write_committed();
            return Next::Nothing;
        }
        self.prepare_ahead();
        self.next()
    }
}

/// What [`Writer::split`] took apart.
fn rejoin(op: Op, rest: Option<Op>) -> Op {
    match (op, rest) {
        (Op::Append { mut entries, .. }, Some(Op::Append { entries: more, flushed })) => {
            entries.extend(more);
            Op::Append { entries, flushed }
        }
        (op, _) => op,
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, preparer: Preparer, tail: Tail) -> Self {
        let (vote, purged, committed, next_index) = {
            let state = shared.state.lock();
            (state.vote, state.purged, state.committed, state.next_index())
        };
        Self {
            shared,
            preparer,
            tail,
            vote,
            purged,
            committed,
            next_index,
            buffer: BytesMut::new(),
            times_ns: [0; 3],
            dead: false,
            group: Group::default(),
            held: None,
            is_simulated: work::is_simulated(),
        }
    }

    fn next(&self) -> Next {
        let written = self.committed.max(self.purged).map_or(0, |id| id.index + 1);
        if self.held.is_some() {
            Next::Pause(SEGMENT_RETRY)
        } else if written < self.next_index {
            Next::JobWithin(COMMITTED_WITHIN)
        } else {
            Next::Job
        }
    }

    /// Whether `op`, with what is gathered, may not fit into the segment in use.
    fn needs_segment(&self, op: &Op) -> bool {
        let bytes = match op {
            Op::Append { entries, .. } => entries.iter().map(codec::encoded_len).sum(),
            Op::Vote { .. } => VOTE_BYTES,
            Op::Truncate { .. } | Op::Purge(_) => LOG_ID_BYTES,
            Op::Stop => return false,
        };
        let headers = 2 * (FRAME_HEADER_BYTES + FRAME_ALIGN as usize);
        self.tail.offset + (self.buffer.len() + bytes + headers) as u64 > self.tail.segment.capacity
    }

    /// Whether the next segment is there.
    fn has_segment(&mut self) -> bool {
        self.preparer.has(self.tail.sequence + 1, self.shared.config.segment_bytes)
    }

    /// Leaves in `op` what fits into one frame, and so needs one new segment at most; the rest.
    fn split(&self, op: &mut Op) -> Option<Op> {
        let Op::Append { entries, flushed } = op else { return None };
        let mut bytes = 0;
        let mut fits = |entry: &Entry| {
            bytes += codec::encoded_len(entry);
            bytes <= self.frame_bytes_max()
        };
        let count = entries.iter().take_while(|entry| fits(entry)).count().max(1);
        let rest = (count < entries.len()).then(|| entries.split_off(count))?;
        Some(Op::Append { entries: rest, flushed: flushed.take() })
    }

    /// Takes one operation; false when it is time to end.
    fn take(&mut self, op: Op, group: &mut Group) -> bool {
        match op {
            Op::Append { entries, flushed } => self.gather(entries, flushed, group),
            Op::Vote { vote, done } => {
                self.flush(group);
                if planted::is(Bug::VoteNotWritten) {
                    let _ = done.send(());
                    return true;
                }
                self.vote = Some(vote);
                self.buffer.reserve(VOTE_BYTES);
                frame::put_vote(&mut self.buffer, Some(vote));
                self.write_control(FrameKind::Vote);
                if !self.dead {
                    let _ = done.send(());
                }
            }
            Op::Truncate { after, done } => {
                self.flush(group);
                self.next_index = after.map_or(0, |id| id.index + 1);
                self.shared.state.lock().truncate_frames(self.next_index);
                self.buffer.reserve(LOG_ID_BYTES);
                frame::put_log_id(&mut self.buffer, after);
                self.write_control(FrameKind::Truncate);
                if !self.dead {
                    let _ = done.send(());
                }
            }
            Op::Purge(upto) => {
                self.flush(group);
                self.purge(upto);
            }
            Op::Stop => return false,
        }
        true
    }

    /// Adds entries to the frame being made; a full frame is written at once.
    fn gather(&mut self, entries: Vec<Entry>, flushed: Option<IOFlushed<TypeConfig>>, group: &mut Group) {
        for entry in entries {
            if group.entries > 0 && self.buffer.len() + codec::encoded_len(&entry) > self.frame_bytes_max() {
                self.flush(group);
            }
            if group.entries == 0 {
                group.first_index = entry.log_id.index;
            }
            group.entries += 1;
            self.buffer.reserve(codec::encoded_len(&entry));
            codec::encode_entry(&entry, &mut self.buffer);
        }
        group.flushed.extend(flushed);
    }

    fn frame_bytes_max(&self) -> usize {
        FRAME_BYTES_MAX.min((self.shared.config.segment_bytes / 2) as usize)
    }

    /// Writes and syncs the gathered entries, then says so.
    fn flush(&mut self, group: &mut Group) {
        if group.entries > 0 {
            let payload_len = (self.buffer.len() - FRAME_HEADER_BYTES) as u32;
            let (sequence, offset) =
                self.write_frame(FrameKind::Entries, group.entries, group.first_index, true);
            if !self.dead {
                self.next_index = group.first_index + u64::from(group.entries);
                let run =
                    Run { first_index: group.first_index, next_index: self.next_index, at_ns: self.times_ns };
                self.shared.meter.frames.record(run);
                let settled = self.settled();
                let mut state = self.shared.state.lock();
                state.frames.push_back(FrameRef {
                    first_index: group.first_index,
                    count: group.entries,
                    segment: sequence,
                    offset,
                    payload_len,
                });
                state.written = self.next_index;
                state.cache.evict(self.next_index);
                if let Some(segment) = state.segments.get_mut(&sequence) {
                    segment.settled = settled;
                }
            }
            group.entries = 0;
        }
        for flushed in group.flushed.drain(..) {
            flushed.io_completed(if self.dead {
                Err(io::Error::other("the raft log failed"))
            } else {
                Ok(())
            });
        }
    }

    /// Everything that was written so far and stays: each frame waits for its sync.
    fn settled(&self) -> Option<Settled> {
        Some(Settled { offset: self.tail.offset, crc: self.tail.crc })
    }

    fn write_control(&mut self, kind: FrameKind) {
        self.write_frame(kind, 0, self.next_index, true);
    }

    /// Writes the committed position, if it is not written yet and there is room, where the next frame
    /// will overwrite it, without a sync.
    fn write_committed(&mut self) {
        let is_written = self.shared.state.lock().committed == self.committed;
        if !is_written && self.tail.offset + FRAME_HEADER_BYTES as u64 <= self.tail.segment.capacity {
            self.write_frame(FrameKind::Committed, 0, self.next_index, false);
        }
    }

    fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        self.purged = Some(upto);
        self.next_index = self.next_index.max(upto.index + 1);
        frame::put_log_id(&mut self.buffer, Some(upto));
        self.write_control(FrameKind::Purge);
        if self.dead {
            return;
        }
        let unused = {
            let mut state = self.shared.state.lock();
            state.purge_frames(upto.index);
            state.written = state.written.max(upto.index + 1);
            state.take_unused_segments()
        };
        if !unused.is_empty() {
            self.preparer.unlink(unused.into_iter().map(|segment| segment.name).collect());
        }
    }

    fn start_frame(&mut self) {
        if self.buffer.capacity() > BUFFER_KEEP_BYTES {
            self.buffer = BytesMut::new();
        }
        self.buffer.clear();
        self.buffer.put_bytes(0, FRAME_HEADER_BYTES);
    }

    /// Seals the buffer as a frame and writes it; returns where it went.
    fn write_frame(&mut self, kind: FrameKind, count: u32, first_index: u64, sync: bool) -> (u64, u64) {
        let len = frame::aligned(self.buffer.len() as u64);
        let rotate = self.tail.offset + len > self.tail.segment.capacity;
        if rotate {
            self.rotate(len, first_index);
        }
        self.committed = self.shared.state.lock().committed;
        let crc = frame::seal(
            &mut self.buffer,
            FrameHeader {
                kind,
                payload_len: 0,
                prev_crc: self.tail.crc,
                crc: 0,
                count,
                first_index,
                flushed_through: self.next_index,
                committed: self.committed,
            },
        );
        let at = (self.tail.sequence, self.tail.offset);
        if self.dead {
            self.start_frame();
            return at;
        }
        let started = self.shared.now_ms();
        let began_ns = now_ns();
        self.shared.sync_started_ms.store(started, Ordering::Relaxed);
        let file = &self.tail.segment.file;
        // The header is on the disk before a frame is: pages of one write reach it in any order,
        // and a frame without its segment's header is damage.
        let mut result = match rotate {
            true => {
                file.write_all_at(&self.segment_header(first_index).encode(), 0).and_then(|()| file.sync())
            }
            false => Ok(()),
        };
        result = result.and_then(|()| file.write_all_at(&self.buffer, self.tail.offset));
        let written_ns = now_ns();
        self.shared.meter.write.observe_ns(written_ns - began_ns);
        let sync = sync
            && !(planted::is(Bug::AckBeforeSync) && kind == FrameKind::Entries)
            && !(planted::is(Bug::VoteNotSynced) && kind == FrameKind::Vote);
        if sync && result.is_ok() {
            result = file.sync();
            if planted::is(Bug::FailedSyncPassed) {
                result = Ok(());
            }
            self.shared.syncs.fetch_add(1, Ordering::Relaxed);
            self.times_ns = [began_ns, written_ns, now_ns()];
            self.shared.meter.sync.observe_ns(self.times_ns[2] - written_ns);
        }
        self.shared.sync_started_ms.store(0, Ordering::Relaxed);
        if let Err(error) = result {
            // After a failed sync the kernel may have dropped the pages and call the next one a
            // success: nothing that this process could write or say afterwards can be trusted.
            self.dead = true;
            (self.shared.config.on_fatal)(&format!("writing segment {}: {error}", self.tail.segment.name));
        }
        if kind != FrameKind::Committed {
            self.tail.offset += len;
            self.shared.bytes.fetch_add(len, Ordering::Relaxed);
            self.tail.crc = crc;
        }
        self.start_frame();
        at
    }

    fn segment_header(&self, first_index: u64) -> SegmentHeader {
        SegmentHeader {
            cluster: self.shared.config.cluster,
            member: self.shared.config.member,
            sequence: self.tail.sequence,
            prev_crc: self.tail.crc,
            next_index: first_index,
            purged: self.purged,
            vote: self.vote,
            committed: self.committed,
        }
    }

    /// Goes on in the next segment, waiting for it if need be.
    fn rotate(&mut self, frame_len: u64, first_index: u64) {
        let sequence = self.tail.sequence + 1;
        let bytes = self.shared.config.segment_bytes;
        let Some(mut prepared) = self.preparer.take(sequence, bytes) else {
            // The log was closed while the disk was full.
            self.dead = true;
            return;
        };
        let needed = HEADER_BYTES + frame_len;
        if prepared.capacity < needed {
            let grown = prepared.file.zero(prepared.capacity, needed).and_then(|()| prepared.file.sync());
            if let Err(error) = grown {
                self.dead = true;
                (self.shared.config.on_fatal)(&format!(
                    "growing segment {}: {error}",
                    segment_name(sequence)
                ));
            }
            prepared.capacity = needed;
        }
        let segment = Segment {
            name: prepared.name,
            file: prepared.file,
            capacity: prepared.capacity,
            first_index,
            settled: None,
        };
        let settled = self.settled();
        {
            let mut state = self.shared.state.lock();
            if let Some(full) = state.segments.get_mut(&self.tail.sequence) {
                full.settled = settled;
            }
            state.segments.insert(sequence, segment.clone());
        }
        self.tail = Tail { sequence, segment, offset: HEADER_BYTES, crc: self.tail.crc };
    }

    /// Has the next segment made once half of this one is used, and tells admission how much that
    /// is.
    fn prepare_ahead(&mut self) {
        let used = self.tail.offset;
        let capacity = self.tail.segment.capacity;
        if used * 2 >= capacity {
            self.preparer.ask(self.tail.sequence + 1, self.shared.config.segment_bytes);
        }
        self.shared.tail_used_16ths.store((used * 16 / capacity) as u32, Ordering::Relaxed);
    }
}
