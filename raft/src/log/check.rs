//! Reading again what was written, while the log is in use: a disk that lost a bit of it says so only
//! when it is read.
//!
//! What is read is settled: frames whose sync has ended, and which nothing overwrites. The writer is
//! always past them, a truncation is a frame of its own behind them, and a purge takes whole
//! segments, out of the state first and off the disk then. So no lock is held while reading.

use std::io;
use std::sync::Arc;

use super::file::LogFile;
use super::frame::{self, FRAME_HEADER_BYTES, HEADER_BYTES, HeaderState, SegmentHeader};
use super::state::{Segment, Settled};
use super::{Log, OpenError};

/// Read at once.
const PIECE_BYTES: u64 = 1024 * 1024;

impl Log {
    /// Reads all frames that are on the disk, from the disk. `pace` is told of bytes as they are
    /// read, and may wait. The bytes read in all.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] where something is not what was written.
    pub fn check(&self, pace: &mut dyn FnMut(u64)) -> Result<u64, OpenError> {
        let segments: Vec<(u64, Segment)> = {
            let state = self.shared.state.lock();
            state.segments.iter().map(|(sequence, segment)| (*sequence, segment.clone())).collect()
        };
        let mut bytes = 0;
        for (sequence, segment) in segments {
            let Some(settled) = segment.settled else { continue };
            let checked = self
                .dir
                .open_direct(&segment.name)
                .map_err(Problem::from)
                .and_then(|file| check_segment(file, sequence, settled, pace));
            match checked {
                Ok(read) => bytes += read,
                // It was purged meanwhile: what is gone needs no check.
                Err(_) if !self.shared.state.lock().segments.contains_key(&sequence) => {}
                Err(Problem::Damage { offset, reason }) => {
                    return Err(OpenError::Damaged { segment: sequence, offset, reason });
                }
                Err(Problem::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let reason = "the file is shorter than it was".to_owned();
                    return Err(OpenError::Damaged { segment: sequence, offset: 0, reason });
                }
                // A name that is gone is somebody's doing and not the disk's: this process still has
                // the file, and the next start says what is missing.
                Err(Problem::Io(error)) => return Err(OpenError::Io(error)),
            }
        }
        Ok(bytes)
    }
}

enum Problem {
    Damage { offset: u64, reason: String },
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A part of a file in memory, read as it is needed.
struct Window<'p> {
    file: Arc<dyn LogFile>,
    start: u64,
    bytes: Vec<u8>,
    /// Nothing behind it is asked for.
    end: u64,
    pace: &'p mut dyn FnMut(u64),
}

impl Window<'_> {
    /// `len` bytes from `offset`, which never goes back; `None` past the end.
    fn get(&mut self, offset: u64, len: u64) -> io::Result<Option<&[u8]>> {
        if offset + len > self.end {
            return Ok(None);
        }
        let have_to = self.start + self.bytes.len() as u64;
        if offset + len > have_to {
            let kept = (offset.min(have_to) - self.start) as usize;
            self.bytes.drain(..kept);
            self.start += kept as u64;
            let to = (offset + len).max(have_to + PIECE_BYTES).min(self.end);
            let have = self.bytes.len();
            self.bytes.resize((to - self.start) as usize, 0);
            self.file.read_exact_at(&mut self.bytes[have..], have_to)?;
            (self.pace)(to - have_to);
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + len as usize]))
    }
}

fn check_segment(
    file: Arc<dyn LogFile>,
    sequence: u64,
    settled: Settled,
    pace: &mut dyn FnMut(u64),
) -> Result<u64, Problem> {
    let damage = |offset: u64, reason: &str| Problem::Damage { offset, reason: reason.to_owned() };
    let mut window = Window { file, start: 0, bytes: Vec::new(), end: settled.offset, pace };
    let header = window.get(0, HEADER_BYTES)?.map(SegmentHeader::parse);
    let Some(HeaderState::Valid(header)) = header else {
        return Err(damage(0, "its header is not what was written"));
    };
    if header.sequence != sequence {
        return Err(damage(0, "its header names another place in the log"));
    }
    let (mut offset, mut crc) = (HEADER_BYTES, header.prev_crc);
    while offset < settled.offset {
        let found = window.get(offset, FRAME_HEADER_BYTES as u64)?.and_then(frame::parse);
        let Some(header) = found.filter(|header| header.prev_crc == crc) else {
            return Err(damage(offset, "no valid frame here"));
        };
        let len = FRAME_HEADER_BYTES as u64 + u64::from(header.payload_len);
        if !window.get(offset, len)?.is_some_and(|whole| frame::verify(whole, &header)) {
            return Err(damage(offset, "a frame's checksum is wrong"));
        }
        crc = header.crc;
        offset += header.frame_len();
    }
    if (offset, crc) != (settled.offset, settled.crc) {
        return Err(damage(offset, "its frames end elsewhere than they were written"));
    }
    Ok(settled.offset)
}
