//! Whose a data directory is, and that one process at a time has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::types::MemberId;

/// Version of the data directory's layout.
const FORMAT: u32 = 1;
const IDENTITY: &str = "IDENTITY";
/// The identity of a directory that is being made.
const DRAFT: &str = "IDENTITY.new";
const LOCK: &str = "LOCK";
/// In a directory from the beginning until a membership that was agreed on has its member.
pub(crate) const NEWCOMER: &str = "NEWCOMER";

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the data directory {dir} belongs to cluster {found:?}, not {expected:?}")]
    OtherCluster { dir: PathBuf, found: String, expected: String },
    #[error(
        "the data directory {dir} has format {found}, and this version of trireme knows formats up to {known}"
    )]
    Newer { dir: PathBuf, found: u32, known: u32 },
    #[error("the data directory {dir} is in use by another process")]
    Locked { dir: PathBuf },
    #[error("{path} cannot be read: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// What a data directory says of itself. Final once what belongs to it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    pub member: MemberId,
    /// The directory was made by this call: it has never voted.
    pub fresh: bool,
}

impl Identity {
    /// What the directory says of itself, whosever it is; `None` where no member has lived.
    pub fn read(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(IDENTITY);
        match std::fs::read_to_string(&path) {
            Ok(text) => parse_identity(dir, &path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }
}

/// A data directory that this process has for itself while the value lives.
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    _lock: File,
}

impl DataDir {
    /// Opens `path` for `cluster`, or makes it with a member id drawn at random.
    pub(crate) fn open(path: &Path, cluster: &str) -> Result<Self, IdentityError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Io { path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error(path))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io_error(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::Locked { dir: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io_error(&lock_path)(error)),
        }
        let file = path.join(IDENTITY);
        let identity = match std::fs::read_to_string(&file) {
            Ok(text) => read_identity(path, &file, &text, cluster)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => draft(path, cluster)?,
            Err(error) => return Err(io_error(&file)(error)),
        };
        Ok(Self { path: path.to_owned(), identity, _lock: lock })
    }

    /// Makes a fresh identity final, once everything that belongs to it is there. A crash before
    /// leaves the draft, and the next start goes on with it.
    pub(crate) fn settle(&self) -> Result<(), IdentityError> {
        if !self.identity.fresh {
            return Ok(());
        }
        let file = self.path.join(IDENTITY);
        let mark = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(NEWCOMER));
        mark.and_then(|_| std::fs::rename(self.path.join(DRAFT), &file))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|source| IdentityError::Io { path: file, source })
    }
}

/// The draft that an interrupted start left, or a new one.
fn draft(dir: &Path, cluster: &str) -> Result<Identity, IdentityError> {
    let file = dir.join(DRAFT);
    if let Ok(text) = std::fs::read_to_string(&file)
        && text.ends_with('\n')
        && let Ok(identity) = read_identity(dir, &file, &text, cluster)
    {
        return Ok(Identity { fresh: true, ..identity });
    }
    write_draft(dir, &file, cluster).map_err(|source| IdentityError::Io { path: file, source })
}

fn read_identity(dir: &Path, file: &Path, text: &str, cluster: &str) -> Result<Identity, IdentityError> {
    let identity = parse_identity(dir, file, text)?;
    if identity.cluster != cluster {
        return Err(IdentityError::OtherCluster {
            dir: dir.to_owned(),
            found: identity.cluster,
            expected: cluster.into(),
        });
    }
    Ok(identity)
}

fn parse_identity(dir: &Path, file: &Path, text: &str) -> Result<Identity, IdentityError> {
    let malformed = |reason: &str| IdentityError::Malformed { path: file.to_owned(), reason: reason.into() };
    let field = |name: &str| {
        let prefix = format!("{name} = ");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .ok_or_else(|| malformed(&format!("no {name}")))
    };
    let format: u32 = field("format")?.parse().map_err(|_| malformed("format is no number"))?;
    if format > FORMAT {
        return Err(IdentityError::Newer { dir: dir.to_owned(), found: format, known: FORMAT });
    }
    let found = field("cluster")?;
    let member = u64::from_str_radix(field("member")?, 16)
        .map_err(|_| malformed("member is no hexadecimal number"))?;
    Ok(Identity { cluster: found.into(), member: MemberId(member), fresh: false })
}

fn write_draft(dir: &Path, file: &Path, cluster: &str) -> io::Result<Identity> {
    if cluster.is_empty() || cluster.contains(['\n', '\r']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the cluster's name must be one line"));
    }
    // Zero means "no member", and etcd's clients print ids as signed numbers in places.
    let member = MemberId((rand::random::<u64>() >> 1).max(1));
    let text = format!("format = {FORMAT}\ncluster = {cluster}\nmember = {member}\n");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(Identity { cluster: cluster.into(), member, fresh: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity_and_refuses_others() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), "blue").unwrap();
        assert!(first.identity.fresh);
        assert!(matches!(DataDir::open(dir.path(), "blue"), Err(IdentityError::Locked { .. })));
        let member = first.identity.member;
        drop(first);
        // Interrupted before it was final: the same member goes on.
        let again = DataDir::open(dir.path(), "blue").unwrap();
        assert_eq!(again.identity, Identity { cluster: "blue".into(), member, fresh: true });
        again.settle().unwrap();
        drop(again);
        let again = DataDir::open(dir.path(), "blue").unwrap();
        assert_eq!(again.identity, Identity { cluster: "blue".into(), member, fresh: false });
        drop(again);
        assert!(matches!(DataDir::open(dir.path(), "red"), Err(IdentityError::OtherCluster { .. })));
        let file = dir.path().join(IDENTITY);
        std::fs::write(&file, "format = 9\ncluster = blue\nmember = 1\n").unwrap();
        assert!(matches!(DataDir::open(dir.path(), "blue"), Err(IdentityError::Newer { found: 9, .. })));
        std::fs::write(&file, "format = 1\ncluster = blue\n").unwrap();
        assert!(matches!(DataDir::open(dir.path(), "blue"), Err(IdentityError::Malformed { .. })));
    }
}
