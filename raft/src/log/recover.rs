//! Opening: read the segments, follow the chain of frames, cut a torn tail, refuse damage. And what is
//! left of a log with damage: the frames that are whole, in runs between what is not.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use trireme_store::planted::{self, Bug};

use super::cache::Cache;
use super::file::{LogDir, LogFile};
use super::frame::{
    self, FORMAT_VERSION, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, HEADER_BYTES, HeaderState,
    LOG_ID_BYTES, SegmentHeader, VOTE_BYTES,
};
use super::prepare::{parse_segment_name, prepare_segment, segment_name};
use super::state::{FrameRef, Segment, Settled, State};
use super::writer::Tail;
use super::{Log, LogConfig, OpenError};
use crate::codec::{self, ENTRY_HEADER_BYTES};
use crate::types::{Entry, LogId, log_id};

/// The first segment of a new log is made while its member waits: it is kept small.
const FIRST_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Most of what a search passes over.
const ZEROS: [u8; 4096] = [0; 4096];

pub(super) struct Recovered {
    pub state: State,
    pub tail: Tail,
}

struct Found {
    sequence: u64,
    name: String,
    file: Arc<dyn LogFile>,
}

pub(super) fn recover(dir: &dyn LogDir, config: &LogConfig) -> Result<Recovered, OpenError> {
    let mut found = segments(dir, &|name| dir.open(name))?;
    if found.is_empty() && !config.make {
        return Err(OpenError::Missing);
    }
    let mut remove: Vec<String> = Vec::new();
    // Purged segments whose removal did not get to the disk may come back in any number. What
    // counts is the run without gaps at the end; that nothing of it is missing is checked below.
    if let Some(gap) = found.windows(2).rposition(|pair| pair[0].sequence + 1 != pair[1].sequence) {
        remove.extend(found.drain(..=gap).map(|segment| segment.name));
    }

    let mut scan = Scan::new(config);
    for segment in &found {
        if scan.segment(segment, config)? == Use::Unused {
            remove.push(segment.name.clone());
        }
    }
    if scan.tail.is_none() {
        if !remove.is_empty() && remove.len() > found.len() {
            return Err(missing(found.first().map_or(0, |segment| segment.sequence)));
        }
        for name in remove {
            dir.remove(&name)?;
        }
        scan.create_first(dir, config)?;
        return Ok(scan.finish().0);
    }
    if scan.assumed_purged.is_some() {
        return Err(missing(found.first().map_or(0, |segment| segment.sequence)));
    }
    let unsure_from = scan.last_frame;
    let (recovered, purged) = scan.finish();
    // A killed process may have left its last frame to the kernel alone. It counts from here on, a
    // vote for one, so the disk must have it. What a failed sync of that process was about, the
    // kernel takes for clean, and would not write by itself. What lies before was synced before the
    // last frame was written, and is not touched.
    let tail = &recovered.tail;
    rewrite(&*tail.segment.file, unsure_from, tail.offset)?;
    tail.segment.file.sync()?;
    // Now, not later: a gap that they left would look like damage.
    for name in remove.into_iter().chain(purged) {
        dir.remove(&name)?;
    }
    Ok(recovered)
}

/// The segments in their order.
fn segments(dir: &dyn LogDir, open: &dyn Fn(&str) -> io::Result<Arc<dyn LogFile>>) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for name in dir.list()? {
        if let Some(sequence) = parse_segment_name(&name) {
            found.push(Found { sequence, file: open(&name)?, name });
        }
    }
    found.sort_by_key(|segment| segment.sequence);
    Ok(found)
}

/// Writes what is there, from `start` to `end`, once more.
fn rewrite(file: &dyn LogFile, start: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0u8; (end - start) as usize];
    file.read_exact_at(&mut bytes, start)?;
    match file.write_all_at(&bytes, start) {
        // It takes no room, but where file systems write elsewhere whatever is written: there it is as
        // the sync finds it.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        written => written,
    }
}

fn missing(segment: u64) -> OpenError {
    OpenError::Damaged { segment, offset: 0, reason: "the segment before it is missing".into() }
}

#[derive(PartialEq, Eq)]
enum Use {
    Used,
    Unused,
}

struct Scan {
    state: State,
    tail: Option<Tail>,
    /// Where the last frame of the tail begins, or, where there is none, the segment with its header.
    last_frame: u64,
    seen_unused: bool,
    /// The oldest segment begins after this index: a purge up to there must still turn up.
    assumed_purged: Option<u64>,
}

impl Scan {
    fn new(config: &LogConfig) -> Self {
        Self {
            state: State {
                purged: None,
                last: None,
                vote: None,
                committed: None,
                cache: Cache::new(config.cache_bytes),
                frames: VecDeque::new(),
                segments: BTreeMap::new(),
                written: 0,
            },
            tail: None,
            last_frame: 0,
            seen_unused: false,
            assumed_purged: None,
        }
    }

    fn segment(&mut self, found: &Found, config: &LogConfig) -> Result<Use, OpenError> {
        let capacity = found.file.size()?;
        let mut bytes = vec![0u8; capacity as usize];
        found.file.read_exact_at(&mut bytes, 0)?;
        let damaged = |offset: u64, reason: &str| OpenError::Damaged {
            segment: found.sequence,
            offset,
            reason: reason.into(),
        };
        let header = match SegmentHeader::parse(&bytes[..bytes.len().min(HEADER_BYTES as usize)]) {
            HeaderState::Valid(header) => header,
            HeaderState::Newer(version) => {
                return Err(OpenError::Newer { found: version, known: FORMAT_VERSION });
            }
            // A crash before or within the first write to it: nothing in it was acknowledged.
            // With a frame in it, the header was on the disk once.
            HeaderState::Unused | HeaderState::Damaged => {
                if let Some(offset) = find_frame(&bytes, HEADER_BYTES) {
                    return Err(damaged(offset, "a frame in a segment without a header"));
                }
                self.seen_unused = true;
                return Ok(Use::Unused);
            }
        };
        if self.seen_unused {
            return Err(damaged(0, "the segment before it has lost its header"));
        }
        if header.cluster != config.cluster {
            return Err(OpenError::OtherCluster { found: header.cluster, expected: config.cluster });
        }
        if header.member != config.member {
            return Err(OpenError::OtherMember { found: header.member, expected: config.member });
        }
        if header.sequence != found.sequence {
            return Err(damaged(0, "its header names another place in the log"));
        }
        if self.tail.as_ref().is_some_and(|tail| tail.crc != header.prev_crc) {
            return Err(damaged(0, "it does not continue the segment before it"));
        }
        let segment = Segment {
            name: found.name.clone(),
            file: found.file.clone(),
            capacity,
            first_index: header.next_index,
            settled: None,
        };
        self.adopt(&header);
        self.state.segments.insert(found.sequence, segment.clone());
        let (offset, crc) = self.frames(found, &bytes, header.prev_crc)?;
        cut_torn_tail(found.file.as_ref(), &bytes, offset)?;
        if let Some(segment) = self.state.segments.get_mut(&found.sequence) {
            segment.settled = Some(Settled { offset, crc });
        }
        self.tail = Some(Tail { sequence: found.sequence, segment, offset, crc });
        Ok(Use::Used)
    }

    /// What the header says about the segments before it, of which some may be gone.
    fn adopt(&mut self, header: &SegmentHeader) {
        self.state.vote = header.vote.or(self.state.vote);
        self.state.committed = header.committed.max(self.state.committed);
        if let Some(purged) = header.purged {
            self.purge(purged);
        }
        if self.tail.is_none() && header.next_index > self.state.next_index() {
            // The oldest segment that is left: what lay before it was purged up to here at least,
            // and a purge frame that follows says how far.
            self.assumed_purged = Some(header.next_index - 1);
            self.state.written = header.next_index;
            self.state.last = Some(log_id(0, header.next_index - 1));
            self.state.purged = self.state.last;
        }
    }

    /// Follows the frames from the header on; returns where they end and the last checksum.
    fn frames(&mut self, found: &Found, bytes: &[u8], seed: u32) -> Result<(u64, u32), OpenError> {
        let mut offset = HEADER_BYTES;
        let mut crc = seed;
        self.last_frame = 0;
        loop {
            let (header, payload) = match intact_frame(bytes, offset) {
                Some((header, payload)) if header.prev_crc == crc => (header, payload),
                _ => {
                    // The end, or a frame that never got whole. Were it once whole, so would be
                    // what was written after it, since each frame waits for the sync of the last.
                    if let Some(later) = find_frame(bytes, offset + FRAME_ALIGN)
                        && !planted::is(Bug::AstrayTaken)
                    {
                        let reason = format!("no valid frame here, but one at byte {later}");
                        return Err(OpenError::Damaged { segment: found.sequence, offset, reason });
                    }
                    return Ok((offset, crc));
                }
            };
            self.state.committed = header.committed.max(self.state.committed);
            if header.kind == FrameKind::Committed {
                // It lies where the next frame would have gone.
                if let Some(later) = find_frame(bytes, offset + FRAME_HEADER_BYTES as u64)
                    && !planted::is(Bug::AstrayTaken)
                {
                    let reason = format!("a frame at byte {later} follows the end");
                    return Err(OpenError::Damaged { segment: found.sequence, offset, reason });
                }
                return Ok((offset, crc));
            }
            self.replay(&header, payload, found.sequence, offset).map_err(|reason| OpenError::Damaged {
                segment: found.sequence,
                offset,
                reason: reason.into(),
            })?;
            crc = header.crc;
            self.last_frame = offset;
            offset += header.frame_len();
        }
    }

    fn replay(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        segment: u64,
        offset: u64,
    ) -> Result<(), &'static str> {
        match header.kind {
            FrameKind::Entries => {
                // Lower is no damage: the oldest segment that is left may begin with what was
                // truncated and written anew.
                if header.first_index > self.state.next_index() && self.state.last.is_some() {
                    return Err("its entries leave a hole");
                }
                self.state.truncate_frames(header.first_index);
                let term = last_term(payload, header.count).ok_or("its entries cannot be read")?;
                let next = header.first_index + u64::from(header.count);
                self.state.last = Some(log_id(term, next - 1));
                self.state.written = next;
                self.state.frames.push_back(FrameRef {
                    first_index: header.first_index,
                    count: header.count,
                    segment,
                    offset,
                    payload_len: header.payload_len,
                });
            }
            FrameKind::Vote if payload.len() >= VOTE_BYTES => {
                self.state.vote = frame::take_vote(payload, 0);
            }
            FrameKind::Truncate if payload.len() >= LOG_ID_BYTES => {
                let after = frame::take_log_id(payload, 0);
                self.state.truncate_frames(after.map_or(0, |id| id.index + 1));
                self.state.last = after.or(self.state.purged);
            }
            FrameKind::Purge if payload.len() >= LOG_ID_BYTES => {
                let upto = frame::take_log_id(payload, 0).ok_or("it purges nothing")?;
                self.purge(upto);
            }
            FrameKind::Committed => {}
            FrameKind::Vote | FrameKind::Truncate | FrameKind::Purge => return Err("it is too short"),
        }
        Ok(())
    }

    fn purge(&mut self, upto: LogId) {
        if self.state.purged.is_some_and(|purged| purged.index > upto.index) {
            return;
        }
        self.state.purged = Some(upto);
        self.assumed_purged = None;
        self.state.purge_frames(upto.index);
        if self.state.last.is_none_or(|last| last.index <= upto.index) {
            self.state.last = Some(upto);
            self.state.written = upto.index + 1;
        }
    }

    fn create_first(&mut self, dir: &dyn LogDir, config: &LogConfig) -> Result<(), OpenError> {
        let bytes = config.segment_bytes.clamp(2 * HEADER_BYTES, FIRST_SEGMENT_BYTES);
        let prepared = prepare_segment(dir, 1, bytes)?;
        let header = SegmentHeader {
            cluster: config.cluster,
            member: config.member,
            sequence: 1,
            prev_crc: 0,
            next_index: 0,
            purged: None,
            vote: None,
            committed: None,
        };
        prepared.file.write_all_at(&header.encode(), 0)?;
        prepared.file.sync()?;
        let segment = Segment {
            name: segment_name(1),
            file: prepared.file,
            capacity: prepared.capacity,
            first_index: 0,
            settled: None,
        };
        self.state.segments.insert(1, segment.clone());
        self.tail = Some(Tail { sequence: 1, segment, offset: HEADER_BYTES, crc: 0 });
        Ok(())
    }

    /// What was found, and the segments that hold nothing any more.
    fn finish(self) -> (Recovered, Vec<String>) {
        let mut state = self.state;
        if planted::is(Bug::LastFrameLost)
            && let Some(lost) = state.frames.pop_back()
            && let Some(index) = lost.first_index.checked_sub(1)
            && let Some(last) = state.last
        {
            (state.written, state.last) = (lost.first_index, Some(log_id(last.leader_id.term, index)));
        }
        // Committed may have been noted for entries whose frame did not get to the disk.
        state.committed = state.committed.min(state.last);
        let purged = state.take_unused_segments().into_iter().map(|segment| segment.name).collect();
        (Recovered { state, tail: self.tail.expect("there is a segment, or one was made") }, purged)
    }
}

/// The frame at `offset`, if it is one and whole: its header and its payload.
fn intact_frame(bytes: &[u8], offset: u64) -> Option<(FrameHeader, &[u8])> {
    let rest = bytes.get(offset as usize..)?;
    let header = frame::parse(rest)?;
    let whole = rest.get(..FRAME_HEADER_BYTES + header.payload_len as usize)?;
    frame::verify(whole, &header).then(|| (header, &whole[FRAME_HEADER_BYTES..]))
}

/// Looks for a whole frame from `from` on, wherever a frame could start.
fn find_frame(bytes: &[u8], from: u64) -> Option<u64> {
    let mut at = from.next_multiple_of(FRAME_ALIGN) as usize;
    while at + FRAME_HEADER_BYTES <= bytes.len() {
        // Most of what is searched is zeros: skip them in large steps.
        if bytes.get(at..at + ZEROS.len()) == Some(&ZEROS[..]) {
            at += ZEROS.len();
            continue;
        }
        if intact_frame(bytes, at as u64).is_some() {
            return Some(at as u64);
        }
        at += FRAME_ALIGN as usize;
    }
    None
}

/// Puts zeros where a frame was torn, so that no later frame ends up in front of its remains.
fn cut_torn_tail(file: &dyn LogFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut rest = &bytes[(offset as usize).min(bytes.len())..];
    while let Some(before) = rest.strip_suffix(&ZEROS) {
        rest = before;
    }
    let Some(last) = rest.iter().rposition(|b| *b != 0) else { return Ok(()) };
    // A committed position is no torn frame, and it is overwritten by the next one anyway; but
    // being longer than nothing, it goes too: the rule stays "zeros follow the end".
    tracing::info!(offset, bytes = last + 1, "cutting what follows the end of the raft log");
    file.zero(offset, offset + last as u64 + 1)?;
    file.sync()
}

/// Steps over `count` entries; the last one's term, if they fill the payload exactly.
fn last_term(mut payload: &[u8], count: u32) -> Option<u64> {
    let mut term = None;
    for _ in 0..count {
        if payload.len() < ENTRY_HEADER_BYTES {
            return None;
        }
        term = Some(payload.get_u64_le());
        payload.advance(1);
        let length = payload.get_u32_le() as usize;
        payload = payload.get(length..)?;
    }
    payload.is_empty().then_some(term).flatten()
}

/// What is left of a damaged log.
#[derive(Default)]
pub(crate) struct Salvaged {
    /// Frames that follow each other, oldest run first; between two runs there is damage. Entries that
    /// a later frame voids are left out.
    pub(crate) runs: Vec<Run>,
    pub(crate) damage: Vec<OpenError>,
    /// One past the highest entry that is known to have been there.
    pub(crate) known_next: u64,
    /// No entry that can be read is behind the last damage.
    pub(crate) ends_in_damage: bool,
    /// The last entry that was known to be agreed on.
    pub(crate) committed: Option<u64>,
    /// Checksum of the last frame; `None` behind damage.
    crc: Option<u32>,
}

/// Frames with entries that follow each other.
#[derive(Default)]
pub(crate) struct Run {
    frames: VecDeque<(FrameRef, Arc<dyn LogFile>)>,
}

impl Log {
    /// Reads what is whole of the log in `dir`, past its damage; `None` where there is none. Nothing is
    /// changed.
    pub(crate) fn salvage(dir: &dyn LogDir) -> io::Result<Option<Salvaged>> {
        let mut salvaged = Salvaged { runs: vec![Run::default()], ..Salvaged::default() };
        let mut last = None;
        for found in segments(dir, &|name| dir.open_direct(name))? {
            if last.is_some_and(|last| last + 1 != found.sequence) {
                salvaged.broken(found.sequence, 0, "the segment before it is missing".into());
            }
            last = Some(found.sequence);
            salvaged.segment(&found)?;
        }
        salvaged.ends_in_damage =
            !salvaged.damage.is_empty() && salvaged.runs.last().is_some_and(|run| run.frames.is_empty());
        salvaged.runs.retain(|run| !run.frames.is_empty());
        Ok(last.map(|_| salvaged))
    }
}

impl Run {
    pub(crate) fn first_index(&self) -> u64 {
        self.frames.front().map_or(0, |(frame, _)| frame.first_index)
    }

    pub(crate) fn next_index(&self) -> u64 {
        self.frames.back().map_or(0, |(frame, _)| frame.first_index + u64::from(frame.count))
    }

    /// Shows the entries from `from` on, a frame's at a time.
    pub(crate) fn read<E: From<io::Error>>(
        &self,
        from: u64,
        show: &mut dyn FnMut(Vec<Entry>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (frame, file) in &self.frames {
            if frame.first_index + u64::from(frame.count) <= from {
                continue;
            }
            let mut payload = vec![0; frame.payload_len as usize];
            file.read_exact_at(&mut payload, frame.offset + FRAME_HEADER_BYTES as u64)?;
            let mut payload = Bytes::from(payload);
            let mut entries = Vec::with_capacity(frame.count as usize);
            for index in frame.first_index..frame.first_index + u64::from(frame.count) {
                let entry = codec::decode_entry(&mut payload, index).map_err(io::Error::from)?;
                entries.extend((index >= from).then_some(entry));
            }
            show(entries)?;
        }
        Ok(())
    }
}

impl Salvaged {
    fn broken(&mut self, segment: u64, offset: u64, reason: String) {
        self.damage.push(OpenError::Damaged { segment, offset, reason });
        self.runs.push(Run::default());
        self.crc = None;
    }

    fn segment(&mut self, found: &Found) -> io::Result<()> {
        let bytes = read_what_can_be(&*found.file)?;
        match SegmentHeader::parse(&bytes[..bytes.len().min(HEADER_BYTES as usize)]) {
            HeaderState::Valid(header) => {
                if self.crc.is_some_and(|crc| crc != header.prev_crc) {
                    self.broken(found.sequence, 0, "it does not continue the segment before it".into());
                }
                self.crc = Some(header.prev_crc);
                self.note(header.next_index, header.committed);
                self.purge(header.purged);
            }
            HeaderState::Newer(found) => {
                return Err(io::Error::other(OpenError::Newer { found, known: FORMAT_VERSION }));
            }
            HeaderState::Unused | HeaderState::Damaged => match find_frame(&bytes, HEADER_BYTES) {
                Some(_) => self.broken(found.sequence, 0, "its header is not what was written".into()),
                None => return Ok(()),
            },
        }
        let mut offset = HEADER_BYTES;
        loop {
            let follows =
                |crc: Option<u32>, header: &FrameHeader| crc.is_none_or(|crc| header.prev_crc == crc);
            let frame = intact_frame(&bytes, offset).filter(|(header, _)| follows(self.crc, header));
            if let Some((header, payload)) = frame {
                self.frame(&header, payload, found, offset);
                if header.kind != FrameKind::Committed {
                    self.crc = Some(header.crc);
                    offset += header.frame_len();
                    continue;
                }
            }
            let Some(later) = find_frame(&bytes, offset + FRAME_ALIGN) else { return Ok(()) };
            let reason = format!("no valid frame here, but one at byte {later}");
            self.broken(found.sequence, offset, reason);
            offset = later;
        }
    }

    fn frame(&mut self, header: &FrameHeader, payload: &[u8], found: &Found, offset: u64) {
        match header.kind {
            FrameKind::Entries => {
                self.truncate(header.first_index);
                self.note(header.first_index + u64::from(header.count), None);
                let frame = FrameRef {
                    first_index: header.first_index,
                    count: header.count,
                    segment: found.sequence,
                    offset,
                    payload_len: header.payload_len,
                };
                if let Some(run) = self.runs.last_mut() {
                    run.frames.push_back((frame, found.file.clone()));
                }
            }
            FrameKind::Truncate if payload.len() >= LOG_ID_BYTES => {
                self.truncate(frame::take_log_id(payload, 0).map_or(0, |id| id.index + 1));
            }
            FrameKind::Purge if payload.len() >= LOG_ID_BYTES => self.purge(frame::take_log_id(payload, 0)),
            _ => {}
        }
        // What was on the disk when it was written, and nothing has voided since.
        if header.kind != FrameKind::Truncate {
            self.note(header.flushed_through, header.committed);
        }
    }

    fn note(&mut self, next: u64, committed: Option<LogId>) {
        let committed = committed.map(|id| id.index);
        self.known_next = self.known_next.max(next).max(committed.map_or(0, |index| index + 1));
        self.committed = self.committed.max(committed);
    }

    fn truncate(&mut self, next: u64) {
        self.known_next = self.known_next.min(next);
        for run in &mut self.runs {
            while let Some((frame, _)) = run.frames.back_mut() {
                if frame.first_index < next {
                    let left = next - frame.first_index;
                    frame.count = frame.count.min(u32::try_from(left).unwrap_or(u32::MAX));
                    break;
                }
                run.frames.pop_back();
            }
        }
    }

    fn purge(&mut self, upto: Option<LogId>) {
        let Some(upto) = upto else { return };
        for run in &mut self.runs {
            let is_purged = |frame: &FrameRef| frame.first_index + u64::from(frame.count) <= upto.index + 1;
            while run.frames.front().is_some_and(|(frame, _)| is_purged(frame)) {
                run.frames.pop_front();
            }
        }
    }
}

/// A file's bytes; zeros where the disk does not give them.
fn read_what_can_be(file: &dyn LogFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.size()? as usize];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        for (n, piece) in bytes.chunks_mut(ZEROS.len()).enumerate() {
            if file.read_exact_at(piece, (n * ZEROS.len()) as u64).is_err() {
                piece.fill(0);
            }
        }
    }
    Ok(bytes)
}
