//! A stopped member, looked at through a copy: nothing of its own is changed.
//!
//! ```text
//!   <data>/state ──links──► <scratch>/state ◄──apply── every entry ◄── <scratch>/log ◄──copy── <data>/log
//! ```
//!
//! Entries past the known commit index are applied as well: a write may have been acknowledged after
//! the member last heard how far the others were.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trireme_store::engine::{Engine, EngineError};
use trireme_store::{Applied, Store};

use super::{OfflineError, Work};
use crate::codec;
use crate::identity::{DataDir, Identity};
use crate::log::{Log, LogConfig, OsDir};
use crate::machine::store_entry;
use crate::replica::{disk_check, marks};
use crate::types::{MemberId, MemberNode};

/// Entries applied at a time.
const APPLY_ENTRIES: u64 = 256;

/// Opens a copy, in the second directory, of the state in the first, which stays as it is.
pub type OpenCopy<'a> = &'a dyn Fn(&Path, &Path) -> Result<Arc<dyn Engine>, EngineError>;

/// What a member holds.
#[derive(Clone, Debug)]
pub struct Survey {
    pub cluster: String,
    pub member: MemberId,
    /// The newest term that it knows of, and whom it voted for in it.
    pub term: u64,
    pub voted_for: Option<MemberId>,
    /// Term and index of the last entry of its log.
    pub last: (u64, u64),
    /// The last entry that it knew to be agreed on.
    pub committed: u64,
    /// The state as it lies on the disk.
    pub on_disk: Applied,
    /// And after every entry of the log.
    pub applied: Applied,
    pub members: Vec<StoppedMember>,
    /// Damage or divergence that the member itself had noted.
    pub noted: Option<String>,
}

/// A member of the cluster as a stopped one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedMember {
    pub id: MemberId,
    pub node: MemberNode,
    pub votes: bool,
}

impl Survey {
    /// The surveyed member itself, if the cluster has it.
    pub fn own(&self) -> Option<&StoppedMember> {
        self.members.iter().find(|member| member.id == self.member)
    }

    /// The only voter there is.
    pub fn is_alone(&self) -> bool {
        self.members.iter().all(|member| member.id == self.member) && self.own().is_some_and(|own| own.votes)
    }
}

/// A copy of a stopped member's state, with everything in its log applied. No process can start the
/// member while this lives.
pub struct Stopped {
    pub survey: Survey,
    pub store: Store,
    pub(super) _dir: DataDir,
}

impl Stopped {
    /// Looks at the member in `data_dir` through a copy in the new directory `scratch`, on the same
    /// file system where links are to be cheap. With `check`, everything is read and checked at once;
    /// otherwise by who reads it.
    ///
    /// # Errors
    /// [`OfflineError::is_damage`] tells that the data is not whole.
    pub fn open(
        data_dir: &Path,
        scratch: &Path,
        open_copy: OpenCopy<'_>,
        check: bool,
        progress: &mut dyn FnMut(Work),
    ) -> Result<Self, OfflineError> {
        let (identity, dir) = hold(data_dir, scratch)?;
        let log = copy_log(data_dir, scratch, &identity)?;
        let store = Store::open(open_copy(&data_dir.join("state"), &scratch.join("state"))?)?;
        let on_disk = store.applied();
        apply(&store, &log, progress)?;
        if check {
            let pace = &mut |bytes| progress(Work::Checked { bytes });
            store.check_disk(&scratch.join("checkpoint"), pace)?;
        }
        let vote = log.vote();
        let applied = store.applied();
        let survey = Survey {
            cluster: identity.cluster.clone(),
            member: identity.member,
            term: vote.map_or(0, |vote| vote.leader_id.term),
            voted_for: vote.map(|vote| vote.leader_id.voted_for),
            last: log.last().map_or((0, 0), |id| (id.leader_id.term, id.index)),
            committed: log.committed().map_or(0, |id| id.index),
            on_disk,
            members: members(&applied)?,
            applied,
            noted: noted(data_dir),
        };
        Ok(Self { survey, store, _dir: dir })
    }
}

/// The stopped member in `data_dir`, which no process can start while this lives; `scratch` is made.
pub(super) fn hold(data_dir: &Path, scratch: &Path) -> Result<(Identity, DataDir), OfflineError> {
    let identity = Identity::read(data_dir)?.ok_or_else(|| OfflineError::NoMember(data_dir.to_owned()))?;
    let dir = DataDir::open(data_dir, &identity.cluster)?;
    std::fs::create_dir_all(scratch).map_err(OfflineError::io(scratch))?;
    Ok((identity, dir))
}

pub(super) fn noted(dir: &Path) -> Option<String> {
    let diverged = || "its state differed from that of a majority".to_owned();
    disk_check::noted(dir).or_else(|| marks::is_diverged(dir).then(diverged))
}

/// The log's files are copied: to open a log may cut its torn end.
fn copy_log(data_dir: &Path, scratch: &Path, identity: &Identity) -> Result<Log, OfflineError> {
    let (from, to) = (data_dir.join("log"), scratch.join("log"));
    std::fs::create_dir(&to).map_err(OfflineError::io(&to))?;
    for entry in std::fs::read_dir(&from).map_err(OfflineError::io(&from))? {
        let source: PathBuf = entry.map_err(OfflineError::io(&from))?.path();
        if let Some(name) = source.file_name().filter(|_| source.extension().is_some_and(|e| e == "log")) {
            std::fs::copy(&source, to.join(name)).map_err(OfflineError::io(&source))?;
        }
    }
    let files = OsDir::open(to.clone()).map_err(OfflineError::io(&to))?;
    let config = LogConfig {
        make: false,
        reserve_bytes: 0,
        ..LogConfig::new(crate::cluster_id(&identity.cluster), identity.member.0)
    };
    Ok(Log::open(Arc::new(files), config)?)
}

/// Applies every entry that the state lacks.
fn apply(store: &Store, log: &Log, progress: &mut dyn FnMut(Work)) -> Result<(), OfflineError> {
    let Some(last) = log.last() else { return Ok(()) };
    let end = last.index + 1;
    let first = store.applied().position.map_or(0, |position| position.index + 1);
    let mut next = first;
    while next < end {
        let piece = log.read(next, end.min(next + APPLY_ENTRIES)).map_err(crate::log::OpenError::Io)?;
        match piece.first() {
            Some(entry) if entry.log_id.index == next => {}
            found => {
                let purged = found.map_or(last.index, |entry| entry.log_id.index - 1);
                return Err(OfflineError::Hole { applied: next.saturating_sub(1), purged });
            }
        }
        let mut entries = Vec::with_capacity(piece.len());
        for entry in &piece {
            let index = entry.log_id.index;
            let entry = store_entry(entry)
                .map_err(|error| OfflineError::Entry { index, reason: error.to_string() })?;
            entries.push(entry);
            next = index + 1;
        }
        store.apply(entries)?;
        progress(Work::Entries { done: next - first, of: end - first });
    }
    Ok(())
}

pub(super) fn members(applied: &Applied) -> Result<Vec<StoppedMember>, OfflineError> {
    if applied.membership.is_empty() {
        return Ok(Vec::new());
    }
    let membership = codec::decode_membership(applied.membership.clone())
        .map_err(|error| OfflineError::Membership(error.to_string()))?;
    let voters: BTreeSet<MemberId> = membership.voter_ids().collect();
    let member = |(id, node): (&MemberId, &MemberNode)| StoppedMember {
        id: *id,
        node: node.clone(),
        votes: voters.contains(id),
    };
    Ok(membership.nodes().map(member).collect())
}
