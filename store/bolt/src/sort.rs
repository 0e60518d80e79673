//! Sorting more records than memory should hold: sorted runs go to files, and are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Bytes of records in memory; past it they go to a file.
const RUN_BYTES: usize = if cfg!(test) { 4 << 10 } else { 32 << 20 };
/// What a record takes beside its bytes.
const RECORD_BYTES: usize = 48;
/// A record's length; the caller's are keys.
const RECORD_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 64 << 10;

/// Takes records in any order. Its files are removed with it, or with what it gives.
pub struct Sorter {
    dir: PathBuf,
    records: Vec<Vec<u8>>,
    bytes: usize,
    runs: Vec<Run>,
}

struct Run(PathBuf);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Sorter {
    /// Runs are written to `dir`, which is there and has no other sorter's.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), records: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    pub fn push(&mut self, record: Vec<u8>) -> Result<(), Error> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(Error::Refused("a record to sort is too long"));
        }
        self.bytes += record.len() + RECORD_BYTES;
        self.records.push(record);
        if self.bytes > RUN_BYTES { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), Error> {
        self.records.sort_unstable();
        let run = Run(self.dir.join(format!("run-{}", self.runs.len())));
        let mut out = BufWriter::new(File::create_new(&run.0)?);
        self.runs.push(run);
        for record in self.records.drain(..) {
            out.write_all(&(record.len() as u32).to_le_bytes())?;
            out.write_all(&record)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.bytes = 0;
        Ok(())
    }

    /// All records, in order.
    pub fn sorted(mut self) -> Result<Sorted, Error> {
        self.records.sort_unstable();
        let runs = std::mem::take(&mut self.runs);
        let mut sources: Vec<Source> = Vec::with_capacity(runs.len() + 1);
        for run in &runs {
            let file = File::open(&run.0)?;
            let bytes_left = file.metadata()?.len();
            sources.push(Source::File(BufReader::with_capacity(READ_BYTES, file), bytes_left));
        }
        sources.push(Source::Memory(std::mem::take(&mut self.records).into_iter()));
        let mut heap = BinaryHeap::new();
        for (i, source) in sources.iter_mut().enumerate() {
            if let Some(record) = source.next()? {
                heap.push(Reverse((record, i)));
            }
        }
        Ok(Sorted { sources, heap, _runs: runs })
    }
}

enum Source {
    File(BufReader<File>, u64),
    Memory(std::vec::IntoIter<Vec<u8>>),
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Memory(records) => Ok(records.next()),
            Self::File(_, 0) => Ok(None),
            Self::File(file, bytes_left) => {
                let mut len = [0; 4];
                file.read_exact(&mut len)?;
                let len = u64::from(u32::from_le_bytes(len));
                *bytes_left = bytes_left.checked_sub(4 + len).ok_or(io::ErrorKind::InvalidData)?;
                let mut record = vec![0; len as usize];
                file.read_exact(&mut record)?;
                Ok(Some(record))
            }
        }
    }
}

/// Records in order.
pub struct Sorted {
    sources: Vec<Source>,
    heap: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    _runs: Vec<Run>,
}

impl Sorted {
    #[allow(clippy::should_implement_trait)] // see Items::next
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(Reverse((record, i))) = self.heap.pop() else { return Ok(None) };
        if let Some(next) = self.sources[i].next()? {
            self.heap.push(Reverse((next, i)));
        }
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_memory_holds_comes_out_in_order_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(dir.path());
        let mut expected = Vec::new();
        for i in 0..2_000u32 {
            let record = i.wrapping_mul(2_654_435_761).to_be_bytes().to_vec();
            expected.push(record.clone());
            sorter.push(record).unwrap();
        }
        expected.sort();
        let mut sorted = sorter.sorted().unwrap();
        assert!(std::fs::read_dir(dir.path()).unwrap().count() > 2, "it must have run over");
        for record in expected {
            assert_eq!(sorted.next().unwrap(), Some(record));
        }
        assert_eq!(sorted.next().unwrap(), None);
        drop(sorted);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
