//! A whole state as one stream of bytes: a base in the archive, in parts, or a file of its own.
//!
//! ```text
//!   bundle: length u32 · the snapshot's description · its files, in the description's order
//! ```
//!
//! The bundle is compressed as one stream, which is cut into parts, each an object sealed by itself.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use trireme_store::{Applied, SNAPSHOT_FILE, SnapshotMeta, Store};

use crate::archive::Archive;
use crate::error::Error;
use crate::key::Key;
use crate::materialize::{Building, Phase, Progress};
use crate::names::BaseName;
use crate::seal::{self, OpenReader, SealWriter};

/// The state's own files are compressed already: more would cost time and save little.
const LEVEL: i32 = 1;
/// Of a part, before it is sealed: what a writer holds in memory, twice.
const PART_BYTES: usize = 16 << 20;
const DESCRIPTION_BYTES_MAX: usize = 256 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// What a file of its own is sealed under: it may be renamed.
const FILE_NAME: &str = "file";

/// What the last object of a base says of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub parts: u32,
    /// Of the parts, sealed.
    pub bytes: u64,
    /// Of the snapshot's files.
    pub state_bytes: u64,
    /// Of the logical state, in hexadecimal.
    pub hash: String,
    /// Name of the member that wrote it.
    pub member: String,
}

/// At most so many bytes a second; zero: as fast as it goes.
pub(crate) struct Pace {
    bytes_per_s: u64,
    started: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, started: Instant::now(), bytes: 0 }
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes_per_s == 0 {
            return;
        }
        let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_s as f64);
        if let Some(ahead) = due.checked_sub(self.started.elapsed()) {
            std::thread::sleep(ahead);
        }
    }
}

/// Writes the snapshot in `dir` into `out`, compressed.
fn pack<W: Write>(dir: &Path, out: W, mut pace: Pace, tell: &dyn Fn(u64)) -> io::Result<(W, u64)> {
    let description = fs::read(dir.join(SNAPSHOT_FILE))?;
    let meta = SnapshotMeta::decode(description.clone().into()).map_err(io::Error::other)?;
    let mut out = zstd::stream::write::Encoder::new(out, LEVEL)?;
    out.write_all(&(description.len() as u32).to_be_bytes())?;
    out.write_all(&description)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut written = 0;
    for file in &meta.files {
        let mut input = File::open(dir.join(&file.name))?;
        let mut crc = 0;
        loop {
            let n = input.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &buffer[..n]);
            out.write_all(&buffer[..n])?;
            written += n as u64;
            pace.spend(n);
            tell(written);
        }
        if crc != file.crc32c {
            return Err(io::Error::other(format!("file {} is not what was written", file.name)));
        }
    }
    Ok((out.finish()?, written))
}

/// Unpacks a bundle into the new directory `dir`; what is there is a snapshot to be verified.
/// `name` is for messages.
pub(crate) fn unpack(
    input: impl Read,
    dir: &Path,
    name: &str,
    mut pace: Pace,
    tell: &dyn Fn(u64, u64),
) -> Result<SnapshotMeta, Error> {
    let bad = |error: io::Error| match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        // The reader knows better which object it was.
        Some(_) => *error.into_inner().and_then(|inner| inner.downcast::<Error>().ok()).expect("checked"),
        None => Error::damaged(name, error),
    };
    let disk = || Error::io(dir.display());
    let mut input = zstd::stream::read::Decoder::new(input).map_err(bad)?;
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(bad)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > DESCRIPTION_BYTES_MAX {
        return Err(Error::damaged(name, "its description is too long"));
    }
    let mut description = Vec::new();
    (&mut input).take(length as u64).read_to_end(&mut description).map_err(bad)?;
    let meta =
        SnapshotMeta::decode(description.clone().into()).map_err(|error| Error::damaged(name, error))?;
    let total = meta.files.iter().map(|file| file.len).sum();
    fs::create_dir(dir).map_err(disk())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    for file in &meta.files {
        let mut out = File::create_new(dir.join(&file.name)).map_err(disk())?;
        let mut left = file.len;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = input.read(&mut buffer[..want]).map_err(bad)?;
            if n == 0 {
                return Err(Error::damaged(name, format!("it ends within file {}", file.name)));
            }
            out.write_all(&buffer[..n]).map_err(disk())?;
            left -= n as u64;
            done += n as u64;
            pace.spend(n);
            tell(done, total);
        }
    }
    if input.read(&mut buffer).map_err(bad)? != 0 {
        return Err(Error::damaged(name, "bytes follow its last file"));
    }
    fs::write(dir.join(SNAPSHOT_FILE), description).map_err(disk())?;
    Ok(meta)
}

/// Collects what is written into parts and hands each on.
struct Parts<'a> {
    part: Vec<u8>,
    hand: &'a mut dyn FnMut(Vec<u8>) -> io::Result<()>,
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == PART_BYTES {
            (self.hand)(std::mem::take(&mut self.part))?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Archive {
    /// Writes a base of `store` into the archive. `scratch` is a new directory for the checkpoint,
    /// on the state's own file system; it is removed again. `tell` is told of the state's bytes that
    /// were read, and of how many there are.
    pub(crate) async fn put_base(
        &self,
        store: &Store,
        scratch: &Path,
        bytes_per_s: u64,
        member: &str,
        tell: impl Fn(u64, u64) + Send + 'static,
    ) -> Result<(BaseName, u64), Error> {
        let _cleared = Cleared::new(scratch);
        let (taken, dir) = (store.clone(), scratch.to_owned());
        let meta = tokio::task::spawn_blocking(move || taken.checkpoint(&dir))
            .await
            .map_err(|_| Error::Stopped)??;
        let Some(position) = meta.applied.position else {
            return Err(Error::Invalid("the store has nothing to back up yet".into()));
        };
        let name = BaseName {
            index: position.index,
            term: position.term,
            revision: meta.applied.revision.0,
            time_ms: meta.applied.time_ms.max(0),
            maker: draw()?,
        };
        let total = meta.files.iter().map(|file| file.len).sum();
        // Two parts wait, one is made, one is sent: bounded memory.
        let (parts, mut sent) = tokio::sync::mpsc::channel(1);
        let (archive, base, dir) = (self.clone(), name.clone(), scratch.to_owned());
        let packing = tokio::task::spawn_blocking(move || -> Result<u64, Error> {
            let mut n = 0;
            let mut hand = |part: Vec<u8>| {
                let path = base.part(n);
                let sealed = seal::seal(Some(&archive.key), &archive.full(&path), &part)?;
                n += 1;
                parts.blocking_send((path, sealed)).map_err(|_| io::Error::other("the part was not sent"))
            };
            let out = Parts { part: Vec::new(), hand: &mut hand };
            let packed = pack(&dir, out, Pace::new(bytes_per_s), &|done| tell(done, total));
            let (rest, written) = packed.map_err(Error::io(dir.display()))?;
            let last = rest.part;
            hand(last).map_err(Error::io(dir.display()))?;
            Ok(written)
        });
        let (mut count, mut bytes) = (0, 0);
        while let Some((path, sealed)) = sent.recv().await {
            bytes += sealed.len() as u64;
            self.put(&path, sealed).await?;
            count += 1;
        }
        let state_bytes = packing.await.map_err(|_| Error::Stopped)??;
        let hash = format!("{:032x}", meta.applied.hash);
        let manifest = Manifest { parts: count, bytes, state_bytes, hash, member: member.into() };
        let path = name.manifest();
        let json = serde_json::to_vec(&manifest).map_err(|error| Error::Invalid(error.to_string()))?;
        let sealed = seal::seal(Some(&self.key), &self.full(&path), &json).map_err(Error::io(&path))?;
        // From here on the base counts.
        self.put(&path, sealed).await?;
        Ok((name, bytes))
    }

    pub(crate) async fn manifest(&self, base: &BaseName) -> Result<Manifest, Error> {
        let full = self.full(&base.manifest());
        let sealed = self.get(&base.manifest()).await?;
        let json = seal::open(Some(&self.key), &full, &sealed)?;
        serde_json::from_slice(&json).map_err(|error| Error::damaged(&full, error))
    }

    /// Fetches a base and unpacks it into the new directory `dir`.
    pub(crate) async fn get_base(
        &self,
        base: &BaseName,
        dir: &Path,
        bytes_per_s: u64,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<SnapshotMeta, Error> {
        let manifest = self.manifest(base).await?;
        let (parts, queue) = tokio::sync::mpsc::channel::<Result<(String, bytes::Bytes), Error>>(1);
        let (tell, mut told) = tokio::sync::watch::channel((0, manifest.state_bytes));
        let (archive, name, into) = (self.clone(), self.full(&base.manifest()), dir.to_owned());
        let unpacking = tokio::task::spawn_blocking(move || {
            let input = PartReader { archive, queue, part: io::Cursor::new(Vec::new()) };
            unpack(BufReader::new(input), &into, &name, Pace::new(bytes_per_s), &|done, total| {
                tell.send_replace((done, total));
            })
        });
        let sending = async {
            for n in 0..manifest.parts {
                let path = base.part(n);
                let part = self.get(&path).await.map(|sealed| (self.full(&path), sealed));
                let failed = part.is_err();
                if parts.send(part).await.is_err() || failed {
                    break;
                }
            }
            drop(parts);
        };
        let telling = async {
            while told.changed().await.is_ok() {
                let (done, total) = *told.borrow_and_update();
                progress(Progress { phase: Phase::Base, done, total });
            }
        };
        tokio::join!(sending, telling);
        let meta = unpacking.await.map_err(|_| Error::Stopped)??;
        let recorded = format!("{:032x}", meta.applied.hash);
        let at = meta.applied.position.map(|position| (position.index, position.term));
        if recorded != manifest.hash || at != Some((base.index, base.term)) {
            return Err(Error::damaged(&self.full(&base.manifest()), "its parts are of another state"));
        }
        Ok(meta)
    }
}

fn draw() -> Result<u32, Error> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 4];
    let random = ring::rand::SystemRandom::new();
    random.fill(&mut bytes).map_err(|_| Error::Key("there is no randomness".into()))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The parts of a base as they come, one after the other.
struct PartReader {
    archive: Archive,
    queue: tokio::sync::mpsc::Receiver<Result<(String, bytes::Bytes), Error>>,
    part: io::Cursor<Vec<u8>>,
}

impl Read for PartReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.part.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            let Some(part) = self.queue.blocking_recv() else { return Ok(0) };
            let opened = part.and_then(|(name, sealed)| seal::open(Some(&self.archive.key), &name, &sealed));
            self.part = io::Cursor::new(opened.map_err(io::Error::other)?);
        }
    }
}

/// A directory that is removed at the end, whatever happens.
pub(crate) struct Cleared<'a>(&'a Path);

impl<'a> Cleared<'a> {
    pub(crate) fn new(dir: &'a Path) -> Self {
        let _ = fs::remove_dir_all(dir);
        Self(dir)
    }
}

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
    }
}

/// Writes the whole state of `store` into the new file `path`, mode 0600, sealed where a key is
/// given. `progress` is told of bytes. Blocks. The checkpoint lies beside the file for the time.
pub fn write_file(
    store: &Store,
    key: Option<&Key>,
    path: &Path,
    progress: &dyn Fn(Progress),
) -> Result<Applied, Error> {
    let scratch = beside(path, "checkpoint");
    let _cleared = Cleared::new(&scratch);
    let meta = store.checkpoint(&scratch)?;
    let out = new_file(path)?;
    let written = write_snapshot(&scratch, &meta, key, out, progress).map_err(Error::io(path.display()));
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written?;
    Ok(meta.applied)
}

/// A file that did not exist, for its owner alone.
pub fn new_file(path: &Path) -> Result<File, Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(Error::io(path.display()))
}

/// Writes the snapshot in `dir` into `out`, as [`read_file`] reads it.
pub fn write_snapshot(
    dir: &Path,
    meta: &SnapshotMeta,
    key: Option<&Key>,
    out: File,
    progress: &dyn Fn(Progress),
) -> io::Result<()> {
    let total = meta.files.iter().map(|file| file.len).sum();
    let sealing = SealWriter::new(BufWriter::with_capacity(BUFFER_BYTES, out), key, FILE_NAME)?;
    let (sealing, _) = pack(dir, sealing, Pace::new(0), &|done| {
        progress(Progress { phase: Phase::Base, done, total });
    })?;
    sealing.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes of the backup in `path` a state directory in the new directory `into`, which
/// [`Store::open`] opens, and verifies it. Blocks.
pub fn read_file(
    path: &Path,
    key: Option<&Key>,
    into: &Path,
    progress: &dyn Fn(Progress),
) -> Result<Applied, Error> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(Error::io(&name))?;
    let input = OpenReader::new(BufReader::with_capacity(BUFFER_BYTES, file), key, FILE_NAME);
    let input = input.map_err(|error| called(error, &name))?;
    let building = Building::begin(into)?;
    let meta = unpack(input, &building.base(), &name, Pace::new(0), &|done, total| {
        progress(Progress { phase: Phase::Base, done, total });
    })?;
    let store = building.install(&meta).map_err(|error| match error {
        trireme_store::Fault::Snapshot(reason) => Error::damaged(&name, reason),
        fault => fault.into(),
    })?;
    building.finish(store)
}

/// Errors about a file name it, and not what it is sealed under.
fn called(error: Error, name: &str) -> Error {
    let object = name.to_owned();
    match error {
        Error::WrongKey { .. } => Error::WrongKey { object },
        Error::KeyNeeded { .. } => Error::KeyNeeded { object },
        Error::NotSealed { .. } => Error::NotSealed { object },
        Error::Newer { format, .. } => Error::Newer { object, format },
        Error::Damaged { reason, .. } => Error::Damaged { object, reason },
        error => error,
    }
}

/// `<path>.<what>`: on the same file system.
pub(crate) fn beside(path: &Path, what: &str) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    path.with_file_name(name)
}
