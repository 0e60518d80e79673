//! Reading keys at a revision: from the engine, with what the running batch has changed laid over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::engine::{Cursor, EngineError, View};
use crate::kv::{
    Error, KeyRange, KeyValue, LeaseId, RangeRequest, RangeResponse, Revision, SortOrder, SortTarget,
};
use crate::layout::{self, Version};
use crate::limits::RECENT_KEYS_BYTES_MAX;
use crate::planted::{self, Bug};

/// Steps taken one by one over old versions before a seek is cheaper.
const STEPS_BEFORE_SEEK: usize = 6;

/// What the writer knows without asking the engine.
#[derive(Default)]
pub(crate) struct Overlay {
    /// What the running batch wrote, newest last: `None` is a deletion.
    keys: BTreeMap<Bytes, Vec<(Revision, Option<KeyValue>)>>,
    /// The newest versions of keys used lately, as of `base`: most writes are of keys that were
    /// written, or compared, just before.
    recent: HashMap<Bytes, Option<KeyValue>>,
    /// The keys of `recent`, first learnt first.
    order: VecDeque<Bytes>,
    recent_bytes: usize,
    base: Revision,
}

/// In unit tests so small that keys are forgotten all the time.
const RECENT_BYTES_MAX: usize = if cfg!(test) { 1024 } else { RECENT_KEYS_BYTES_MAX };

/// What an entry of `Overlay::recent` takes beside its bytes.
const RECENT_ENTRY_BYTES: usize = 256;

impl Overlay {
    pub(crate) fn insert(&mut self, key: Bytes, revision: Revision, kv: Option<KeyValue>) {
        self.keys.entry(key).or_default().push((revision, kv));
    }

    /// `None`: nothing here for `key` at `at`, the engine knows.
    pub(crate) fn get(&self, key: &[u8], at: Revision) -> Option<Option<&KeyValue>> {
        if let Some(versions) = self.keys.get(key)
            && let Some(known) = newest(versions, at)
        {
            return Some(known);
        }
        if at < self.base {
            return None;
        }
        self.recent.get(key).map(Option::as_ref)
    }

    /// Begins a batch on the state at `revision`.
    pub(crate) fn begin(&mut self, revision: Revision) {
        self.base = revision;
    }

    /// The batch was written: what it changed is now what the engine has.
    pub(crate) fn written(&mut self) {
        for (key, mut versions) in std::mem::take(&mut self.keys) {
            if let Some((_, kv)) = versions.pop() {
                self.learn(key, kv);
            }
        }
    }

    /// Remembers what the engine has for a key.
    pub(crate) fn learn(&mut self, key: Bytes, kv: Option<KeyValue>) {
        let weight = |kv: &Option<KeyValue>| kv.as_ref().map_or(0, |kv| kv.value.len());
        self.recent_bytes += key.len() + weight(&kv) + RECENT_ENTRY_BYTES;
        match self.recent.insert(key.clone(), kv) {
            Some(old) => self.recent_bytes -= key.len() + weight(&old) + RECENT_ENTRY_BYTES,
            None => self.order.push_back(key),
        }
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(kv) = self.recent.remove(&oldest) {
                self.recent_bytes -= oldest.len() + weight(&kv) + RECENT_ENTRY_BYTES;
            }
        }
    }

    fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Vec<(Revision, Option<KeyValue>)>)> {
        let start = Bound::Included(&range.start[..]);
        let end = if range.end.is_empty() {
            Bound::Included(&range.start[..])
        } else if range.end[..] == [0] {
            Bound::Unbounded
        } else {
            // An inverted range is empty; a map would panic on it.
            Bound::Excluded((&range.end[..]).max(&range.start[..]))
        };
        self.keys.range::<[u8], _>((start, end))
    }
}

fn newest(versions: &[(Revision, Option<KeyValue>)], at: Revision) -> Option<Option<&KeyValue>> {
    versions.iter().rev().find(|(revision, _)| *revision <= at).map(|(_, kv)| kv.as_ref())
}

/// What a key and its value weigh beside their bytes, for the limit on an answer.
pub(crate) const KEY_VALUE_BYTES: usize = 64;

/// A live key found by a scan.
pub(crate) struct Found<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) value: &'a [u8],
    shared: Option<&'a KeyValue>,
}

impl<'a> Found<'a> {
    pub(crate) fn shared(kv: &'a KeyValue) -> Self {
        Self {
            key: &kv.key,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            value: &kv.value,
            shared: Some(kv),
        }
    }

    pub(crate) fn to_kv(&self, with_value: bool) -> KeyValue {
        let (key, value) = match self.shared {
            Some(kv) => (kv.key.clone(), if with_value { kv.value.clone() } else { Bytes::new() }),
            None => {
                let value = if with_value { Bytes::copy_from_slice(self.value) } else { Bytes::new() };
                (Bytes::copy_from_slice(self.key), value)
            }
        };
        KeyValue {
            key,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value,
            lease: self.lease,
        }
    }
}

/// Reads versions through one view. Kept for a whole batch: making a cursor costs more than
/// moving it.
pub(crate) struct History<'v> {
    view: &'v dyn View,
    point: Box<dyn Cursor + 'v>,
    scratch: Vec<u8>,
}

impl<'v> History<'v> {
    pub(crate) fn new(view: &'v dyn View) -> Self {
        Self { view, point: view.version_cursor(), scratch: Vec::new() }
    }

    /// The live version of one key at `at`.
    pub(crate) fn get(
        &mut self,
        overlay: &Overlay,
        key: &[u8],
        at: Revision,
    ) -> Result<Option<KeyValue>, EngineError> {
        if let Some(known) = overlay.get(key, at) {
            return Ok(known.cloned());
        }
        match self.stored(key, at)? {
            Some((revision, version)) => Ok(version.to_kv(key, revision)),
            None => Ok(None),
        }
    }

    /// The newest stored version of `key` at or before `at`, deletions included.
    pub(crate) fn stored(
        &mut self,
        key: &[u8],
        at: Revision,
    ) -> Result<Option<(Revision, Version<'_>)>, EngineError> {
        layout::version_key(&mut self.scratch, key, at);
        self.point.seek(&self.scratch);
        let Some((stored, value)) = self.point.item()? else { return Ok(None) };
        let (prefix, revision) = layout::split_version(stored)?;
        if prefix != &self.scratch[..self.scratch.len() - 8] {
            return Ok(None);
        }
        Ok(Some((revision, Version::parse(value)?)))
    }

    /// Shows every live key of the range at `at`, in order, until `visit` says false.
    pub(crate) fn scan(
        &mut self,
        overlay: &Overlay,
        range: &KeyRange,
        at: Revision,
        visit: &mut dyn FnMut(Found<'_>) -> bool,
    ) -> Result<(), EngineError> {
        if range.end.is_empty() {
            if let Some(known) = overlay.get(&range.start, at) {
                known.map(|kv| visit(Found::shared(kv)));
            } else if let Some((mod_revision, version)) = self.stored(&range.start, at)? {
                show(&range.start, mod_revision, version, visit);
            }
            return Ok(());
        }
        let mut laid_over =
            overlay.range(range).filter_map(|(key, versions)| Some((key, newest(versions, at)?))).peekable();
        let (start, end) = layout::version_bounds(range);
        if start >= end {
            return Ok(());
        }
        let mut cursor = self.view.cursor(&end);
        cursor.seek(&start);
        while let Some(prefix_len) = settle(&mut *cursor, at, &mut self.scratch)? {
            {
                let Some((stored, value)) = cursor.item()? else { break };
                let (prefix, mod_revision) = layout::split_version(stored)?;
                let key = layout::unescape(prefix)?;
                let mut replaced = false;
                while let Some((newer, kv)) = laid_over.next_if(|(newer, _)| newer[..] <= key[..]) {
                    replaced |= newer[..] == key[..];
                    if kv.is_some_and(|kv| !visit(Found::shared(kv))) {
                        return Ok(());
                    }
                }
                if !replaced && !show(&key, mod_revision, Version::parse(value)?, visit) {
                    return Ok(());
                }
            }
            self.scratch.truncate(prefix_len);
            skip(&mut *cursor, &mut self.scratch)?;
        }
        for (_, kv) in laid_over {
            if kv.is_some_and(|kv| !visit(Found::shared(kv))) {
                break;
            }
        }
        Ok(())
    }
}

fn show(
    key: &[u8],
    mod_revision: Revision,
    version: Version<'_>,
    visit: &mut dyn FnMut(Found<'_>) -> bool,
) -> bool {
    match version {
        Version::Put { create_revision, version, lease, value } => {
            visit(Found { key, create_revision, mod_revision, version, lease, value, shared: None })
        }
        Version::Tombstone => true,
    }
}

/// Moves forward to a version at or before `at`, the newest such of its key. Leaves the key's
/// prefix in `scratch` and returns its length; `None` at the end.
fn settle(
    cursor: &mut dyn Cursor,
    at: Revision,
    scratch: &mut Vec<u8>,
) -> Result<Option<usize>, EngineError> {
    let mut steps = 0;
    loop {
        let Some((stored, _)) = cursor.item()? else { return Ok(None) };
        let (prefix, revision) = layout::split_version(stored)?;
        if revision <= at {
            scratch.clear();
            scratch.extend_from_slice(prefix);
            return Ok(Some(prefix.len()));
        }
        steps += 1;
        if steps < STEPS_BEFORE_SEEK {
            cursor.next();
        } else {
            scratch.clear();
            scratch.extend_from_slice(prefix);
            scratch.extend_from_slice(&layout::inverted(at));
            cursor.seek(scratch);
            steps = 0;
        }
    }
}

/// Moves past all versions of the key whose prefix is in `scratch`.
fn skip(cursor: &mut dyn Cursor, scratch: &mut [u8]) -> Result<(), EngineError> {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.next();
        match cursor.item()? {
            Some((stored, _)) if layout::split_version(stored)?.0 == scratch => {}
            _ => return Ok(()),
        }
    }
    layout::skip_versions(scratch);
    cursor.seek(scratch);
    Ok(())
}

/// Whether `revision` can be read when the newest is `current`.
pub(crate) fn check_revision(revision: Revision, current: Revision, compact: Revision) -> Result<(), Error> {
    if revision.0 <= 0 {
        return Ok(());
    }
    if revision > current {
        return Err(Error::FutureRevision { current });
    }
    if revision < compact {
        return Err(Error::Compacted { compact_revision: compact });
    }
    Ok(())
}

/// Answers a range request whose revision was checked; `current` is the newest revision.
pub(crate) fn range(
    history: &mut History<'_>,
    overlay: &Overlay,
    request: &RangeRequest,
    current: Revision,
) -> Result<RangeResponse, EngineError> {
    let at = match request.revision.0 > 0 && !planted::is(Bug::OldRevisionReadsNew) {
        true => request.revision,
        false => current,
    };
    let order = match (request.sort_order, request.sort_target) {
        // etcd: a target other than the key without an order means ascending.
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => SortOrder::None,
        (SortOrder::None, _) => SortOrder::Ascend,
        (order, _) => order,
    };
    let sorted = order != SortOrder::None;
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let with_value = !request.keys_only || sorted && request.sort_target == SortTarget::Value;
    let mut response = RangeResponse { revision: current, ..Default::default() };
    history.scan(overlay, &request.range, at, &mut |found| {
        response.count += 1;
        if request.count_only || !within_bounds(request, &found) {
        } else if !sorted && response.kvs.len() >= limit {
            response.more = true;
        } else {
            response.kvs.push(found.to_kv(with_value));
        }
        true
    })?;
    if sorted {
        sort(&mut response.kvs, order, request.sort_target);
        response.more = response.kvs.len() > limit;
        response.kvs.truncate(limit);
        if request.keys_only {
            response.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
    }
    if planted::is(Bug::RangeMissesLast) && response.kvs.len() > 1 {
        response.kvs.pop();
    }
    if planted::is(Bug::CountWrong) && response.more {
        response.count = response.kvs.len() as i64;
    }
    Ok(response)
}

/// Bytes that the answer to a range request would hold, counted until they are more than `budget`.
pub(crate) fn range_bytes(
    history: &mut History<'_>,
    overlay: &Overlay,
    request: &RangeRequest,
    current: Revision,
    budget: usize,
) -> Result<usize, EngineError> {
    if request.count_only {
        return Ok(0);
    }
    let at = if request.revision.0 > 0 { request.revision } else { current };
    // What is sorted by something else than the key is held whole before it is cut.
    let by_key = request.sort_target == SortTarget::Key && request.sort_order != SortOrder::Descend;
    let limit = usize::try_from(request.limit).ok().filter(|limit| by_key && *limit > 0);
    let with_value = !request.keys_only || !by_key;
    let (mut bytes, mut keys) = (0, 0);
    history.scan(overlay, &request.range, at, &mut |found| {
        if within_bounds(request, &found) {
            keys += 1;
            bytes += KEY_VALUE_BYTES + found.key.len() + if with_value { found.value.len() } else { 0 };
        }
        bytes <= budget && limit.is_none_or(|limit| keys < limit)
    })?;
    Ok(bytes)
}

pub(crate) fn within_bounds(request: &RangeRequest, found: &Found<'_>) -> bool {
    let within = |value: Revision, min: Revision, max: Revision| {
        (min.0 == 0 || value >= min) && (max.0 == 0 || value <= max)
    };
    within(found.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(found.create_revision, request.min_create_revision, request.max_create_revision)
}

fn sort(kvs: &mut [KeyValue], order: SortOrder, target: SortTarget) {
    kvs.sort_by(|a, b| {
        let ordering = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if order == SortOrder::Descend { ordering.reverse() } else { ordering }
    });
}
