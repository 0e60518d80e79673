//! The whole state for a backup in one file: what a snapshot between members holds, to a client
//! that may do everything.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use trireme_store::{Error, Store};

use super::pb::trireme::v1::CheckpointPiece;
use super::{Backend, error};

/// Bytes of a file in one message.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces on their way; the reader waits for the network past it.
const PIECES_MAX: usize = 8;

pub(super) type Pieces = ReceiverStream<Result<CheckpointPiece, Status>>;

/// Removes the directory when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a checkpoint was not removed");
        }
    }
}

/// Begins to send the state as it is after everything that was acknowledged before the call. One is
/// sent at a time: it keeps files that the state has left behind.
pub(super) async fn serve(backend: &dyn Backend) -> Result<Pieces, Status> {
    backend.barrier().await.map_err(error::status)?;
    let source = backend.snapshot_source().await.map_err(error::status)?;
    let made = DirBuilder::new().mode(0o700).create(&source.dir);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Status::resource_exhausted("a snapshot is being taken from this member")
        }
        _ => failed(&error),
    })?;
    let scratch = Scratch(source.dir);
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        if let Err(status) = send(&source.store, &scratch, &pieces) {
            tracing::warn!(error = status.message(), "a checkpoint was not sent");
            let _ = pieces.blocking_send(Err(status));
        }
    });
    Ok(ReceiverStream::new(stream))
}

fn send(
    store: &Store,
    scratch: &Scratch,
    pieces: &mpsc::Sender<Result<CheckpointPiece, Status>>,
) -> Result<(), Status> {
    let dir = scratch.0.join("checkpoint");
    let meta = store.checkpoint(&dir).map_err(|fault| error::status(fault.into()))?;
    let put = |piece| {
        let gone = |_| error::status(Error::Unavailable("the caller is gone".into()));
        pieces.blocking_send(Ok(piece)).map_err(gone)
    };
    put(CheckpointPiece { description: meta.encode(), ..Default::default() })?;
    for file in &meta.files {
        let mut input = File::open(dir.join(&file.name)).map_err(|error| failed(&error))?;
        loop {
            let mut data = Vec::with_capacity(PIECE_BYTES);
            let limited = (&mut input).take(PIECE_BYTES as u64).read_to_end(&mut data);
            if limited.map_err(|error| failed(&error))? == 0 {
                break;
            }
            put(CheckpointPiece { data: data.into(), ..Default::default() })?;
        }
    }
    Ok(())
}

fn failed(error: &io::Error) -> Status {
    error::status(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace,
        _ => Error::Broken(format!("the checkpoint: {error}")),
    })
}
