//! The members that a new cluster begins with, out of an old state.
//!
//! Each has an identity, an empty log, and a state that says that entry 1 named the members: to
//! raft, a cluster whose log was purged once. So no member takes part by mistake that lacks the
//! state: one with an empty directory learns like any other that comes later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use trireme_store::log::LogPosition;
use trireme_store::{Rebirth, Reborn, Store};

use super::{OfflineError, Work};
use crate::codec;
use crate::identity::DataDir;
use crate::log::{Log, LogConfig, OsDir};
use crate::replica::OpenEngine;
use crate::types::{MemberId, MemberNode, Membership};

/// The entry of the new cluster's log that its state ends with; none has it.
const POSITION: LogPosition = LogPosition { term: 0, node_id: 0, index: 1 };

/// A member to be made.
#[derive(Clone, Debug)]
pub struct Founder {
    /// Where its data will be; made here, and refused if there is something in it.
    pub data_dir: PathBuf,
    pub node: MemberNode,
}

/// Makes the members of a new cluster in their data directories, all with one state. Durable on
/// return; what an interruption leaves must be removed and made again.
///
/// # Errors
/// [`OfflineError::State`] with `Corrupt` where the old state is damaged.
pub fn found(
    source: &Store,
    cluster: &str,
    founders: &[Founder],
    rebirth: Rebirth,
    open_engine: &OpenEngine,
    progress: &mut dyn FnMut(Work),
) -> Result<Reborn, OfflineError> {
    let mut dirs = Vec::new();
    for founder in founders {
        refuse_content(&founder.data_dir)?;
        dirs.push(DataDir::open(&founder.data_dir, cluster)?);
    }
    let membership = membership(&dirs, founders)?;
    let rebirth = Rebirth { membership, position: POSITION, ..rebirth };
    let (first, others) = dirs.split_first().expect("a cluster has a member");
    let state = first.path.join("state");
    let engine = open_engine(&state)?;
    let made =
        source.reborn(&*engine, &rebirth, &mut |keys, bytes| progress(Work::Written { keys, bytes }))?;
    // Closed before it is copied.
    drop(engine);
    for (n, dir) in others.iter().enumerate() {
        copy_tree(&state, &dir.path.join("state"))?;
        progress(Work::Copied { members: n + 1, of: others.len() });
    }
    for dir in &dirs {
        let store = Store::open(open_engine(&dir.path.join("state"))?)?;
        if store.applied() != made.applied {
            let reason = "its state is not what was written".to_owned();
            return Err(OfflineError::NotEmpty { dir: dir.path.clone(), reason });
        }
        drop(store);
        make_log(&dir.path, cluster, dir.identity.member)?;
        sync_tree(&dir.path)?;
        dir.settle()?;
    }
    Ok(made)
}

fn refuse_content(dir: &Path) -> Result<(), OfflineError> {
    let reason = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OfflineError::io(dir)(error)),
        Ok(mut entries) => match entries.next() {
            None => return Ok(()),
            Some(_) => "is not empty: a new cluster begins in an empty directory".to_owned(),
        },
    };
    Err(OfflineError::NotEmpty { dir: dir.to_owned(), reason })
}

fn membership(dirs: &[DataDir], founders: &[Founder]) -> Result<Bytes, OfflineError> {
    let ids = dirs.iter().map(|dir| dir.identity.member);
    let nodes: BTreeMap<MemberId, MemberNode> =
        ids.zip(founders).map(|(id, founder)| (id, founder.node.clone())).collect();
    let voters: BTreeSet<MemberId> = nodes.keys().copied().collect();
    let membership =
        Membership::new(vec![voters], nodes).map_err(|error| OfflineError::Membership(error.to_string()))?;
    Ok(codec::encode_membership(&membership))
}

fn make_log(dir: &Path, cluster: &str, member: MemberId) -> Result<(), OfflineError> {
    let path = dir.join("log");
    let files = OsDir::open(path.clone()).map_err(OfflineError::io(&path))?;
    let config = LogConfig { reserve_bytes: 0, ..LogConfig::new(crate::cluster_id(cluster), member.0) };
    // Its threads end with it.
    drop(Log::open(Arc::new(files), config)?);
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), OfflineError> {
    std::fs::create_dir_all(to).map_err(OfflineError::io(to))?;
    for entry in std::fs::read_dir(from).map_err(OfflineError::io(from))? {
        let (source, name) = entry.map(|e| (e.path(), e.file_name())).map_err(OfflineError::io(from))?;
        let target = to.join(name);
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(OfflineError::io(&source))?;
        }
    }
    Ok(())
}

fn sync_tree(dir: &Path) -> Result<(), OfflineError> {
    for entry in std::fs::read_dir(dir).map_err(OfflineError::io(dir))? {
        let path = entry.map_err(OfflineError::io(dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(OfflineError::io(&path))?;
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(OfflineError::io(dir))
}
