//! The state on its way to a member whose log begins too late: a checkpoint's files, in pieces.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::Status;
use trireme_store::{Store, work};

use super::wire;
use crate::codec;
use crate::machine::to_meta;
use crate::peer::pb;
use crate::types::{SnapshotMeta, StoredMembership, Vote};

/// Bytes of a file in one message.
const PIECE_BYTES: usize = 512 * 1024;
/// Pieces that wait for the network, or for the disk of who receives them.
const PIECES_MAX: usize = 8;

/// How long the log is kept from a snapshot's position on after the snapshot was sent: its
/// receiver needs what follows, and would otherwise be sent one snapshot after another.
const KEEP_LOG_AFTER: Duration = Duration::from_secs(60);

/// A directory for snapshots that come and go; emptied when the member starts.
pub(crate) struct SnapshotDirs {
    path: PathBuf,
    next: AtomicU64,
    /// Positions of snapshots that were sent, and when they stop to matter.
    sent: Mutex<Vec<(u64, Instant)>>,
    incoming: Arc<Incoming>,
}

/// How far the snapshot is that is being received.
#[derive(Default)]
struct Incoming {
    bytes: AtomicU64,
    of: AtomicU64,
}

impl Incoming {
    fn set(&self, bytes: u64, of: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }
}

impl SnapshotDirs {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, next: AtomicU64::new(0), sent: Mutex::default(), incoming: Arc::default() })
    }

    /// Up to where the log may be purged: not past what a receiver of a snapshot needs next.
    pub(crate) fn purge_limit(&self, index: u64) -> u64 {
        let mut sent = self.sent.lock();
        let now = Instant::now();
        sent.retain(|(_, until)| *until > now);
        sent.iter().map(|(at, _)| *at).fold(index, u64::min)
    }

    /// Bytes of a snapshot that have come, and of how many; zero where there is none, or its sender does
    /// not say.
    pub(crate) fn incoming(&self) -> (u64, u64) {
        (self.incoming.bytes.load(Ordering::Relaxed), self.incoming.of.load(Ordering::Relaxed))
    }

    fn keep_log_from(&self, index: u64) {
        self.sent.lock().push((index, Instant::now() + KEEP_LOG_AFTER));
    }

    pub(crate) fn scratch(&self, what: &str) -> Scratch {
        Scratch(self.next(what))
    }

    /// Where a snapshot file in etcd's form is made; one at a time.
    pub(crate) fn etcd_file(&self) -> PathBuf {
        self.path.join("etcd-file")
    }

    /// A path that nothing has used.
    fn next(&self, what: &str) -> PathBuf {
        self.path.join(format!("{what}-{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A path for a directory that is removed when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes a checkpoint and gives its pieces, in a task; ends early when the receiver is gone.
pub(super) fn send(
    store: Store,
    dirs: &Arc<SnapshotDirs>,
    vote: Vote,
) -> (mpsc::Receiver<pb::SnapshotChunk>, tokio::task::JoinHandle<Result<SnapshotMeta, String>>) {
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    let dirs = dirs.clone();
    let task = tokio::spawn(async move {
        let scratch = Scratch(dirs.next("send"));
        // With the directory's guard: a checkpoint that nobody waits for any more is removed, too.
        let taken = work::blocking(move || {
            let checkpoint = store.checkpoint(&scratch.0).map_err(|fault| fault.to_string());
            (scratch, checkpoint)
        });
        let (scratch, checkpoint) = taken.await.map_err(|error| error.to_string())?;
        let sent = async {
            let meta = to_meta(&checkpoint?.applied).map_err(|error| error.to_string())?;
            if let Some(last) = meta.last_log_id {
                dirs.keep_log_from(last.index);
            }
            send_files(scratch.path(), &meta, &vote, &pieces).await.map_err(|error| error.to_string())?;
            Ok(meta)
        };
        let sent = sent.await;
        // What is left of its tables may be much to give back.
        let _ = work::blocking(move || drop(scratch)).await;
        sent
    });
    (stream, task)
}

async fn send_files(
    dir: &Path,
    meta: &SnapshotMeta,
    vote: &Vote,
    pieces: &mpsc::Sender<pb::SnapshotChunk>,
) -> io::Result<()> {
    let send = async |part: pb::snapshot_chunk::Part| {
        let sent = pieces.send(pb::SnapshotChunk { part: Some(part) }).await;
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the receiver is gone"))
    };
    let dir = dir.to_owned();
    let (files, bytes) = work::blocking(move || files_of(&dir)).await??;
    send(pb::snapshot_chunk::Part::Start(pb::SnapshotStart {
        vote: wire::ballot(vote),
        last: wire::position(meta.last_log_id),
        membership_position: wire::position(*meta.last_membership.log_id()),
        membership: codec::encode_membership(meta.last_membership.membership()),
        bytes,
    }))
    .await?;
    let (count, mut total) = (files.len() as u32, 0);
    for (name, path) in files {
        let mut reading = work::blocking(move || FileReading::open(name, &path)).await??;
        while !reading.ended {
            let (now, piece) = work::blocking(move || reading.next()).await?;
            reading = now;
            send(pb::snapshot_chunk::Part::Piece(piece?)).await?;
        }
        total += reading.offset;
    }
    send(pb::snapshot_chunk::Part::End(pb::SnapshotEnd { files: count, bytes: total })).await
}

/// The files of a snapshot by name, in its order, and the bytes in them. There may be thousands: each is
/// opened in its turn.
fn files_of(dir: &Path) -> io::Result<(BTreeMap<String, PathBuf>, u64)> {
    let (mut files, mut bytes) = (BTreeMap::new(), 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let unreadable = |_| io::Error::other("a file of the snapshot has no readable name");
        bytes += entry.metadata()?.len();
        files.insert(entry.file_name().into_string().map_err(unreadable)?, entry.path());
    }
    Ok((files, bytes))
}

struct FileReading {
    name: String,
    file: File,
    offset: u64,
    ended: bool,
}

impl FileReading {
    fn open(name: String, path: &Path) -> io::Result<Self> {
        Ok(Self { name, file: File::open(path)?, offset: 0, ended: false })
    }

    /// The next piece; an empty file is one empty piece.
    fn next(mut self) -> (Self, io::Result<pb::FilePiece>) {
        let mut data = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut self.file).take(PIECE_BYTES as u64).read_to_end(&mut data);
        let piece = read.map(|read| {
            let (offset, crc32c) = (self.offset, crc32c::crc32c(&data));
            self.offset += read as u64;
            self.ended = read < PIECE_BYTES;
            pb::FilePiece { name: self.name.clone(), offset, crc32c, data: data.into() }
        });
        (self, piece)
    }
}

/// What was received: whole, with every piece's checksum right, and on the disk.
pub(super) struct Received {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    scratch: Scratch,
}

impl Received {
    pub(super) fn path(&self) -> PathBuf {
        self.scratch.0.clone()
    }
}

/// Writes what comes in; an error leaves nothing behind, and the sender starts over.
pub(super) async fn receive(
    dirs: &SnapshotDirs,
    mut chunks: tonic::Streaming<pb::SnapshotChunk>,
) -> Result<Received, Status> {
    use pb::snapshot_chunk::Part;
    let Some(Part::Start(start)) = chunks.message().await?.and_then(|chunk| chunk.part) else {
        return Err(Status::invalid_argument("a snapshot begins with its description"));
    };
    let vote = wire::read_ballot(start.vote)?;
    let membership = codec::decode_membership(start.membership)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let meta = SnapshotMeta {
        last_log_id: wire::read_position(start.last),
        last_membership: StoredMembership::new(wire::read_position(start.membership_position), membership),
    };
    let scratch = Scratch(dirs.next("recv"));
    std::fs::create_dir(&scratch.0)?;
    let shown = Shown { incoming: dirs.incoming.clone(), of: start.bytes };
    let files = Files { dir: scratch.0.clone(), open: None, files: 0, total: 0, whole: false, shown };
    // The disk and the network each go on while the other one waits.
    let (pieces, queue) = mpsc::channel(PIECES_MAX);
    let writing = tokio::spawn(write(files, queue));
    while let Some(chunk) = chunks.message().await? {
        let part = chunk.part.ok_or_else(|| Status::invalid_argument("an empty piece"))?;
        if pieces.send(part).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let files = writing.await.map_err(|error| Status::internal(error.to_string()))??;
    // Read to its end first: an answer before that resets the stream under the sender's feet.
    if !files.whole {
        return Err(Status::invalid_argument("the snapshot ended early"));
    }
    Ok(Received { vote, meta, scratch })
}

/// Writes what comes until no more does, or it cannot.
async fn write(mut files: Files, mut queue: mpsc::Receiver<pb::snapshot_chunk::Part>) -> io::Result<Files> {
    let mut parts = Vec::new();
    while queue.recv_many(&mut parts, PIECES_MAX).await > 0 {
        let now = std::mem::take(&mut parts);
        let written =
            work::blocking(move || now.into_iter().try_for_each(|part| files.take(part)).map(|()| files));
        files = written.await??;
    }
    Ok(files)
}

/// The files of a snapshot as they come in.
struct Files {
    dir: PathBuf,
    open: Option<(String, File, u64)>,
    files: u32,
    total: u64,
    /// All that was announced is there and on the disk.
    whole: bool,
    shown: Shown,
}

/// Shows how far a snapshot is, for as long as it comes.
struct Shown {
    incoming: Arc<Incoming>,
    of: u64,
}

impl Shown {
    fn set(&self, bytes: u64) {
        self.incoming.set(bytes, self.of);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.incoming.set(0, 0);
    }
}

impl Files {
    fn take(&mut self, part: pb::snapshot_chunk::Part) -> io::Result<()> {
        use pb::snapshot_chunk::Part;
        let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        if self.whole {
            return Err(bad("something after the snapshot's end"));
        }
        match part {
            Part::Start(_) => Err(bad("a second description")),
            Part::Piece(piece) => {
                if crc32c::crc32c(&piece.data) != piece.crc32c {
                    return Err(bad("a piece of the snapshot was changed on its way"));
                }
                if self.open.as_ref().is_none_or(|(name, ..)| *name != piece.name) {
                    // The name comes from another machine: a file in this directory or nothing.
                    let plain =
                        Path::new(&piece.name).file_name().is_some_and(|name| name == piece.name.as_str());
                    if !plain {
                        return Err(bad("a file name with a path"));
                    }
                    self.close()?;
                    let file = File::create_new(self.dir.join(&piece.name))?;
                    self.open = Some((piece.name.clone(), file, 0));
                    self.files += 1;
                }
                let (_, file, offset) = self.open.as_mut().expect("opened above");
                if *offset != piece.offset {
                    return Err(bad("a piece of the snapshot is missing"));
                }
                file.write_all(&piece.data)?;
                *offset += piece.data.len() as u64;
                self.total += piece.data.len() as u64;
                self.shown.set(self.total);
                Ok(())
            }
            Part::End(end) => {
                self.close()?;
                if end.files != self.files || end.bytes != self.total {
                    return Err(bad("the snapshot is not whole"));
                }
                File::open(&self.dir)?.sync_all()?;
                self.whole = true;
                Ok(())
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), |(_, file, _)| file.sync_all())
    }
}
