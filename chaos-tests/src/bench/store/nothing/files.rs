//! Files in which what was asked is synced.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::mpsc;

use anyhow::{Context, Result};
use bytes::Bytes;

/// More than any measurement writes before the file grows.
const FILE_MIB: usize = 512;

/// Bytes to be synced, and who hears of it.
struct Piece {
    bytes: Vec<Bytes>,
    synced: Box<dyn FnOnce() + Send>,
}

/// Writes what comes into one file, one behind the other, all that waits with one sync.
#[derive(Clone)]
pub(super) struct SyncedFile(mpsc::Sender<Piece>);

impl SyncedFile {
    /// Made in advance and written over, as logs are: a sync then has no length to write.
    pub(super) fn create(path: &Path) -> Result<SyncedFile> {
        let mut file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let zeroes = vec![0; 1 << 20];
        for _ in 0..FILE_MIB {
            file.write_all(&zeroes)?;
        }
        file.sync_all()?;
        file.rewind()?;
        let (pieces, queue) = mpsc::channel();
        std::thread::spawn(move || keep(file, &queue).expect("a disk that takes what is written"));
        Ok(SyncedFile(pieces))
    }

    /// `synced` is called on the file's own thread.
    pub(super) fn keep(&self, bytes: Vec<Bytes>, synced: impl FnOnce() + Send + 'static) {
        // It ends with the process alone.
        let _ = self.0.send(Piece { bytes, synced: Box::new(synced) });
    }
}

fn keep(mut file: File, pieces: &mpsc::Receiver<Piece>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Ok(first) = pieces.recv() {
        let run: Vec<Piece> = std::iter::once(first).chain(pieces.try_iter()).collect();
        buffer.clear();
        run.iter().flat_map(|piece| &piece.bytes).for_each(|bytes| buffer.extend_from_slice(bytes));
        file.write_all(&buffer)?;
        file.sync_data()?;
        run.into_iter().for_each(|piece| (piece.synced)());
    }
    Ok(())
}
