//! Events of the past, read back from the engine.

use super::{Filter, event_bytes};
use crate::engine::{EngineError, View};
use crate::history::{History, Overlay};
use crate::kv::{Event, EventKind, KeyValue, Revision};
use crate::layout::{self, Version};
use crate::limits::{WATCH_ITEM_BYTES_MAX, WATCH_ITEM_EVENTS_MAX};

/// Changes looked at for one chunk, wanted or not: bounds how long one read takes.
const SCANNED_MAX: usize = 20_000;

/// Some revisions of history.
pub(crate) struct Chunk {
    pub(crate) events: Vec<Event>,
    /// Everything wanted below it is in `events`.
    pub(crate) next: Revision,
}

/// Reads what `filter` wants from `from` to `through`, up to a bound, whole revisions only.
/// The caller has checked that `from` is not compacted.
pub(crate) fn replay(
    view: &dyn View,
    filter: &Filter,
    from: Revision,
    through: Revision,
    compact: Revision,
) -> Result<Chunk, EngineError> {
    let mut history = History::new(view);
    let mut cursor = view.cursor(&layout::revision_key(Revision(through.0 + 1), 0));
    cursor.seek(&layout::revision_key(from, 0));
    let (mut events, mut bytes, mut scanned) = (Vec::new(), 0, 0);
    let mut last = Revision(0);
    while let Some((stored, key)) = cursor.item()? {
        let revision = layout::parse_revision_key(stored)?;
        let full =
            events.len() >= WATCH_ITEM_EVENTS_MAX || bytes >= WATCH_ITEM_BYTES_MAX || scanned >= SCANNED_MAX;
        if full && revision != last {
            return Ok(Chunk { events, next: revision });
        }
        last = revision;
        scanned += 1;
        if filter.range.contains(key)
            && let Some(event) = event_at(&mut history, filter, key, revision, compact)?
        {
            bytes += event_bytes(&event);
            events.push(event);
        }
        cursor.next();
    }
    Ok(Chunk { events, next: Revision(through.0 + 1) })
}

fn event_at(
    history: &mut History<'_>,
    filter: &Filter,
    key: &[u8],
    revision: Revision,
    compact: Revision,
) -> Result<Option<Event>, EngineError> {
    let missing = || EngineError::Corrupt(format!("revision {revision} of a key is missing"));
    let (found, version) = history.stored(key, revision)?.ok_or_else(missing)?;
    if found != revision {
        return Err(missing());
    }
    let kind = match version {
        Version::Put { .. } => EventKind::Put,
        Version::Tombstone => EventKind::Delete,
    };
    if !filter.wants_kind(kind) {
        return Ok(None);
    }
    let kv = version.to_kv(key, revision).unwrap_or_else(|| KeyValue {
        key: bytes::Bytes::copy_from_slice(key),
        mod_revision: revision,
        ..Default::default()
    });
    // etcd: the version before is part of history, and may be compacted.
    let before = Revision(revision.0 - 1);
    let prev_kv = if filter.prev_kv && before >= compact {
        history.get(&Overlay::default(), key, before)?
    } else {
        None
    };
    Ok(Some(Event { kind, kv, prev_kv }))
}
