//! A stopped member whose data is not whole: what is lost of it.
//!
//! ```text
//!   <data>/state ──links──► <scratch>    every record, past the damage ([`trireme_store::Lost`])
//!   <data>/log   ──read───► runs of whole frames
//!                             below what the state has  costs nothing
//!                             up to the first damage above it  counts, and is applied to a copy
//!                             behind that  is not applied: a write there may rest on one that is gone
//! ```

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;
use trireme_store::engine::{EngineError, View};
use trireme_store::log::{Command, CommandOp, Entry, EntryBody};
use trireme_store::{Applied, Lost, Op, Store, TxnRequest};

use super::stopped::{OpenCopy, Stopped, Survey, hold, members, noted};
use super::{OfflineError, Work};
use crate::log::{Log, OpenError, OsDir};
use crate::machine::store_entry;
use crate::types::MemberId;

/// Shows what can be read of the damaged state in the first directory, through a copy in the second:
/// all of it, and the files alone that are whole.
pub type ReadDamaged<'a> =
    &'a dyn Fn(&Path, &Path, &mut dyn FnMut(&dyn View, &dyn View)) -> Result<(), EngineError>;

/// What is lost of a member.
pub struct Damaged {
    pub cluster: String,
    pub member: MemberId,
    /// `Err`: nothing of the state can be read, and why.
    pub state: Result<Lost, String>,
    pub log: DamagedLog,
    /// Damage or divergence that the member itself had noted.
    pub noted: Option<String>,
    /// The member as it is without what is lost of its log; `None` where its state is damaged. What the
    /// log knew of votes is left out.
    pub rest: Option<Stopped>,
}

/// What is lost of a member's log.
#[derive(Debug, Default)]
pub struct DamagedLog {
    /// There is none: what it had beyond the state is not known.
    pub is_missing: bool,
    /// Where it is damaged, and how.
    pub damage: Vec<String>,
    /// The last entry that counts: of the log, or, where that ends before, of the state.
    pub last: Option<u64>,
    /// The last entry that the member knew to be agreed on.
    pub committed: Option<u64>,
    /// Entries after that which cannot be read.
    pub gone: Vec<RangeInclusive<u64>>,
    /// Entries that can be read, and may rest on those.
    pub behind: u64,
    /// What they were to write, and the last of them that was.
    pub behind_writes: BTreeMap<Written, u64>,
    /// Damage follows entries that count: it may have voided some of them, and there may have been others in
    /// their place.
    pub may_be_void: bool,
    /// What entries write that count and that the state on the disk lacks.
    pub writes: BTreeMap<Written, u64>,
    /// The state with every entry that counts, where the state is whole.
    pub applied: Option<Applied>,
}

/// A key, or the keys from one to another, by the rules of a request's range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    pub key: Bytes,
    pub end: Bytes,
}

impl DamagedLog {
    /// Whether every entry counts that the state does not have.
    pub fn is_whole(&self) -> bool {
        !self.is_missing && self.gone.is_empty() && self.behind == 0 && !self.may_be_void
    }
}

impl Damaged {
    /// Looks at the member in `data_dir`, with room for copies in the new directory `scratch`.
    ///
    /// # Errors
    /// Not for damage.
    pub fn look(
        data_dir: &Path,
        scratch: &Path,
        read_damaged: ReadDamaged<'_>,
        open_copy: OpenCopy<'_>,
        progress: &mut dyn FnMut(Work),
    ) -> Result<Self, OfflineError> {
        let (identity, dir) = hold(data_dir, scratch)?;
        let from = data_dir.join("state");
        let mut found = None;
        let read = read_damaged(&from, &scratch.join("damaged"), &mut |view, whole| {
            found = Some(Lost::find(view, whole, &mut |bytes| progress(Work::Checked { bytes })));
        });
        let state = match (read, found) {
            (Ok(()), Some(lost)) => Ok(lost),
            (Err(error), _) => Err(error.to_string()),
            (Ok(()), None) => Err("it was not read".to_owned()),
        };
        let is_whole = state.as_ref().is_ok_and(Lost::is_nothing);
        let store = is_whole.then(|| Store::open(open_copy(&from, &scratch.join("state"))?)).transpose()?;
        let position = state.as_ref().ok().and_then(|lost| lost.applied.as_ref()?.position);
        let known = state.as_ref().is_ok_and(|lost| lost.applied.is_some());
        let next = known.then(|| position.map_or(0, |at| at.index + 1));
        let on_disk = store.as_ref().map(Store::applied);
        let mut log = look_at_log(&data_dir.join("log"), next, &mut |entries| match &store {
            Some(store) => store.apply(entries).map(drop).map_err(io::Error::other),
            None => Ok(()),
        })
        .map_err(OpenError::Io)?;
        log.applied = store.as_ref().map(Store::applied);
        let (cluster, member, noted) = (identity.cluster, identity.member, noted(data_dir));
        let mut rest = None;
        if let (Some(store), Some(on_disk)) = (store, on_disk) {
            let applied = store.applied();
            let survey = Survey {
                cluster: cluster.clone(),
                member,
                term: 0,
                voted_for: None,
                last: applied.position.map_or((0, 0), |at| (at.term, at.index)),
                committed: log.committed.unwrap_or(0),
                on_disk,
                members: members(&applied)?,
                applied,
                noted: noted.clone(),
            };
            rest = Some(Stopped { survey, store, _dir: dir });
        }
        Ok(Self { cluster, member, state, log, noted, rest })
    }

    /// Whether everything is there after all.
    pub fn is_nothing(&self) -> bool {
        self.state.as_ref().is_ok_and(Lost::is_nothing) && self.log.is_whole()
    }
}

/// `next` is the first entry that the state lacks, if that is known. The entries that count from there on
/// are shown to `apply`.
fn look_at_log(
    dir: &Path,
    next: Option<u64>,
    apply: &mut dyn FnMut(Vec<Entry>) -> io::Result<()>,
) -> io::Result<DamagedLog> {
    let mut found = DamagedLog::default();
    let first = next.unwrap_or(0);
    found.last = first.checked_sub(1);
    // To open it would make it.
    let salvaged = if dir.is_dir() { Log::salvage(&OsDir::open(dir)?)? } else { None };
    let Some(salvaged) = salvaged else {
        found.is_missing = true;
        found.damage.push(OpenError::Missing.to_string());
        return Ok(found);
    };
    found.damage = salvaged.damage.iter().map(ToString::to_string).collect();
    found.committed = salvaged.committed;
    let mut runs = salvaged.runs;
    // The newest run that begins no later than what the state lacks has all of that which counts.
    // Where the state's end is not known the oldest is what there is.
    let base = match next {
        Some(_) => runs.iter().rposition(|run| run.first_index() <= first),
        None => (!runs.is_empty()).then_some(0),
    };
    let behind = runs.split_off(base.map_or(0, |base| base + 1));
    // Of what the state has nothing is ever voided.
    let counts = base.and_then(|_| runs.last()).is_some_and(|run| run.next_index() > first);
    found.may_be_void =
        salvaged.ends_in_damage && salvaged.known_next > first || counts && !behind.is_empty();
    let mut next = first;
    if let Some(run) = base.and_then(|_| runs.pop()) {
        run.read(first, &mut |entries| {
            let entries = store_entries(&entries)?;
            note_writes(&entries, &mut found.writes);
            apply(entries)
        })?;
        next = next.max(run.next_index());
        found.last = next.checked_sub(1);
    }
    for run in &behind {
        if run.first_index() > next {
            found.gone.push(next..=run.first_index() - 1);
        }
        run.read(next, &mut |entries| {
            found.behind += entries.len() as u64;
            note_writes(&store_entries(&entries)?, &mut found.behind_writes);
            io::Result::Ok(())
        })?;
        next = next.max(run.next_index());
    }
    if salvaged.known_next > next {
        found.gone.push(next..=salvaged.known_next - 1);
    }
    Ok(found)
}

fn store_entries(entries: &[crate::types::Entry]) -> io::Result<Vec<Entry>> {
    entries.iter().map(|entry| store_entry(entry).map_err(io::Error::other)).collect()
}

fn note_writes(entries: &[Entry], writes: &mut BTreeMap<Written, u64>) {
    for entry in entries {
        if let EntryBody::Command(Command { op: CommandOp::Txn(txn), .. }) = &entry.body {
            note_txn(txn, entry.at.index, writes);
        }
    }
}

/// Both branches: which of them ran, the state before would say.
fn note_txn(txn: &TxnRequest, index: u64, writes: &mut BTreeMap<Written, u64>) {
    for op in txn.success.iter().chain(&txn.failure) {
        let written = match op {
            Op::Put(put) => Written { key: put.key.clone(), end: Bytes::new() },
            Op::Delete(delete) => Written { key: delete.range.start.clone(), end: delete.range.end.clone() },
            Op::Txn(txn) => {
                note_txn(txn, index, writes);
                continue;
            }
            Op::Range(_) => continue,
        };
        writes.insert(written, index);
    }
}
