//! Ranges that are read page by page: how many keys each page and those after it have. Counted once for
//! the first page, and from page to page reckoned from what lies between, since history does not change.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::engine::EngineError;
use crate::history::{History, Overlay};
use crate::kv::{KeyRange, RangeRequest, RangeResponse, Revision, SortOrder, SortTarget};

/// Ranges under way that are remembered.
const RANGES_MAX: usize = 64;
/// Keys between two pages above which all are counted anew.
const BETWEEN_MAX: i64 = 10_000;

/// The keys from `start` to `end` at a revision.
struct Counted {
    start: Bytes,
    end: Bytes,
    at: Revision,
    count: i64,
}

#[derive(Default)]
pub(super) struct Counts(Mutex<VecDeque<Counted>>);

/// Whether a request asks for the first keys of a range in their order, whatever they are.
pub(super) fn is_page(request: &RangeRequest) -> bool {
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    request.limit > 0
        && !request.count_only
        && !request.range.end.is_empty()
        && request.sort_target == SortTarget::Key
        && request.sort_order != SortOrder::Descend
        && bounds == [Revision(0); 4]
}

impl Counts {
    /// Answers a request that [`is_page`], whose revision `at` was checked.
    pub(super) fn page(
        &self,
        history: &mut History<'_>,
        request: &RangeRequest,
        at: Revision,
        current: Revision,
    ) -> Result<RangeResponse, EngineError> {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let mut response = RangeResponse { revision: current, ..RangeResponse::default() };
        history.scan(&Overlay::default(), &request.range, at, &mut |found| {
            response.more = response.kvs.len() >= limit;
            if !response.more {
                response.kvs.push(found.to_kv(!request.keys_only));
            }
            !response.more
        })?;
        response.count = match response.more {
            true => self.count(history, &request.range, at)?,
            false => response.kvs.len() as i64,
        };
        Ok(response)
    }

    fn count(&self, history: &mut History<'_>, range: &KeyRange, at: Revision) -> Result<i64, EngineError> {
        let known = self.take(range, at);
        let between = match &known {
            Some(known) if known.start == range.start => Some(0),
            Some(known) => {
                let between = KeyRange { start: known.start.clone(), end: range.start.clone() };
                count(history, &between, at, BETWEEN_MAX)?
            }
            None => None,
        };
        let count = match (known, between) {
            (Some(known), Some(between)) => known.count - between,
            _ => count(history, range, at, i64::MAX)?.unwrap_or(0),
        };
        let mut all = self.0.lock();
        if all.len() >= RANGES_MAX {
            all.pop_front();
        }
        all.push_back(Counted { start: range.start.clone(), end: range.end.clone(), at, count });
        Ok(count)
    }

    /// What is known of a range that begins here or before, and ends where this one does.
    fn take(&self, range: &KeyRange, at: Revision) -> Option<Counted> {
        // As an end it would mean none.
        if range.start[..] == [0] {
            return None;
        }
        let mut all = self.0.lock();
        let same = |known: &Counted| known.at == at && known.end == range.end && known.start <= range.start;
        let place = all.iter().position(same)?;
        all.remove(place)
    }
}

/// Keys of the range; `None` where there are more than `most`.
fn count(
    history: &mut History<'_>,
    range: &KeyRange,
    at: Revision,
    most: i64,
) -> Result<Option<i64>, EngineError> {
    let mut count = 0;
    history.scan(&Overlay::default(), range, at, &mut |_| {
        count += 1;
        count <= most
    })?;
    Ok((count <= most).then_some(count))
}
