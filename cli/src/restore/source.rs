//! What is restored from, opened as a store that can be read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use trireme_raft::{Identity, OfflineError, Stopped};
use trireme_store::engine::{Engine, EngineError, RocksEngine, RocksOptions, View};
use trireme_store::{Revision, SNAPSHOT_FILE, Store};

use super::archive::{self, BackupOptions};
use super::point::Point;
use super::progress::Progress;
use crate::server::STORE_DIR;

/// What the third and fourth word of an etcd database say, after the page's own header.
const BOLT_MAGIC: [u8; 4] = 0xED0C_DAEDu32.to_le_bytes();
const BOLT_MAGIC_AT: usize = 16;

/// A place that holds an old cluster's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The data directory of a master that does not run.
    Member(PathBuf),
    /// A directory with a snapshot of the state.
    Snapshot(PathBuf),
    /// A backup that follows a cluster, in a folder or a bucket.
    Archive(String),
    /// A backup in a single file.
    File(PathBuf),
}

/// The old state, ready to be read.
pub(super) struct Opened {
    pub(super) store: Store,
    /// The revision to take; `None`: the newest.
    pub(super) at: Option<Revision>,
    /// The highest revision that the source knows of.
    pub(super) seen: Revision,
    /// Keeps a stopped member from being started meanwhile.
    _stopped: Option<Stopped>,
}

impl Source {
    /// Finds out what `from` is.
    pub(super) fn find(from: &str) -> Result<Source> {
        if from.contains("://") {
            return Ok(Source::Archive(from.to_owned()));
        }
        let path = Path::new(from);
        if path.is_file() {
            if is_etcd(path)? {
                bail!(
                    "{from} is an etcd's database: start a new cluster and run `trireme import etcd --file {from}`, \
                     which converts what differs"
                );
            }
            return Ok(Source::File(path.to_owned()));
        }
        if !path.is_dir() {
            bail!("{from} is not there");
        }
        for dir in [path.to_owned(), path.join(STORE_DIR)] {
            if Identity::read(&dir)?.is_some() {
                return Ok(Source::Member(dir));
            }
        }
        if path.join(SNAPSHOT_FILE).exists() {
            return Ok(Source::Snapshot(path.to_owned()));
        }
        Ok(Source::Archive(crate::up::absolute(path)?.display().to_string()))
    }

    /// Makes the state readable, in the new directory `scratch` where it needs room.
    pub(super) fn open(
        &self,
        point: Point,
        backup: &BackupOptions,
        scratch: &Path,
        progress: &mut Progress,
    ) -> Result<Opened> {
        match self {
            Source::Archive(from) => {
                let state = made_dir(scratch)?.join("state");
                let seen = archive::materialize(from, backup, point, &state, progress)?;
                // It is the state at that point already.
                let mut opened = Opened::of(open_state(&state)?, Point::Newest, None)?;
                opened.seen = opened.seen.max(seen);
                Ok(opened)
            }
            Source::File(path) => {
                let state = made_dir(scratch)?.join("state");
                archive::unpack(path, backup, &state, progress)?;
                Opened::of(open_state(&state)?, point, None)
            }
            Source::Member(dir) => {
                let stopped = Stopped::open(dir, scratch, &open_copy, false, &mut |work| progress.did(work));
                let stopped = stopped.map_err(|error| explain(dir, error))?;
                let store = stopped.store.clone();
                Opened::of(store, point, Some(stopped))
            }
            Source::Snapshot(dir) => {
                let copy = made_dir(scratch)?.join("snapshot");
                RocksEngine::copy_checkpoint(dir, &copy).with_context(|| dir.display().to_string())?;
                let store = open_state(&scratch.join("state"))?;
                store.install(&copy).with_context(|| dir.display().to_string())?;
                Opened::of(store, point, None)
            }
        }
    }
}

impl Opened {
    fn of(store: Store, point: Point, stopped: Option<Stopped>) -> Result<Opened> {
        let at = point.within(&store)?;
        Ok(Opened { seen: store.revision(), store, at, _stopped: stopped })
    }
}

fn made_dir(dir: &Path) -> Result<&Path> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

fn open_state(dir: &Path) -> Result<Store> {
    Ok(Store::open(Arc::new(RocksEngine::open(dir, RocksOptions::default())?))?)
}

/// A copy of a state, for [`Stopped`].
pub(crate) fn open_copy(from: &Path, to: &Path) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(Arc::new(RocksEngine::open_copy(from, to, RocksOptions::default())?))
}

/// What is left of a damaged state, for [`trireme_raft::Damaged`].
pub(crate) fn read_damaged(
    from: &Path,
    to: &Path,
    reader: &mut dyn FnMut(&dyn View, &dyn View),
) -> Result<(), EngineError> {
    RocksEngine::inspect_damaged(from, to, RocksOptions::default(), reader)
}

/// What to do about a member's data that cannot be taken.
pub(crate) fn explain(dir: &Path, error: OfflineError) -> anyhow::Error {
    let hint = match &error {
        OfflineError::Identity(trireme_raft::IdentityError::Locked { .. }) => "; stop its master first",
        error if error.is_damage() => {
            "; take another master's data, or a backup (`trireme member recover` on this one says what is lost)"
        }
        _ => "",
    };
    anyhow::anyhow!("{}: {error}{hint}", dir.display())
}

fn is_etcd(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.take((BOLT_MAGIC_AT + BOLT_MAGIC.len()) as u64).read_to_end(&mut head)?;
    Ok(head.get(BOLT_MAGIC_AT..).is_some_and(|magic| magic == BOLT_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_source_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let find = |name: &str| {
            let path = dir.path().join(name);
            Source::find(path.to_str().unwrap()).map_err(|error| error.to_string())
        };
        assert!(find("absent").unwrap_err().contains("is not there"));
        assert!(matches!(find("").unwrap(), Source::Archive(_)));
        assert_eq!(Source::find("s3://bucket/x").unwrap(), Source::Archive("s3://bucket/x".into()));
        let mut bolt = vec![0; 4096];
        bolt[BOLT_MAGIC_AT..BOLT_MAGIC_AT + 4].copy_from_slice(&BOLT_MAGIC);
        std::fs::write(dir.path().join("etcd.db"), bolt).unwrap();
        assert!(find("etcd.db").unwrap_err().contains("trireme import etcd --file"));
        std::fs::write(dir.path().join("text"), "x").unwrap();
        assert!(matches!(find("text").unwrap(), Source::File(_)));
        std::fs::create_dir_all(dir.path().join("data/store")).unwrap();
        let identity = "format = 1\ncluster = blue\nmember = 00000000000000ab\n";
        std::fs::write(dir.path().join("data/store/IDENTITY"), identity).unwrap();
        assert_eq!(find("data").unwrap(), Source::Member(dir.path().join("data/store")));
        assert_eq!(find("data/store").unwrap(), Source::Member(dir.path().join("data/store")));
        std::fs::write(dir.path().join(SNAPSHOT_FILE), "").unwrap();
        assert_eq!(find("").unwrap(), Source::Snapshot(dir.path().to_owned().join("")));
    }
}
