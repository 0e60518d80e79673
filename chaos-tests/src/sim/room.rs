//! The state's side of a disk that it shares with the log, and that can be full and fail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trireme_raft::log::SimDir;
use trireme_store::engine::{Batch, Engine, EngineError, Model, Size, View};

/// What memory takes before it must be on the disk. As with RocksDB's, and the log's reserve in place of its
/// 32 MiB, there is room for it in what the log gives back when the disk is full.
const MEMORY_BYTES: usize = 96 * 1024;

/// An engine whose flushes take room where the log's files lie. What is not flushed it keeps in memory; when
/// there is too much of that, it takes no more until the disk does.
pub(super) struct Shared {
    model: Arc<Model>,
    disk: SimDir,
    unflushed_bytes: AtomicUsize,
}

impl Shared {
    pub(super) fn new(model: Arc<Model>, disk: SimDir) -> Shared {
        Shared { model, disk, unflushed_bytes: AtomicUsize::new(0) }
    }
}

impl Engine for Shared {
    fn read(&self, reader: &mut dyn FnMut(&dyn View)) {
        self.model.read(reader);
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let bytes = batch.bytes();
        if self.unflushed_bytes.load(Ordering::Relaxed) + bytes > MEMORY_BYTES {
            self.flush()?;
        }
        self.model.write(batch)?;
        self.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        if self.disk.fails_syncs() {
            return Err(EngineError::Io("sync failed".into()));
        }
        let bytes = self.unflushed_bytes.load(Ordering::Relaxed);
        if !self.disk.take_room(bytes) {
            return Err(EngineError::NoSpace);
        }
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        self.model.flush()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.model.checkpoint(dir)
    }

    fn inspect(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError> {
        self.model.inspect(dir, reader)
    }

    fn install(&self, dir: &Path) -> Result<(), EngineError> {
        // What was received is there already, and what it replaces goes.
        self.model.install(dir)?;
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn size(&self) -> Size {
        self.model.size()
    }
}
