//! The mark on a directory whose making was begun: whoever finds it there starts nothing on what may
//! be half a cluster.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::pki::write_public;

/// Holds what was begun, and the command to run again. Written first, removed last.
const FILE: &str = "UNFINISHED";

/// What was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// All that is in the directory was made by it and is made again.
    Restore,
    /// The directory holds what may be the only copy there is.
    Recovery,
}

impl Begun {
    fn word(self) -> &'static str {
        match self {
            Begun::Restore => "restore",
            Begun::Recovery => "recovery",
        }
    }
}

/// Marks `dir`, durable on return. What was noted by one who did not finish is replaced.
pub(crate) fn mark(dir: &Path, begun: Begun) -> Result<()> {
    let line: Vec<String> = std::env::args().map(|word| quoted(&word)).collect();
    write_public(&dir.join(FILE), format!("{}\n{}\n", begun.word(), line.join(" ")).as_bytes())?;
    sync(dir)
}

/// Everything is there, and on the disk: takes the mark away, if there is one.
pub(crate) fn clear(dir: &Path) -> Result<()> {
    sync(dir)?;
    let path = dir.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => sync(dir),
    }
}

/// Whether this was begun in `dir` and not finished.
pub(crate) fn is_marked(dir: &Path, begun: Begun) -> bool {
    std::fs::read_to_string(dir.join(FILE)).is_ok_and(|text| text.lines().next() == Some(begun.word()))
}

/// Names what is in `dir` beside the mark, if there is something.
pub(crate) fn content(dir: &Path) -> Result<Option<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", dir.display())),
    };
    for entry in entries {
        let name = entry.with_context(|| format!("read {}", dir.display()))?.file_name();
        if name != FILE {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// An error that says what to do, where the work on `dir` was interrupted.
pub(crate) fn refuse(dir: &Path) -> Result<()> {
    let path = dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        Ok(text) => bail!(
            "the {} in {} was interrupted before its end; run again: {}",
            text.lines().next().unwrap_or_default(),
            dir.display(),
            text.lines().nth(1).unwrap_or_default()
        ),
    }
}

pub(crate) fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("sync {}", dir.display()))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_refused_until_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse(dir.path()).is_ok() && !is_marked(dir.path(), Begun::Restore));
        mark(dir.path(), Begun::Restore).unwrap();
        let text = refuse(dir.path()).unwrap_err().to_string();
        assert!(text.contains("the restore in") && text.contains("run again: "), "{text}");
        assert!(is_marked(dir.path(), Begun::Restore) && !is_marked(dir.path(), Begun::Recovery));
        assert_eq!(content(dir.path()).unwrap(), None);
        std::fs::write(dir.path().join("store"), "").unwrap();
        assert_eq!(content(dir.path()).unwrap().as_deref(), Some("store"));
        clear(dir.path()).unwrap();
        assert!(refuse(dir.path()).is_ok() && !is_marked(dir.path(), Begun::Restore));
        assert_eq!(content(&dir.path().join("absent")).unwrap(), None);
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("--at=2026-11-20T10:42:00Z"), "--at=2026-11-20T10:42:00Z");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(quoted(""), "''");
    }
}
