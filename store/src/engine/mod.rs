//! Where the state's bytes lie: an ordered map with atomic batches and no write-ahead log.
//!
//! After a crash an engine holds some prefix of the batches written to it, at least up to the last
//! [`flush`](Engine::flush); never a part of a batch. The replicated log brings back the rest.

mod model;

use std::path::Path;

use bytes::Bytes;

pub use model::Model;

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

/// One change of a batch. Later ones win over earlier ones of the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Bytes, Bytes),
    Delete(Bytes),
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
}

impl Batch {
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push(Change::Put(key.into(), value.into()));
    }

    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.changes.push(Change::Delete(key.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
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

    /// Replaces everything by the checkpoint in `dir`, which is consumed. Durable on return; a
    /// crash before leaves the old state or the new one.
    fn install(&self, dir: &Path) -> Result<(), EngineError>;

    fn size(&self) -> Size;
}

/// An unchanging view of an engine.
pub trait View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// A cursor over the keys below `end`, standing nowhere until it is moved.
    fn cursor<'v>(&'v self, end: &[u8]) -> Box<dyn Cursor + 'v>;
}

pub trait Cursor {
    /// Moves to the first key at or after `key`.
    fn seek(&mut self, key: &[u8]);

    /// Moves one key on. Only while [`item`](Cursor::item) gives one.
    fn next(&mut self);

    /// The key and value it stands on; `None` past the end.
    fn item(&self) -> Result<Option<(&[u8], &[u8])>, EngineError>;
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
