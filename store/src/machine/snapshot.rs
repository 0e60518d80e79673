//! Snapshots: a checkpoint of the engine with a description that vouches for every byte.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use super::Applied;
use super::state::{State, get_position, put_position};
use crate::codec::{DecodeError, Reader, Writer};
use crate::engine::{Engine, EngineError};
use crate::fault::Fault;
use crate::kv::Revision;

/// The description's name in the snapshot's directory.
pub const SNAPSHOT_FILE: &str = "SNAPSHOT";

const FORMAT: u8 = 1;

/// Files of one snapshot; a description with more is refused.
const FILES_MAX: usize = 1 << 20;

/// A snapshot's description; it also lies in the snapshot's directory as [`SNAPSHOT_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub applied: Applied,
    /// Every file but the description itself, sorted by name. Names have no directories.
    pub files: Vec<SnapshotFile>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFile {
    pub name: String,
    pub len: u64,
    pub crc32c: u32,
}

impl SnapshotMeta {
    pub fn encode(&self) -> Bytes {
        let applied = &self.applied;
        let mut w = Writer::with_capacity(256 + 64 * self.files.len());
        w.u8(FORMAT);
        put_position(&mut w, applied.position);
        w.bytes(&applied.membership);
        put_position(&mut w, applied.membership_position);
        w.i64(applied.revision.0);
        w.i64(applied.compact_revision.0);
        w.u128(applied.hash);
        w.i64(applied.time_ms);
        w.u64(u64::from(applied.feature_level));
        w.u64(self.files.len() as u64);
        for file in &self.files {
            w.bytes(file.name.as_bytes());
            w.u64(file.len);
            w.u64(u64::from(file.crc32c));
        }
        let crc = crc32c::crc32c(w.as_slice());
        w.tail(&crc.to_be_bytes());
        w.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let what = "snapshot description";
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(DecodeError::Truncated { what });
        };
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return Err(DecodeError::Malformed { what, reason: "the checksum is wrong" });
        }
        let mut r = Reader::new(bytes.slice(..body.len()), what);
        let format = r.u8()?;
        if format != FORMAT {
            return Err(r.unknown_version(format));
        }
        let applied = Applied {
            position: get_position(&mut r)?,
            membership: r.bytes()?,
            membership_position: get_position(&mut r)?,
            revision: Revision(r.i64()?),
            compact_revision: Revision(r.i64()?),
            hash: r.u128()?,
            time_ms: r.i64()?,
            feature_level: u32::try_from(r.u64()?).map_err(|_| r.malformed("the feature level"))?,
        };
        let count = r.count()?;
        if count > FILES_MAX {
            return Err(r.malformed("too many files"));
        }
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let name = r.string()?;
            // It becomes a path at the receiver.
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(r.malformed("a file's name is not a plain name"));
            }
            let len = r.u64()?;
            let crc32c = u32::try_from(r.u64()?).map_err(|_| r.malformed("a checksum"))?;
            files.push(SnapshotFile { name, len, crc32c });
        }
        r.end()?;
        Ok(Self { applied, files })
    }

    /// Reads the description of the snapshot in `dir`.
    pub fn read(dir: &Path) -> Result<Self, Fault> {
        let raw = fs::read(dir.join(SNAPSHOT_FILE)).map_err(EngineError::from)?;
        Self::decode(raw.into()).map_err(|error| Fault::Snapshot(error.to_string()))
    }
}

/// Makes a snapshot in the new directory `dir`.
pub(super) fn write(engine: &dyn Engine, dir: &Path) -> Result<SnapshotMeta, Fault> {
    let written = write_files(engine, dir);
    if written.is_err() {
        // Half a snapshot is worth nothing and holds disk space.
        let _ = fs::remove_dir_all(dir);
    }
    written
}

fn write_files(engine: &dyn Engine, dir: &Path) -> Result<SnapshotMeta, Fault> {
    engine.checkpoint(dir)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(EngineError::from)? {
        let name = entry.map_err(EngineError::from)?.file_name();
        names.push(name.into_string().map_err(|_| Fault::Io("a file's name is not UTF-8".into()))?);
    }
    names.sort_unstable();
    let mut files = Vec::new();
    for name in names {
        let (len, crc32c) = checksum(&dir.join(&name))?;
        files.push(SnapshotFile { name, len, crc32c });
    }
    // What the checkpoint really contains may be newer than what was applied when it was asked for.
    let mut applied = Err(EngineError::Io("the checkpoint was not read".into()));
    engine.inspect(dir, &mut |view| applied = State::load(view).map(|mut state| state.applied()))?;
    let meta = SnapshotMeta { applied: applied?, files };
    fs::write(dir.join(SNAPSHOT_FILE), meta.encode()).map_err(EngineError::from)?;
    for path in [&dir.join(SNAPSHOT_FILE), dir] {
        File::open(path).and_then(|file| file.sync_all()).map_err(EngineError::from)?;
    }
    Ok(meta)
}

/// Checks every file against the description, and the hash against the content.
pub(super) fn verify(engine: &dyn Engine, dir: &Path) -> Result<SnapshotMeta, Fault> {
    let meta = SnapshotMeta::read(dir)?;
    for file in &meta.files {
        let (len, crc32c) = checksum(&dir.join(&file.name))?;
        if (len, crc32c) != (file.len, file.crc32c) {
            return Err(Fault::Snapshot(format!("file {} is damaged", file.name)));
        }
    }
    remove_strangers(dir, &meta)?;
    let mut applied = Err(EngineError::Io("the snapshot was not read".into()));
    let read = engine.inspect(dir, &mut |view| {
        applied = State::load(view).and_then(|mut state| {
            state.verify(view, &mut |_| {})?;
            Ok(state.applied())
        });
    });
    match read.and(applied) {
        Ok(applied) if applied == meta.applied => Ok(meta),
        Ok(_) => Err(Fault::Snapshot("its content is not what its description says".into())),
        Err(EngineError::Corrupt(what)) => Err(Fault::Snapshot(what)),
        Err(error) => Err(error.into()),
    }
}

/// Removes files that the description does not name: the engine might read them.
fn remove_strangers(dir: &Path, meta: &SnapshotMeta) -> Result<(), Fault> {
    for entry in fs::read_dir(dir).map_err(EngineError::from)? {
        let entry = entry.map_err(EngineError::from)?;
        let name = entry.file_name();
        let known = name == SNAPSHOT_FILE || meta.files.iter().any(|file| name == file.name.as_str());
        if !known {
            fs::remove_file(entry.path()).map_err(EngineError::from)?;
        }
    }
    Ok(())
}

fn checksum(path: &Path) -> Result<(u64, u32), EngineError> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut len, mut crc) = (0, 0);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((len, crc));
        }
        len += n as u64;
        crc = crc32c::crc32c_append(crc, &buffer[..n]);
    }
}
