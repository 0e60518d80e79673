//! Where the state's bytes lie: an ordered map with atomic batches and no write-ahead log.
//!
//! After a crash an engine holds some prefix of the batches written to it, at least up to the last
//! [`flush`](Engine::flush); never a part of a batch. The replicated log brings back the rest.

mod model;
#[cfg(feature = "rocksdb")]
mod rocks;

use std::path::Path;

use bytes::Bytes;

pub use model::Model;
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksEngine, RocksOptions};

/// What went wrong below the state, named by what can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing was written; can be tried again when there is room.
    #[error("no space left on the device")]
    NoSpace,
    /// What was read is not what was written: this copy of the state must be replaced.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// Nothing was written. Not known to pass by itself.
    #[error("storage: {0}")]
    Io(String),
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Changes that happen together or not at all. Later ones win over earlier ones of the same key.
///
/// One buffer for all keys and values: a batch of thousands of records is a few allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    data: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    key: usize,
    value: usize,
    end: usize,
    delete: bool,
}

impl Batch {
    /// The key and the value are each given in parts.
    pub fn put(&mut self, key: &[&[u8]], value: &[&[u8]]) {
        let start = self.append(key);
        let middle = self.append(value);
        self.changes.push(Change { key: start, value: middle, end: self.data.len(), delete: false });
    }

    pub fn delete(&mut self, key: &[&[u8]]) {
        let start = self.append(key);
        let end = self.data.len();
        self.changes.push(Change { key: start, value: end, end, delete: true });
    }

    fn append(&mut self, parts: &[&[u8]]) -> usize {
        let start = self.data.len();
        for part in parts {
            self.data.extend_from_slice(part);
        }
        start
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Key and new value, `None` for a deletion, in order.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|change| {
            let key = &self.data[change.key..change.value];
            (key, (!change.delete).then(|| &self.data[change.value..change.end]))
        })
    }
}

/// Bytes of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// On disk, history and garbage included.
    pub disk_bytes: u64,
    /// Of what would remain after everything removable was removed; an estimate.
    pub live_bytes: u64,
}

pub trait Engine: Send + Sync + 'static {
    /// Calls `reader` with an unchanging view of everything written so far. The reader must not
    /// write to the same engine.
    fn read(&self, reader: &mut dyn FnMut(&dyn View));

    /// Writes a batch: visible at once, durable only after a [`flush`](Engine::flush). On an error
    /// nothing of it was written.
    fn write(&self, batch: Batch) -> Result<(), EngineError>;

    /// Makes everything written before the call durable.
    fn flush(&self) -> Result<(), EngineError>;

    /// Writes a copy of everything written before the call into the new directory `dir`. Cheap
    /// where files can be linked.
    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError>;

    /// Reads a checkpoint, wherever it came from, checking every checksum there is.
    fn inspect(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError>;

    /// [`inspect`](Engine::inspect) that reads from the disk itself, where it can: what memory still
    /// holds of a file says nothing about the file.
    fn inspect_disk(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError> {
        self.inspect(dir, reader)
    }

    /// Replaces everything by the checkpoint in `dir`, which is consumed. Durable on return; a
    /// crash before leaves the old state or the new one. After
    /// [`NoSpace`](EngineError::NoSpace) the old state goes on and `dir` can be installed later.
    fn install(&self, dir: &Path) -> Result<(), EngineError>;

    fn size(&self) -> Size;

    /// Begins to give back the space of all that was removed, although nothing else is written; whether
    /// that is done. Called again with `begun` until it is.
    fn give_back(&self, begun: bool) -> Result<bool, EngineError> {
        let _ = begun;
        Ok(true)
    }

    /// Bytes of all keys and values, history included, before they are compressed; an estimate.
    fn raw_bytes(&self) -> u64 {
        self.size().live_bytes
    }

    /// Writes many records in ascending order of their keys, none of which is there yet. Visible and
    /// durable when it returns; on an error some may be there.
    fn load(&self, fill: &mut Fill<'_>) -> Result<(), EngineError> {
        let mut batches = InBatches { engine: self, batch: Batch::default() };
        fill(&mut batches)?;
        self.write(batches.batch)?;
        self.flush()
    }
}

/// Gives the records of an [`Engine::load`], one after the other.
pub type Fill<'f> = dyn FnMut(&mut dyn Records) -> Result<(), EngineError> + 'f;

/// Takes records in ascending order of their keys.
pub trait Records {
    /// The value is given in parts.
    fn put(&mut self, key: &[u8], value: &[&[u8]]) -> Result<(), EngineError>;
}

/// Bytes of one batch of a load.
pub(crate) const LOAD_BATCH_BYTES: usize = 4 << 20;

struct InBatches<'e, E: Engine + ?Sized> {
    engine: &'e E,
    batch: Batch,
}

impl<E: Engine + ?Sized> Records for InBatches<'_, E> {
    fn put(&mut self, key: &[u8], value: &[&[u8]]) -> Result<(), EngineError> {
        self.batch.put(&[key], value);
        if self.batch.bytes() >= LOAD_BATCH_BYTES {
            self.engine.write(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}

/// An unchanging view of an engine.
pub trait View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// A cursor over the keys below `end`, standing nowhere until it is moved.
    fn cursor<'v>(&'v self, end: &[u8]) -> Box<dyn Cursor + 'v>;

    /// A cursor over the versions of one key at a time: after a seek to `x ‖ 8 bytes` only keys that
    /// begin with `x` are sure to be found, and it may end after them.
    fn version_cursor<'v>(&'v self) -> Box<dyn Cursor + 'v>;

    /// Where reading may go on when a cursor cannot read what follows `key`: the first key that lies
    /// behind one of the pieces of files that `key` lies in, of those whose damage costs all that is in
    /// them. `None`: nothing is behind.
    fn next_piece(&self, key: &[u8]) -> Option<Vec<u8>>;
}

/// A key and its value, borrowed from a cursor.
pub type Item<'c> = (&'c [u8], &'c [u8]);

pub trait Cursor {
    /// Moves to the first key at or after `key`.
    fn seek(&mut self, key: &[u8]);

    /// Moves one key on. Only while [`item`](Cursor::item) gives one.
    fn next(&mut self);

    /// The key and value it stands on; `None` past the end.
    fn item(&self) -> Result<Option<Item<'_>>, EngineError>;
}

/// [`Engine::read`] with a result.
pub(crate) fn read<R>(engine: &dyn Engine, reader: impl FnOnce(&dyn View) -> R) -> R {
    let mut reader = Some(reader);
    let mut result = None;
    engine.read(&mut |view| {
        if let Some(reader) = reader.take() {
            result = Some(reader(view));
        }
    });
    result.expect("an engine calls the reader before it returns")
}
