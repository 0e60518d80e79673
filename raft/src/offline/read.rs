//! The entries of a member's log.

use std::path::Path;
use std::sync::Arc;

use trireme_store::log::Entry;

use crate::identity::{DataDir, IdentityError};
use crate::log::{Log, LogConfig, OpenError, OsDir};
use crate::machine::store_entry;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error("entry {index} cannot be read: {reason}")]
    Entry { index: u64, reason: String },
}

/// The entries of the log in a member's data directory, from the first that was not purged to the
/// last that it knew to be agreed on. No process may have the directory.
pub fn read_log(data_dir: &Path, cluster: &str) -> Result<Vec<Entry>, ReadLogError> {
    if !data_dir.is_dir() {
        return Err(OpenError::Missing.into());
    }
    let dir = DataDir::open(data_dir, cluster)?;
    let files = OsDir::open(dir.path.join("log")).map_err(OpenError::Io)?;
    let member = dir.identity.member.0;
    let config = LogConfig { make: false, ..LogConfig::new(crate::cluster_id(cluster), member) };
    let log = Log::open(Arc::new(files), config)?;
    let committed = log.committed().map_or(0, |id| id.index + 1);
    let mut entries = Vec::new();
    let mut next = 0;
    while next < committed {
        let piece = log.read(next, committed).map_err(OpenError::Io)?;
        let Some(last) = piece.last() else { break };
        next = last.log_id.index + 1;
        for entry in &piece {
            let index = entry.log_id.index;
            let entry = store_entry(entry)
                .map_err(|error| ReadLogError::Entry { index, reason: error.to_string() })?;
            entries.push(entry);
        }
    }
    Ok(entries)
}
