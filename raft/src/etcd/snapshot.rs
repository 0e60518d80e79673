//! Snapshots as `etcdctl snapshot save` stores them: a database file that an etcd can be restored
//! from, and its SHA-256.
//!
//! ```text
//!   view of the store ─┬─ live at the compact revision ──► sorted by revision ─┐
//!                      └─ changes after it ────────────────────────────────────┴─► file ──► stream
//! ```
//!
//! The file's first bytes are known when all is written, so it is made on the disk before it is
//! sent. It lies in the member's directory for snapshots that come and go, which is emptied when
//! the member starts. Memory holds a few pages and a run of keys, never the values.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use trireme_bolt::Sorter;
use trireme_bolt::etcd::{Change, KeyValue, Lease, Position, Revision, SnapshotWriter};
use trireme_store::{Dump, Error, Store};

use super::pb::etcdserverpb::{ResponseHeader, SnapshotResponse};
use super::{Backend, error, header};
use crate::log::{LogDir, OsDir};

/// Bytes of the file in one message.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces on their way; the reader waits for the network past it.
const PIECES_MAX: usize = 8;
/// What a snapshot leaves free on the disk: it is a reader's file on the writers' disk.
const ROOM_LEFT_BYTES: u64 = 256 << 20;
/// Bytes written between two looks at the disk.
const ROOM_CHECK_BYTES: u64 = 8 << 20;

/// What a snapshot is made of.
pub struct Source {
    pub store: Store,
    /// The directory that the file is made in. It is made and removed, and while it is there no
    /// other snapshot is taken.
    pub dir: PathBuf,
}

/// What the caller is sent.
pub(super) type Pieces = ReceiverStream<Result<SnapshotResponse, Status>>;
type Sender = mpsc::Sender<Result<SnapshotResponse, Status>>;

/// Why no file came out.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] Error),
    #[error(transparent)]
    File(#[from] trireme_bolt::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the caller is gone")]
    Gone,
}

impl Failed {
    fn status(self) -> Status {
        let error = match self {
            Self::Store(error) => error,
            Self::Io(error) | Self::File(trireme_bolt::Error::Io(error)) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace,
                _ => Error::Broken(format!("the snapshot's file: {error}")),
            },
            Self::File(error) => Error::Broken(format!("the snapshot's file: {error}")),
            Self::Gone => Error::Unavailable("the caller of the snapshot is gone".into()),
        };
        error::status(error)
    }
}

/// Begins to make a snapshot, on a thread of its own. `version` is the etcd release that is named
/// as its maker.
pub(super) async fn serve(backend: &dyn Backend, version: &'static str) -> Result<Pieces, Status> {
    let source = backend.snapshot_source().await.map_err(error::status)?;
    let voters = backend.members().iter().filter(|m| !m.is_learner).map(|m| m.id).collect();
    let header = header(backend, backend.standing().revision);
    let scratch = Scratch::make(source.dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            // Not «unavailable», which etcd's clients try again for ever.
            Status::resource_exhausted("a snapshot is being taken from this member")
        }
        _ => Failed::Io(error).status(),
    })?;
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let job = Job { store: source.store, scratch, header, version, voters };
        match job.run(&pieces) {
            Ok(()) => {}
            Err(Failed::Gone) => tracing::debug!("the caller of a snapshot has left"),
            Err(failed) => {
                tracing::warn!(error = %failed, "a snapshot was not made");
                let _ = pieces.blocking_send(Err(failed.status()));
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Removes the directory when dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// Only the owner can read it: the file holds Secrets.
    fn make(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the file of a snapshot was not removed; the next start does");
        }
    }
}

struct Job {
    store: Store,
    scratch: Scratch,
    header: ResponseHeader,
    version: &'static str,
    voters: Vec<u64>,
}

impl Job {
    fn run(self, pieces: &Sender) -> Result<(), Failed> {
        let mut room = Room::new(&self.scratch.0, pieces)?;
        // Compressed in the store, not in the file: a first look, and it goes on while writing.
        room.look(self.store.size().disk_bytes)?;
        let path = self.scratch.0.join("db");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let position = Position { voters: self.voters, ..Position::default() };
        self.store.dump(|dump| write(dump, file, &self.scratch.0, position, &mut room))??;
        let file = File::open(&path)?;
        // It goes with the last handle on it, whatever becomes of this process.
        std::fs::remove_file(&path)?;
        send(file, &self.header, self.version, pieces)
    }
}

/// Watches the disk, and that somebody still waits.
struct Room<'a> {
    dir: OsDir,
    pieces: &'a Sender,
    looked_at: u64,
}

impl<'a> Room<'a> {
    fn new(dir: &Path, pieces: &'a Sender) -> Result<Self, Failed> {
        Ok(Self { dir: OsDir::open(dir)?, pieces, looked_at: 0 })
    }

    fn look(&self, needed: u64) -> Result<(), Failed> {
        if self.pieces.is_closed() {
            return Err(Failed::Gone);
        }
        if self.dir.free_bytes()? < needed.saturating_add(ROOM_LEFT_BYTES) {
            return Err(Failed::Store(Error::NoSpace));
        }
        Ok(())
    }

    fn written(&mut self, bytes: u64) -> Result<(), Failed> {
        if bytes.saturating_sub(self.looked_at) < ROOM_CHECK_BYTES {
            return Ok(());
        }
        self.looked_at = bytes;
        self.look(ROOM_CHECK_BYTES)
    }
}

fn write(
    dump: &Dump<'_>,
    file: File,
    dir: &Path,
    position: Position,
    room: &mut Room<'_>,
) -> Result<(), Failed> {
    let applied = dump.applied();
    let mut writer = SnapshotWriter::new(file)?;
    write_compacted(dump, dir, &mut writer, room)?;
    dump.changes(&mut |revision, sub, key, kv| {
        let change = kv.map_or(Change::Delete(key), |kv| Change::Put(version(kv)));
        writer.put(Revision { main: revision.0, sub: i64::from(sub) }, &change)?;
        room.written(writer.bytes())
    })?;
    let leases = dump.leases()?;
    let leases =
        leases.into_iter().map(|lease| Lease { id: lease.id.0, ttl_s: lease.ttl_s, remaining_ttl_s: 0 });
    let (index, term) = applied.position.map_or((0, 0), |at| (at.index, at.term));
    writer.finish(leases, applied.compact_revision.0, &Position { index, term, ..position })?;
    Ok(())
}

/// What a compaction has left, in the order of revisions. How changes of one revision were ordered
/// is forgotten once they are compacted; they go by their keys.
fn write_compacted(
    dump: &Dump<'_>,
    dir: &Path,
    writer: &mut SnapshotWriter<File>,
    room: &mut Room<'_>,
) -> Result<(), Failed> {
    let mut sorter = Sorter::new(dir);
    let mut seen = 0;
    dump.compacted(&mut |key, revision| {
        let record = [&revision.0.to_be_bytes()[..], key].concat();
        seen += record.len() as u64;
        sorter.push(record)?;
        room.written(seen)
    })?;
    room.looked_at = 0;
    let mut sorted = sorter.sorted()?;
    let mut versions = dump.versions();
    let mut at = Revision::default();
    while let Some(record) = sorted.next()? {
        let Some((main, key)) = record.split_first_chunk::<8>() else { continue };
        let main = i64::from_be_bytes(*main);
        at = Revision { main, sub: if main == at.main { at.sub + 1 } else { 0 } };
        let found = versions.at(key, trireme_store::Revision(main))?;
        let kv = found.ok_or_else(|| Error::Broken(format!("a live key of revision {main} is deleted")))?;
        writer.put(at, &Change::Put(version(kv)))?;
        room.written(writer.bytes())?;
    }
    Ok(())
}

fn version(kv: trireme_store::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

fn send(mut file: File, header: &ResponseHeader, version: &str, pieces: &Sender) -> Result<(), Failed> {
    let mut left = file.metadata()?.len();
    let mut digest = Sha256::new();
    let send = |left: u64, blob: Vec<u8>| {
        let piece = SnapshotResponse {
            header: Some(*header),
            remaining_bytes: left,
            blob: blob.into(),
            version: version.to_owned(),
        };
        pieces.blocking_send(Ok(piece)).map_err(|_| Failed::Gone)
    };
    while left > 0 {
        let mut blob = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut blob)? as u64;
        left = left
            .checked_sub(read)
            .filter(|_| read > 0)
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        digest.update(&blob);
        send(left, blob)?;
    }
    send(0, digest.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_and_a_caller_who_left_end_it() {
        let dir = tempfile::tempdir().unwrap();
        let (pieces, stream) = mpsc::channel(1);
        let room = Room::new(dir.path(), &pieces).unwrap();
        assert!(matches!(room.look(u64::MAX), Err(Failed::Store(Error::NoSpace))));
        drop(stream);
        assert!(matches!(room.look(0), Err(Failed::Gone)));
    }
}
