//! Reads that walk far: a range in pages, the index of times, and the hash of the history.

use bytes::Bytes;

use super::Store;
use crate::engine::{self, EngineError, View};
use crate::history::{self, History, KEY_VALUE_BYTES, Overlay};
use crate::kv::{Error, KeyRange, KeyValue, RangeRequest, Revision};
use crate::layout::{self, Version};

/// A part of the answer to a range request, in the order of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangePage {
    pub kvs: Vec<KeyValue>,
    /// Keys of the range that were walked, those among them that the request leaves out.
    pub walked: i64,
    /// What is left of the range; `None` at its end.
    pub rest: Option<KeyRange>,
}

/// What [`Store::hash_kv`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvHash {
    pub hash: u32,
    /// The hash is of the history up to here.
    pub revision: Revision,
    /// And of what was left of it by the compaction to here.
    pub compact_revision: Revision,
    /// The newest revision.
    pub current: Revision,
}

impl Store {
    /// The index of times from the last entry before `from` on, in order: when time was the one,
    /// the other was the newest revision. Entries are [`TIME_INDEX_STEP_MS`] apart or more.
    ///
    /// [`TIME_INDEX_STEP_MS`]: crate::limits::TIME_INDEX_STEP_MS
    pub fn times(&self, from: Revision) -> Result<Vec<(i64, Revision)>, Error> {
        engine::read(&*self.inner.engine, |view| {
            let mut found = Vec::new();
            let mut cursor = view.cursor(&[layout::TIMES + 1]);
            cursor.seek(&[layout::TIMES]);
            while let Some((stored, value)) = cursor.item()? {
                let time = layout::parse_numbered(stored)?.0 as i64;
                let revision = Revision(layout::parse_number_record(value)?);
                if revision < from {
                    found.clear();
                }
                found.push((time, revision));
                cursor.next();
            }
            Ok(found)
        })
    }

    /// Reads the range of `request` until its limit or, but for the last key-value, `bytes_max` is
    /// reached. `request.revision` must name a revision; the order is that of keys, whatever
    /// `request` says.
    pub fn range_page(&self, request: &RangeRequest, bytes_max: usize) -> Result<RangePage, Error> {
        request.check()?;
        let current = self.revision();
        if request.revision.0 <= 0 {
            return Err(Error::Invalid("a page must be read at a revision".into()));
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        engine::read(&*self.inner.engine, |view| {
            // After the view: had something been removed, it would show.
            let compact = self.inner.applied.read().compact_revision;
            history::check_revision(request.revision, current, compact)?;
            let mut page = RangePage::default();
            let (mut bytes, mut full) = (0, false);
            History::new(view).scan(&Overlay::default(), &request.range, request.revision, &mut |found| {
                if full {
                    let end = request.range.end.clone();
                    page.rest = Some(KeyRange { start: Bytes::copy_from_slice(found.key), end });
                    return false;
                }
                page.walked += 1;
                if history::within_bounds(request, &found) {
                    let kv = found.to_kv(!request.keys_only);
                    bytes += KEY_VALUE_BYTES + kv.key.len() + kv.value.len();
                    page.kvs.push(kv);
                    full = bytes >= bytes_max || page.kvs.len() >= limit;
                }
                true
            })?;
            Ok(page)
        })
    }

    /// A hash of the history up to `revision` (zero: the newest) that is the same on every replica
    /// with the same compact revision, however much of what is compacted was physically removed.
    /// Reads the whole state.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`], as for a read.
    pub fn hash_kv(&self, revision: Revision) -> Result<KvHash, Error> {
        let current = self.revision();
        let revision = if revision.0 > 0 { revision } else { current };
        engine::read(&*self.inner.engine, |view| {
            let compact = self.inner.applied.read().compact_revision;
            history::check_revision(revision, current, compact)?;
            let hash = hash(view, revision, compact)?;
            Ok(KvHash { hash, revision, compact_revision: compact, current })
        })
    }
}

/// Of the versions at or below `compact` only those count that a read at `compact` or later, or a
/// watch from it, can still show.
fn hash(view: &dyn View, through: Revision, compact: Revision) -> Result<u32, EngineError> {
    let mut hash = 0;
    let mut cursor = view.cursor(&[layout::VERSIONS + 1]);
    cursor.seek(&[layout::VERSIONS]);
    // What the versions of the key begin with, and whether one at or below `compact` was seen.
    let (mut key, mut settled) = (Vec::new(), false);
    while let Some((stored, value)) = cursor.item()? {
        let (prefix, revision) = layout::split_version(stored)?;
        if prefix != key {
            key.clear();
            key.extend_from_slice(prefix);
            settled = false;
        }
        if revision <= through {
            let reachable = if revision > compact {
                true
            } else {
                let newest = !std::mem::replace(&mut settled, true);
                newest && (revision == compact || Version::parse(value)? != Version::Tombstone)
            };
            if reachable {
                hash = crc32c::crc32c_append(hash, stored);
                hash = crc32c::crc32c_append(hash, &(value.len() as u64).to_le_bytes());
                hash = crc32c::crc32c_append(hash, value);
            }
        }
        cursor.next();
    }
    Ok(hash)
}
