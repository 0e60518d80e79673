//! What the machine holds in memory between runs, and how it is read back from the engine.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::dedup::Dedup;
use super::hash::Sum;
use super::{Applied, DiskChecked};
use crate::codec::{DecodeError, Reader, Writer};
use crate::engine::{Batch, EngineError, View};
use crate::kv::{LeaseId, Revision};
use crate::layout;
use crate::layout::Version;
use crate::log::{LogPosition, MarkedHash};

const FORMAT: u8 = 1;

/// etcd's store starts at revision 1: the first change makes revision 2.
const FIRST_REVISION: Revision = Revision(1);

/// The scope, which no request can name, under which the epoch of all those lies that were never
/// raised: in a cluster made of an old state, whose later scopes are not known.
pub(crate) const EVERY_SCOPE: &str = "";

pub(crate) struct Lease {
    pub(crate) ttl_s: i64,
    pub(crate) generation: u64,
    /// Sorted, since they are deleted in this order.
    pub(crate) keys: BTreeSet<Bytes>,
}

pub(crate) struct State {
    pub(crate) position: Option<LogPosition>,
    pub(crate) membership: Bytes,
    pub(crate) membership_position: Option<LogPosition>,
    pub(crate) revision: Revision,
    pub(crate) compact_revision: Revision,
    pub(crate) time_ms: i64,
    pub(crate) feature_level: u32,
    pub(crate) last_mark: Option<MarkedHash>,
    /// Time of the last entry of the index time → revision.
    pub(crate) time_indexed_ms: i64,
    pub(crate) leases: HashMap<LeaseId, Lease>,
    pub(crate) fences: HashMap<String, u64>,
    pub(crate) dedup: Dedup,
    pub(crate) sum: Sum,
}

impl State {
    /// That of a new store.
    pub(super) fn new() -> Self {
        Self {
            position: None,
            membership: Bytes::new(),
            membership_position: None,
            revision: FIRST_REVISION,
            compact_revision: Revision(0),
            time_ms: 0,
            feature_level: 0,
            last_mark: None,
            time_indexed_ms: 0,
            leases: HashMap::new(),
            fences: HashMap::new(),
            dedup: Dedup::default(),
            sum: Sum::default(),
        }
    }

    pub(crate) fn load(view: &dyn View) -> Result<Self, EngineError> {
        let mut state = Self {
            membership: view.get(layout::MEMBERSHIP)?.unwrap_or_default(),
            leases: load_leases(view)?,
            fences: load_fences(view)?,
            ..Self::new()
        };
        let (mut first, mut next) = (0, 0);
        if let Some(record) = view.get(layout::META)? {
            (first, next) = state.read_meta(record)?;
        }
        state.dedup = Dedup::load(view, first, next)?;
        Ok(state)
    }

    /// Takes the record of everything of which there is one; the ordinals of the remembered outcomes.
    pub(super) fn read_meta(&mut self, record: Bytes) -> Result<(u64, u64), EngineError> {
        let mut r = Reader::new(record, "state");
        let format = r.u8()?;
        if format != FORMAT {
            return Err(r.unknown_version(format).into());
        }
        self.position = get_position(&mut r)?;
        self.membership_position = get_position(&mut r)?;
        self.revision = Revision(r.i64()?);
        self.compact_revision = Revision(r.i64()?);
        self.time_ms = r.i64()?;
        self.time_indexed_ms = r.i64()?;
        self.feature_level =
            u32::try_from(r.u64()?).map_err(|_| EngineError::Corrupt("feature level".into()))?;
        self.sum = Sum::new(r.u128()?);
        if r.bool()? {
            self.last_mark = Some(MarkedHash { index: r.u64()?, hash: r.u128()? });
        }
        let ordinals = (r.u64()?, r.u64()?);
        r.end()?;
        Ok(ordinals)
    }

    /// Adds the record of everything of which there is one to a run's batch.
    pub(crate) fn save(&mut self, batch: &mut Batch) {
        self.dedup.save(batch);
        let mut w = Writer::with_capacity(128);
        w.u8(FORMAT);
        put_position(&mut w, self.position);
        put_position(&mut w, self.membership_position);
        w.i64(self.revision.0);
        w.i64(self.compact_revision.0);
        w.i64(self.time_ms);
        w.i64(self.time_indexed_ms);
        w.u64(u64::from(self.feature_level));
        w.u128(self.sum.value);
        w.bool(self.last_mark.is_some());
        if let Some(mark) = self.last_mark {
            w.u64(mark.index);
            w.u128(mark.hash);
        }
        let (first, next) = self.dedup.ordinals();
        w.u64(first);
        w.u64(next);
        batch.put(&[layout::META], &[w.as_slice()]);
    }

    /// The epoch of a scope; one that was never raised, or is forgotten, has that of [`EVERY_SCOPE`].
    pub(crate) fn epoch(&self, scope: &str) -> u64 {
        let known = self.fences.get(scope).or_else(|| self.fences.get(EVERY_SCOPE));
        known.copied().unwrap_or(0)
    }

    pub(crate) fn hash(&mut self) -> u128 {
        let scalars = [self.revision.0, self.compact_revision.0, self.time_ms, i64::from(self.feature_level)];
        self.sum.total(scalars, self.membership_position, &self.membership)
    }

    pub(crate) fn applied(&mut self) -> Applied {
        Applied {
            position: self.position,
            membership: self.membership.clone(),
            membership_position: self.membership_position,
            revision: self.revision,
            compact_revision: self.compact_revision,
            hash: self.hash(),
            time_ms: self.time_ms,
            feature_level: self.feature_level,
        }
    }

    /// Adds to a sum of all live keys what else belongs to the hash.
    pub(crate) fn add_rest_to(&self, sum: &mut Sum) {
        for (id, lease) in &self.leases {
            sum.lease(true, *id, lease.ttl_s, lease.generation);
        }
        for (scope, epoch) in &self.fences {
            sum.fence(true, scope, *epoch);
        }
        self.dedup.add_to(sum);
    }

    /// Reads every record, versions that nothing asks for too, and computes the hash again: the engine
    /// checks each block, the hash is compared with the one kept. `pace` is told of the bytes as they
    /// are read.
    pub(crate) fn verify(
        &mut self,
        view: &dyn View,
        pace: &mut dyn FnMut(u64),
    ) -> Result<DiskChecked, EngineError> {
        let mut sum = Sum::default();
        let mut checked = DiskChecked { bytes: 0, keys: 0 };
        let mut last = Vec::new();
        // No table's tag is as high.
        let mut cursor = view.cursor(&[u8::MAX]);
        cursor.seek(&[]);
        while let Some((stored, value)) = cursor.item()? {
            if stored.first() == Some(&layout::VERSIONS) {
                let (prefix, revision) = layout::split_version(stored)?;
                // Of a key's versions the newest comes first.
                if prefix != last {
                    last.clear();
                    last.extend_from_slice(prefix);
                    let key = layout::unescape(prefix)?;
                    if let Some(kv) = Version::parse(value)?.to_kv(&key, revision) {
                        sum.key(true, &kv);
                        checked.keys += 1;
                    }
                }
            }
            let read = (stored.len() + value.len()) as u64;
            checked.bytes += read;
            pace(read);
            cursor.next();
        }
        self.add_rest_to(&mut sum);
        if sum.value != self.sum.value {
            return Err(EngineError::Corrupt("the state's hash is not that of its content".into()));
        }
        Ok(checked)
    }
}

pub(crate) fn put_position(w: &mut Writer, position: Option<LogPosition>) {
    w.bool(position.is_some());
    if let Some(at) = position {
        w.u64(at.term);
        w.u64(at.node_id);
        w.u64(at.index);
    }
}

pub(crate) fn get_position(r: &mut Reader) -> Result<Option<LogPosition>, DecodeError> {
    Ok(if r.bool()? {
        Some(LogPosition { term: r.u64()?, node_id: r.u64()?, index: r.u64()? })
    } else {
        None
    })
}

pub(crate) fn lease_record(lease: &Lease) -> Bytes {
    let mut w = Writer::with_capacity(16);
    w.i64(lease.ttl_s);
    w.u64(lease.generation);
    w.finish()
}

pub(crate) fn parse_lease(stored: &[u8]) -> Result<(i64, u64), EngineError> {
    let mut r = Reader::new(Bytes::copy_from_slice(stored), "lease");
    let lease = (r.i64()?, r.u64()?);
    r.end()?;
    Ok(lease)
}

fn load_leases(view: &dyn View) -> Result<HashMap<LeaseId, Lease>, EngineError> {
    let mut leases = HashMap::new();
    let mut cursor = view.cursor(&[layout::LEASES + 1]);
    cursor.seek(&[layout::LEASES]);
    while let Some((key, value)) = cursor.item()? {
        let (id, _) = layout::parse_numbered(key)?;
        let (ttl_s, generation) = parse_lease(value)?;
        leases.insert(LeaseId(id as i64), Lease { ttl_s, generation, keys: BTreeSet::new() });
        cursor.next();
    }
    drop(cursor);
    let mut cursor = view.cursor(&[layout::ATTACHED + 1]);
    cursor.seek(&[layout::ATTACHED]);
    while let Some((key, _)) = cursor.item()? {
        let (id, attached) = layout::parse_numbered(key)?;
        let lease = leases
            .get_mut(&LeaseId(id as i64))
            .ok_or_else(|| EngineError::Corrupt("a key is attached to no lease".into()))?;
        lease.keys.insert(Bytes::copy_from_slice(attached));
        cursor.next();
    }
    Ok(leases)
}

fn load_fences(view: &dyn View) -> Result<HashMap<String, u64>, EngineError> {
    let mut fences = HashMap::new();
    let mut cursor = view.cursor(&[layout::FENCES + 1]);
    cursor.seek(&[layout::FENCES]);
    while let Some((key, value)) = cursor.item()? {
        let scope = String::from_utf8(key[1..].to_vec())
            .map_err(|_| EngineError::Corrupt("a fence's scope is not UTF-8".into()))?;
        fences.insert(scope, layout::parse_number_record(value)? as u64);
        cursor.next();
    }
    Ok(fences)
}
