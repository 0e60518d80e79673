//! What is lost of a damaged state, read past the damage.
//!
//! ```text
//!   every record that can be read ──► live keys, leases, fences …; stretches between them that cannot
//!   r: revision → key        ─┐
//!   a: lease ‖ key           ─┼─► a key named here whose newest version cannot be read is lost by name
//!   files that have no damage ┘
//!   hash of what was read = the one kept ──► nothing that is current is lost
//! ```
//!
//! A version older than the last compaction, in a damaged block, is named by nothing else: of what a
//! stretch may hold beyond the names, its bounds are known. What is told to be whole is: a key of which
//! a newer version may be in what cannot be read is told to be unsure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use super::Applied;
use super::dedup::Dedup;
use super::hash::Sum;
use super::state::{Lease, State, parse_lease};
use crate::engine::{EngineError, View};
use crate::history::{History, Overlay};
use crate::kv::{KeyValue, LeaseId, Revision};
use crate::layout::{self, Version};

/// Behind every table of the layout.
const END: &[u8] = &[u8::MAX];

/// What is lost of a state, and what is not.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// How far the state is; `None`: the record that says so is lost.
    pub applied: Option<Applied>,
    /// The same of the members' record, where it cannot be read.
    pub members_lost: bool,
    /// Live keys that were read, and are as they were.
    pub whole_keys: u64,
    /// Keys whose newest version is lost, in order. Further ones may be in [`Lost::gaps`].
    pub keys: Vec<LostKey>,
    /// Versions that are lost, of those that are named and that a newer one has followed.
    pub older: u64,
    /// In the order of the layout.
    pub gaps: Vec<Gap>,
    /// Leases that something names, and whose time to live is lost or not sure to be the newest.
    pub leases: Vec<LeaseId>,
    /// Scopes of fences whose epoch is not sure to be the newest.
    pub fences: Vec<String>,
    /// Keys that would not go with their lease any more.
    pub attachments: u64,
    /// Outcomes of proposals were remembered that are not any more: a client that sends a write again
    /// after an answer that it did not get may do it twice.
    pub outcomes_lost: bool,
    /// The hash of what was read: whether it is the one kept; `None` where not enough is left to tell.
    pub hash_is_right: Option<bool>,
}

/// A key whose newest version is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKey {
    pub key: Bytes,
    /// When it changed last, if that is known.
    pub revision: Option<Revision>,
    pub how: How,
}

/// How a key's newest version is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It lies in what cannot be read.
    Unreadable,
    /// Where it should be is nothing.
    Missing,
    /// A version was read, and a newer one may be in what cannot.
    Unsure,
}

/// A stretch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last record before it and the first after it.
    pub after: Option<Place>,
    pub before: Option<Place>,
    pub why: String,
    from: Vec<u8>,
    to: Vec<u8>,
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Key(Bytes, Revision),
    /// The record of which keys changed at a revision.
    Change(Revision),
    Attached(LeaseId, Bytes),
    Lease(LeaseId),
    Fence(Bytes),
    Time(i64),
    Outcome,
    /// Everything of which there is one.
    State,
}

impl Lost {
    /// Reads everything that can be read. `whole` shows the files alone that have no damage. `pace` is
    /// told of bytes as they are read.
    pub fn find(view: &dyn View, whole: &dyn View, pace: &mut dyn FnMut(u64)) -> Lost {
        let mut look = Look::new(view, whole);
        walk(view, &mut |seen| match seen {
            Seen::Record(stored, value) => {
                pace((stored.len() + value.len()) as u64);
                look.record(stored, value);
            }
            Seen::Gap { from, to, why } => look.gap(from, to, why),
        });
        look.judge()
    }

    /// Whether everything is as it was written.
    pub fn is_nothing(&self) -> bool {
        self.gaps.is_empty() && self.is_current_whole() && self.older == 0
    }

    /// Whether at least all that is current is: keys, leases, fences. What is lost then is history.
    pub fn is_current_whole(&self) -> bool {
        self.hash_is_right == Some(true) && !self.members_lost && self.attachments == 0
    }

    /// Whether keys may be lost that nothing names.
    pub fn hides_keys(&self) -> bool {
        self.hash_is_right != Some(true) && self.gaps.iter().any(|gap| gap.may_hold(layout::VERSIONS))
    }
}

impl Gap {
    fn may_hold(&self, table: u8) -> bool {
        self.overlaps(&[table], &[table + 1])
    }

    fn overlaps(&self, from: &[u8], to: &[u8]) -> bool {
        self.from[..] < *to && *from < self.to[..]
    }

    /// What records that cannot be read may have been about.
    pub fn holds(&self) -> Vec<&'static str> {
        let tables = [
            (layout::ATTACHED, "attachments of keys to leases"),
            (layout::CLIENTS, "forgotten proposals"),
            (layout::OUTCOMES, "outcomes of proposals"),
            (layout::FENCES, "fences"),
            (layout::VERSIONS, "keys"),
            (layout::LEASES, "leases"),
            (layout::META[0], "how far the state is, and its members"),
            (layout::REVISIONS, "which keys changed when"),
            (layout::SCRUBBED[0], "how far compaction is"),
            (layout::TIMES, "which revision was when"),
        ];
        tables.iter().filter(|(table, _)| self.may_hold(*table)).map(|(_, what)| *what).collect()
    }

    /// The keys around it, where it may hold keys; without one where all keys on that side are in it.
    pub fn keys(&self) -> Option<(Option<&Bytes>, Option<&Bytes>)> {
        fn key(place: Option<&Place>) -> Option<&Bytes> {
            match place {
                Some(Place::Key(key, _)) => Some(key),
                _ => None,
            }
        }
        self.may_hold(layout::VERSIONS).then(|| (key(self.after.as_ref()), key(self.before.as_ref())))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Key(key, revision) => write!(f, "{} at revision {revision}", key.escape_ascii()),
            Place::Change(revision) => write!(f, "the changes of revision {revision}"),
            Place::Attached(id, key) => write!(f, "{} attached to lease {:x}", key.escape_ascii(), id.0),
            Place::Lease(id) => write!(f, "lease {:x}", id.0),
            Place::Fence(scope) => write!(f, "the fence {}", scope.escape_ascii()),
            Place::Time(ms) => write!(f, "the revision of {ms} ms"),
            Place::Outcome => f.write_str("an outcome of a proposal"),
            Place::State => f.write_str("the record of the state"),
        }
    }
}

impl Place {
    fn of(stored: &[u8]) -> Result<Place, EngineError> {
        let numbered = || layout::parse_numbered(stored);
        Ok(match *stored.first().unwrap_or(&0) {
            layout::VERSIONS => {
                let (prefix, revision) = layout::split_version(stored)?;
                Place::Key(layout::unescape(prefix)?.into_owned().into(), revision)
            }
            layout::REVISIONS => Place::Change(layout::parse_revision_key(stored)?),
            layout::LEASES => Place::Lease(LeaseId(numbered()?.0 as i64)),
            layout::ATTACHED => {
                let (id, key) = numbered()?;
                Place::Attached(LeaseId(id as i64), Bytes::copy_from_slice(key))
            }
            layout::FENCES => Place::Fence(Bytes::copy_from_slice(&stored[1..])),
            layout::TIMES => Place::Time(numbered()?.0 as i64),
            layout::OUTCOMES | layout::CLIENTS => Place::Outcome,
            _ => Place::State,
        })
    }
}

/// What a walk past damage comes upon.
pub(super) enum Seen<'s> {
    Record(&'s [u8], &'s [u8]),
    /// Nothing from `from` up to `to` could be read.
    Gap {
        from: &'s [u8],
        to: &'s [u8],
        why: &'s str,
    },
}

/// Shows all records that can be read, in order, and where some cannot.
pub(super) fn walk(view: &dyn View, show: &mut dyn FnMut(Seen<'_>)) {
    let mut at = Vec::new();
    // A table that cannot be opened is an error even where nothing is left to be read.
    while at[..] < *END
        && let Err(error) = read(view, &mut at, END, show)
    {
        let piece = view.next_piece(&at).filter(|end| *end > at).unwrap_or_else(|| END.to_vec());
        // A cursor reads ahead, and in several files: before the damage there may be more.
        if read_piece(view, &mut at, &piece, show).is_err() {
            show(Seen::Gap { from: &at, to: &piece, why: &error.to_string() });
        }
        at = piece;
    }
}

/// Shows the records from `at` on; `at` follows behind the last one shown.
fn read(
    view: &dyn View,
    at: &mut Vec<u8>,
    end: &[u8],
    show: &mut dyn FnMut(Seen<'_>),
) -> Result<(), EngineError> {
    let mut cursor = view.cursor(end);
    cursor.seek(at);
    while let Some((stored, value)) = cursor.item()? {
        show(Seen::Record(stored, value));
        at.clear();
        at.extend_from_slice(stored);
        at.push(0);
        cursor.next();
    }
    Ok(())
}

/// The same, without reading what follows `end`: a cursor that may go up to a block's last key looks
/// into the next block.
fn read_piece(
    view: &dyn View,
    at: &mut Vec<u8>,
    end: &[u8],
    show: &mut dyn FnMut(Seen<'_>),
) -> Result<(), EngineError> {
    let Some((0, last)) = end.split_last() else { return read(view, at, end, show) };
    read(view, at, last, show)?;
    if at[..] <= *last
        && let Some(value) = view.get(last)?
    {
        show(Seen::Record(last, &value));
    }
    Ok(())
}

struct Look<'v> {
    view: &'v dyn View,
    whole: &'v dyn View,
    history: History<'v>,
    lost: Lost,
    /// As much of it as could be read. Its sum is the one that was kept.
    state: State,
    meta: Result<Option<(u64, u64)>, EngineError>,
    scrubbed: Revision,
    /// Of the live keys that were read.
    sum: Sum,
    last: Option<Place>,
    /// What all versions of the last key begin with.
    prefix: Vec<u8>,
    /// Keys that were read first behind a gap: there may be a newer version in it.
    behind_gap: BTreeMap<Bytes, (Revision, bool)>,
    /// Keys as files have them that are whole, with one that may have them, too, and is not.
    doubtful: BTreeMap<Bytes, (Revision, bool)>,
    /// Keys and leases that are attached, until the key is found to be.
    attached: BTreeSet<(i64, Bytes)>,
    /// Leases that something names.
    named: BTreeSet<i64>,
    /// Those of the state that are as files have them that are whole.
    doubtful_leases: BTreeSet<i64>,
    doubtful_fences: BTreeSet<String>,
    /// Keys by their newest change, if the version that it made cannot be read.
    unread: BTreeMap<Bytes, (Revision, How)>,
}

impl<'v> Look<'v> {
    fn new(view: &'v dyn View, whole: &'v dyn View) -> Self {
        let mut state = State::new();
        // These decide what the rest means, and are read first.
        let meta = view.get(layout::META).and_then(|record| record.map(|r| state.read_meta(r)).transpose());
        let mut lost = Lost::default();
        match view.get(layout::MEMBERSHIP) {
            Ok(members) => state.membership = members.unwrap_or_default(),
            Err(_) => lost.members_lost = true,
        }
        let scrubbed = view.get(layout::SCRUBBED).ok().flatten();
        let scrubbed = scrubbed.and_then(|record| layout::parse_number_record(&record).ok());
        Self {
            view,
            whole,
            history: History::new(view),
            lost,
            state,
            meta,
            scrubbed: Revision(scrubbed.unwrap_or(0)),
            sum: Sum::default(),
            last: None,
            prefix: Vec::new(),
            behind_gap: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            attached: BTreeSet::new(),
            named: BTreeSet::new(),
            doubtful_leases: BTreeSet::new(),
            doubtful_fences: BTreeSet::new(),
            unread: BTreeMap::new(),
        }
    }

    fn gap(&mut self, from: &[u8], to: &[u8], why: &str) {
        match self.lost.gaps.last_mut() {
            Some(open) if open.to == from && open.before.is_none() => open.to = to.to_vec(),
            _ => {
                let (from, to, after) = (from.to_vec(), to.to_vec(), self.last.clone());
                self.lost.gaps.push(Gap { after, before: None, why: why.to_owned(), from, to });
            }
        }
        let whole = self.whole;
        // Where it ends early there are no more names.
        let _ = read(whole, &mut from.to_vec(), to, &mut |seen| {
            if let Seen::Record(stored, value) = seen {
                let _ = self.candidate(stored, value);
            }
        });
    }

    /// A record in a gap, as a file has it that is whole.
    fn candidate(&mut self, stored: &[u8], value: &[u8]) -> Result<(), EngineError> {
        match Place::of(stored)? {
            Place::Key(key, revision) => {
                let kv = Version::parse(value)?.to_kv(&key, revision);
                if !self.is_next_key(stored)? {
                    return Ok(());
                }
                // By the filters it may be that no damaged block is asked for this key.
                match self.newest(&key) {
                    Ok(found) => self.found(found),
                    Err(_) => {
                        self.doubtful.insert(key, (revision, kv.is_some()));
                        kv.iter().for_each(|kv| self.sum.key(true, kv));
                    }
                }
            }
            Place::Change(revision) if revision >= self.state.compact_revision => {
                self.change(revision, value);
            }
            Place::Lease(id) => {
                let (ttl_s, generation) = parse_lease(value)?;
                self.state.leases.insert(id, Lease { ttl_s, generation, keys: BTreeSet::new() });
                self.doubtful_leases.insert(id.0);
            }
            Place::Fence(scope) => {
                let scope = String::from_utf8_lossy(&scope).into_owned();
                self.state.fences.insert(scope.clone(), layout::parse_number_record(value)? as u64);
                self.doubtful_fences.insert(scope);
            }
            _ => {}
        }
        Ok(())
    }

    fn record(&mut self, stored: &[u8], value: &[u8]) {
        // A record whose block is right and that means nothing is as good as none.
        if let Err(error) = self.take(stored, value) {
            self.gap(stored, &[stored, &[0]].concat(), &error.to_string());
        }
    }

    fn take(&mut self, stored: &[u8], value: &[u8]) -> Result<(), EngineError> {
        let place = Place::of(stored)?;
        match &place {
            Place::Key(key, revision) => {
                let kv = Version::parse(value)?.to_kv(key, *revision);
                if self.is_next_key(stored)? {
                    if self.lost.gaps.last().is_some_and(|gap| gap.before.is_none()) {
                        self.behind_gap.insert(key.clone(), (*revision, kv.is_some()));
                    }
                    self.found(kv);
                }
            }
            Place::Change(revision) => self.change(*revision, value),
            Place::Attached(id, key) => {
                self.named.insert(id.0);
                self.attached.insert((id.0, key.clone()));
            }
            Place::Lease(id) => {
                let (ttl_s, generation) = parse_lease(value)?;
                self.state.leases.insert(*id, Lease { ttl_s, generation, keys: BTreeSet::new() });
            }
            Place::Fence(scope) => {
                let epoch = layout::parse_number_record(value)? as u64;
                self.state.fences.insert(String::from_utf8_lossy(scope).into_owned(), epoch);
            }
            Place::Time(_) | Place::Outcome | Place::State => {}
        }
        if let Some(gap) = self.lost.gaps.last_mut().filter(|gap| gap.before.is_none()) {
            gap.before = Some(place.clone());
        }
        self.last = Some(place);
        Ok(())
    }

    /// Whether this is the first version of a key that is come upon.
    fn is_next_key(&mut self, stored: &[u8]) -> Result<bool, EngineError> {
        let (prefix, _) = layout::split_version(stored)?;
        let is_next = prefix != self.prefix;
        if is_next {
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
        }
        Ok(is_next)
    }

    /// The newest version of a key.
    fn found(&mut self, kv: Option<KeyValue>) {
        let Some(kv) = kv else { return };
        self.sum.key(true, &kv);
        self.lost.whole_keys += 1;
        if kv.lease != LeaseId(0) {
            self.named.insert(kv.lease.0);
            self.lost.attachments += u64::from(!self.attached.remove(&(kv.lease.0, kv.key)));
        }
    }

    /// Looks whether the version is there that a change has made.
    fn change(&mut self, revision: Revision, key: &[u8]) {
        let mut stored = Vec::new();
        layout::version_key(&mut stored, key, revision);
        let version = self.view.get(&stored);
        let how = match version.map(|found| found.map(|value| Version::parse(&value).is_ok())) {
            Ok(Some(true)) => None,
            // Compaction removes versions before it removes the records that name them.
            Ok(None) if revision < self.state.compact_revision => return,
            Ok(None) => Some(How::Missing),
            Ok(Some(false)) | Err(_) => Some(How::Unreadable),
        };
        let before = match how {
            Some(how) => self.unread.insert(Bytes::copy_from_slice(key), (revision, how)),
            None => self.unread.remove(key),
        };
        self.lost.older += u64::from(before.is_some());
    }

    /// What a key is, where it is sure that nothing newer is in what cannot be read.
    fn newest(&mut self, key: &[u8]) -> Result<Option<KeyValue>, EngineError> {
        self.history.get(&Overlay::default(), key, Revision(i64::MAX))
    }

    fn judge(mut self) -> Lost {
        self.judge_hash();
        if self.lost.hash_is_right == Some(true) {
            self.lost.whole_keys += self.doubtful.values().filter(|(_, is_live)| *is_live).count() as u64;
            // Deletions, of keys that are gone either way.
            self.lost.older += self.unread.len() as u64;
            return self.lost;
        }
        let known = self.named.iter().copied().filter(|id| !self.state.leases.contains_key(&LeaseId(*id)));
        let leases: BTreeSet<i64> = known.chain(self.doubtful_leases.iter().copied()).collect();
        self.lost.leases = leases.into_iter().map(LeaseId).collect();
        self.lost.fences = std::mem::take(&mut self.doubtful_fences).into_iter().collect();
        self.judge_keys();
        self.lost
    }

    fn judge_hash(&mut self) {
        let Ok(ordinals) = &self.meta else {
            self.lost.outcomes_lost = true;
            return;
        };
        let (first, next) = ordinals.unwrap_or((0, 0));
        self.lost.applied = Some(self.state.applied());
        let read = Dedup::load(self.view, first, next);
        self.lost.outcomes_lost = read.is_err();
        // What is not sure to be the newest is, if the hash says so.
        if let Ok(dedup) = read.or_else(|_| Dedup::load(self.whole, first, next)) {
            self.state.dedup = dedup;
            self.state.add_rest_to(&mut self.sum);
            let is_right = self.sum.value == self.state.sum.value;
            self.lost.outcomes_lost &= !is_right;
            self.lost.hash_is_right = Some(is_right);
        }
    }

    fn judge_keys(&mut self) {
        let compacted = self.state.compact_revision;
        let (first, end) = (layout::revision_key(Revision(compacted.0 + 1), 0), [layout::REVISIONS + 1]);
        let all_changes =
            self.lost.applied.is_some() && !self.lost.gaps.iter().any(|gap| gap.overlaps(&first, &end));
        let mut keys: BTreeMap<Bytes, LostKey> = BTreeMap::new();
        for (key, (revision, how)) in std::mem::take(&mut self.unread) {
            match self.history.stored(&key, Revision(i64::MAX)) {
                // The record of a later change is lost, and what it made is not.
                Ok(Some((newest, _))) if newest > revision => self.lost.older += 1,
                _ => _ = keys.insert(key.clone(), LostKey { key, revision: Some(revision), how }),
            }
        }
        let mut unsure = BTreeSet::new();
        let behind_gap = std::mem::take(&mut self.behind_gap);
        for (key, (read, _)) in &behind_gap {
            // Of a key that was compacted one version is left; a later one is among the changes.
            let is_newest = all_changes && (*read > compacted || self.scrubbed >= compacted);
            if !is_newest && self.newest(key).is_err() {
                unsure.insert(key.clone());
            }
        }
        for (key, (read, is_live)) in std::mem::take(&mut self.doubtful) {
            if all_changes && read > compacted {
                self.lost.whole_keys += u64::from(is_live && !keys.contains_key(&key));
            } else {
                unsure.insert(key);
            }
        }
        // Attached means live, with that lease: what was read is not the newest.
        unsure.extend(std::mem::take(&mut self.attached).into_iter().map(|(_, key)| key));
        for key in unsure {
            keys.entry(key.clone()).or_insert(LostKey { key, revision: None, how: How::Unsure });
        }
        // Those of which an older version was taken for the newest.
        let taken = |key: &Bytes| match self.newest(key) {
            Ok(kv) => kv.is_some(),
            Err(_) => behind_gap.get(key).is_some_and(|(_, is_live)| *is_live),
        };
        let taken = keys.keys().map(taken).filter(|taken| *taken).count() as u64;
        self.lost.whole_keys = self.lost.whole_keys.saturating_sub(taken);
        self.lost.keys = keys.into_values().collect();
    }
}
