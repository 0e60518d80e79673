//! A new cluster's state out of an old one's: what no client of the old cluster can take for its own.
//!
//! ```text
//!   old state at a revision ──► every live key, rewritten at one revision above all that were seen
//!                           ──► history compacted up to there, membership and proposals new,
//!                               fences raised, leases with keys on them whole again
//! ```
//!
//! Why each: a client compares the revisions it knows with those it is given, so that none may come
//! again with another content, not as the revision of a key, not as that of a watch, not as a
//! version. `create_revision` alone stays: it tells which of several waiters came first, and a key
//! that was made before the copy is the same key after it.
//!
//! The same old state and the same [`Rebirth`] give the same new state, hash included, so that several
//! members can begin with it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::dedup::Dedup;
use super::hash::Sum;
use super::state::{EVERY_SCOPE, Lease, State, lease_record};
use super::{Applied, Store};
use crate::codec::Writer;
use crate::engine::{self, Batch, Engine, EngineError, LOAD_BATCH_BYTES, View};
use crate::fault::Fault;
use crate::history::{self, History, Overlay};
use crate::kv::{KeyRange, KeyValue, LeaseId, Revision};
use crate::layout;
use crate::limits::{
    REBIRTH_EPOCHS, REBIRTH_LEASE_TTL_S, REBIRTH_REVISIONS_MIN, REBIRTH_REVISIONS_PER_S, REBIRTH_VERSIONS,
};
use crate::log::LogPosition;

/// What a new cluster is made with, beside the old state.
#[derive(Clone, Debug)]
pub struct Rebirth {
    /// Keys as they were here; `None`: the newest. It must not be compacted.
    pub at: Option<Revision>,
    /// The highest revision that the old cluster is known to have made. That of the state counts as
    /// well.
    pub seen: Revision,
    /// The new cluster's members and the entry of its log that named them, the last one applied.
    pub membership: Bytes,
    pub position: LogPosition,
    /// Milliseconds since the Unix epoch. The new cluster's clock goes on from the later of this and
    /// the old state's.
    pub now_ms: i64,
    /// Keys that begin so are left behind.
    pub without: Vec<Bytes>,
}

/// What became of an old state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reborn {
    pub source: Applied,
    pub applied: Applied,
    /// The revision at which the keys were read.
    pub at: Revision,
    /// The revision of every key now; the newest is one above, and reads below that are compacted.
    pub revision: Revision,
    pub keys: u64,
    /// Of keys and values.
    pub bytes: u64,
    /// Keys that begin so, for each of [`Rebirth::without`].
    pub left_behind: Vec<u64>,
    /// Leases with keys on them, each with its full time to live.
    pub leases: u64,
    /// Leases without keys, which are gone.
    pub leases_ended: u64,
    pub fences: u64,
}

impl Store {
    /// Writes the state of a new cluster into the empty engine `into`. Durable on return. `progress`
    /// is told of keys and their bytes.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] when this state is not what was written: where the newest revision is
    /// taken, its hash is computed again on the way.
    pub fn reborn(
        &self,
        into: &dyn Engine,
        rebirth: &Rebirth,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Reborn, Fault> {
        if engine::read(into, |view| view.get(layout::META))?.is_some() {
            return Err(Fault::Io("the new cluster's state is not empty".into()));
        }
        engine::read(&*self.inner.engine, |view| {
            let mut old = State::load(view)?;
            let source = old.applied();
            let made = Making::new(&old, rebirth)?.make(view, into, progress)?;
            Ok(Reborn { source, ..made })
        })
    }
}

impl Rebirth {
    /// The revision at which keys are written.
    fn revision(&self, old: &State) -> Result<Revision, Fault> {
        let seconds = self.now_ms.saturating_sub(old.time_ms).max(0) / 1000;
        let distance = REBIRTH_REVISIONS_PER_S.checked_mul(seconds);
        let distance = distance.and_then(|more| more.checked_add(REBIRTH_REVISIONS_MIN));
        let seen = old.revision.max(self.seen);
        distance
            .and_then(|distance| seen.0.checked_add(distance))
            .filter(|revision| *revision < i64::MAX - 1)
            .map(Revision)
            .ok_or_else(|| Fault::Io(format!("no revisions are left above {seen}")))
    }
}

struct Making<'a> {
    old: &'a State,
    rebirth: &'a Rebirth,
    at: Revision,
    sum: Sum,
    leases: BTreeMap<i64, Lease>,
    made: Reborn,
}

impl<'a> Making<'a> {
    fn new(old: &'a State, rebirth: &'a Rebirth) -> Result<Self, Fault> {
        let at = rebirth.at.unwrap_or(old.revision);
        if at.0 <= 0 {
            return Err(Fault::Io(format!("{at} is no revision")));
        }
        history::check_revision(at, old.revision, old.compact_revision)
            .map_err(|error| Fault::Io(format!("revision {at}: {error}")))?;
        let revision = rebirth.revision(old)?;
        let left_behind = vec![0; rebirth.without.len()];
        let made = Reborn { at, revision, left_behind, ..Reborn::default() };
        Ok(Self { old, rebirth, at, sum: Sum::default(), leases: BTreeMap::new(), made })
    }

    fn make(
        mut self,
        view: &dyn View,
        into: &dyn Engine,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Reborn, Fault> {
        into.load(&mut |records| self.keys(view, records, progress))?;
        let mut batch = Batch::default();
        self.write_leases(into, &mut batch)?;
        let fences = self.fences(&mut batch);
        self.times(view, into, &mut batch)?;
        let membership = self.rebirth.membership.clone();
        batch.put(&[layout::MEMBERSHIP], &[&membership]);
        let newest = Revision(self.made.revision.0 + 1);
        // No change precedes the compaction: nothing is left for it to remove.
        batch.put(&[layout::SCRUBBED], &[&layout::number_record(newest.0)]);
        let time_ms = self.old.time_ms.max(self.rebirth.now_ms);
        batch.put(
            &[&layout::numbered(layout::TIMES, time_ms.max(0) as u64)],
            &[&layout::number_record(newest.0)],
        );
        let mut state = State {
            position: Some(self.rebirth.position),
            membership,
            membership_position: Some(self.rebirth.position),
            revision: newest,
            compact_revision: newest,
            time_ms,
            feature_level: self.old.feature_level,
            last_mark: None,
            time_indexed_ms: time_ms,
            leases: HashMap::new(),
            fences,
            dedup: Dedup::default(),
            sum: self.sum,
        };
        state.save(&mut batch);
        into.write(batch)?;
        into.flush()?;
        self.made.applied = state.applied();
        Ok(self.made)
    }

    /// Rewrites every live key; the old state's hash is computed on the way, where all of it is read.
    fn keys(
        &mut self,
        view: &dyn View,
        records: &mut dyn engine::Records,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), EngineError> {
        let mut check = (self.at == self.old.revision).then(Sum::default);
        let (mut stored, mut header) = (Vec::new(), Writer::default());
        let mut failed = Ok(());
        let everything = KeyRange::prefix("");
        History::new(view).scan(&Overlay::default(), &everything, self.at, &mut |found| {
            let old = found.to_kv(true);
            if let Some(check) = &mut check {
                check.key(true, &old);
            }
            if let Some(n) = self.rebirth.without.iter().position(|prefix| old.key.starts_with(prefix)) {
                self.made.left_behind[n] += 1;
                return true;
            }
            let kv = self.renewed(old);
            layout::put_header(&mut header, &kv);
            layout::version_key(&mut stored, &kv.key, kv.mod_revision);
            failed = records.put(&stored, &[header.as_slice(), &kv.value]);
            self.made.keys += 1;
            self.made.bytes += (kv.key.len() + kv.value.len()) as u64;
            progress(1, (kv.key.len() + kv.value.len()) as u64);
            failed.is_ok()
        })?;
        failed?;
        let Some(mut check) = check else { return Ok(()) };
        self.old.add_rest_to(&mut check);
        if check.value != self.old.sum.value {
            return Err(EngineError::Corrupt("the old state's hash is not that of its content".into()));
        }
        Ok(())
    }

    fn renewed(&mut self, old: KeyValue) -> KeyValue {
        let version = old.version.saturating_add(REBIRTH_VERSIONS);
        let kv = KeyValue { mod_revision: self.made.revision, version, ..old };
        self.sum.key(true, &kv);
        if kv.lease != LeaseId(0) {
            let ttl_s = self.old.leases.get(&kv.lease).map_or(REBIRTH_LEASE_TTL_S, |lease| lease.ttl_s);
            let new = || Lease { ttl_s, generation: 0, keys: Default::default() };
            self.leases.entry(kv.lease.0).or_insert_with(new).keys.insert(kv.key.clone());
        }
        kv
    }

    fn write_leases(&mut self, into: &dyn Engine, batch: &mut Batch) -> Result<(), EngineError> {
        let kept = self.old.leases.keys().filter(|id| self.leases.contains_key(&id.0)).count();
        self.made.leases_ended = (self.old.leases.len() - kept) as u64;
        for (id, lease) in std::mem::take(&mut self.leases) {
            self.sum.lease(true, LeaseId(id), lease.ttl_s, lease.generation);
            batch.put(&[&layout::numbered(layout::LEASES, id as u64)], &[&lease_record(&lease)]);
            for key in &lease.keys {
                batch.put(&[&layout::numbered(layout::ATTACHED, id as u64), key], &[]);
            }
            self.made.leases += 1;
            write_if_large(into, batch)?;
        }
        Ok(())
    }

    fn fences(&mut self, batch: &mut Batch) -> HashMap<String, u64> {
        let floor = self.old.epoch(EVERY_SCOPE);
        let known = self.old.fences.iter().filter(|(scope, _)| *scope != EVERY_SCOPE);
        let known = known.map(|(scope, epoch)| (scope.clone(), *epoch));
        let all = known.chain([(EVERY_SCOPE.to_owned(), floor)]);
        let raised: HashMap<String, u64> =
            all.map(|(scope, epoch)| (scope, epoch.saturating_add(REBIRTH_EPOCHS))).collect();
        for (scope, epoch) in &raised {
            self.sum.fence(true, scope, *epoch);
            batch.put(&[&[layout::FENCES], scope.as_bytes()], &[&layout::number_record(*epoch as i64)]);
        }
        self.made.fences = raised.len() as u64 - 1;
        raised
    }

    /// Takes over the index time → revision, up to the revision that was read.
    fn times(&self, view: &dyn View, into: &dyn Engine, batch: &mut Batch) -> Result<(), EngineError> {
        let mut cursor = view.cursor(&[layout::TIMES + 1]);
        cursor.seek(&[layout::TIMES]);
        while let Some((key, value)) = cursor.item()? {
            if layout::parse_number_record(value)? > self.at.0 {
                break;
            }
            batch.put(&[key], &[value]);
            write_if_large(into, batch)?;
            cursor.next();
        }
        Ok(())
    }
}

fn write_if_large(into: &dyn Engine, batch: &mut Batch) -> Result<(), EngineError> {
    if batch.bytes() >= LOAD_BATCH_BYTES {
        into.write(std::mem::take(batch))?;
    }
    Ok(())
}
