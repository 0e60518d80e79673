//! Keeps the cache filled: one read of everything, then one watch of everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use trireme_store::planted::{self, Bug};
use trireme_store::{Error, EventKind, KeyRange, RangeRequest, Revision, WatchItem, WatchRequest};

use super::{Cache, Entry, KindCache};
use crate::limits;

/// Where the objects are.
const PREFIX: &str = "/registry/";
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Fills and follows, for ever. A watch that broke is resumed where it stopped; only when that
/// point is compacted is everything read again.
pub(super) async fn run(cache: Arc<Cache>) {
    let mut pause = RETRY;
    let mut position: Option<i64> = None;
    loop {
        let result = match position {
            None => fill(&cache).await,
            Some(revision) => follow(&cache, revision, &mut position).await,
        };
        match result {
            Ok(revision) => {
                position = Some(revision);
                pause = RETRY;
            }
            Err(Error::Compacted { compact_revision }) => {
                tracing::warn!(%compact_revision, "the watch of the store fell behind a compaction; reading all again");
                position = None;
            }
            Err(error) => {
                tracing::warn!(%error, "the watch of the store broke; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Reads every object at one revision, in pages.
async fn fill(cache: &Cache) -> Result<i64, Error> {
    let mut filled: Vec<BTreeMap<Box<str>, Arc<Entry>>> =
        cache.kinds.iter().map(|_| BTreeMap::new()).collect();
    let mut range = KeyRange::prefix(PREFIX);
    let mut revision = 0;
    loop {
        let mut request = RangeRequest::new(range.clone());
        request.limit = limits::CACHE_FILL_PAGE_KEYS;
        request.revision = Revision(revision);
        let page = cache.kv.range(request).await?;
        if revision == 0 {
            revision = page.revision.0;
        }
        for kv in &page.kvs {
            let Some((kind, suffix)) = cache.locate(&kv.key) else { continue };
            if let Some(entry) = load(kind, suffix, &kv.value, kv.mod_revision.0) {
                let i = cache.by_row[&(std::ptr::from_ref(kind.row) as usize)];
                filled[i].insert(suffix.into(), entry);
            }
        }
        match page.kvs.last() {
            Some(last) if page.more => {
                let mut next = last.key.to_vec();
                next.push(0);
                range.start = next.into();
            }
            _ => break,
        }
    }
    let objects: usize = filled.iter().map(BTreeMap::len).sum();
    for (kind, objects) in cache.kinds.iter().zip(filled) {
        kind.fill(objects, revision);
    }
    cache.revision.send_if_modified(|r| std::mem::replace(r, revision.max(*r)) < revision);
    cache.synced.store(true, Ordering::Release);
    tracing::info!(revision, objects, "watch cache filled");
    Ok(revision)
}

/// Follows every object. Keys of others bring the revision along by the progress that the store tells
/// after each barrier and soon after each write, so that no read waits for an event that does not come.
async fn follow(cache: &Cache, revision: i64, position: &mut Option<i64>) -> Result<i64, Error> {
    let mut request = WatchRequest::new(KeyRange::prefix(PREFIX), Revision(revision + 1));
    request.progress_notify = true;
    let mut stream = cache.kv.watch(request).await?;
    while let Some(item) = stream.next().await {
        let reached = match item? {
            WatchItem::Events { revision, events } => {
                for event in events {
                    let Some((kind, suffix)) = cache.locate(&event.kv.key) else { continue };
                    let at = event.kv.mod_revision.0;
                    if planted::is(Bug::CacheSkips) && at % 10 == 3 {
                        continue;
                    }
                    let new = match event.kind {
                        EventKind::Put => match load(kind, suffix, &event.kv.value, at) {
                            Some(entry) => Some(entry),
                            None => continue,
                        },
                        EventKind::Delete => None,
                    };
                    kind.apply(suffix, new, at);
                }
                revision.0
            }
            WatchItem::Progress { revision } => revision.0,
        };
        *position = Some(reached);
        cache.revision.send_if_modified(|r| std::mem::replace(r, reached.max(*r)) < reached);
    }
    Err(Error::Unavailable("the store closed the watch".into()))
}

fn load(kind: &KindCache, suffix: &str, value: &[u8], revision: i64) -> Option<Arc<Entry>> {
    match Entry::load(kind.row, suffix, value, revision) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(error) => {
            tracing::error!(resource = kind.row.plural, key = suffix, revision, %error, "a stored object cannot be read and is not served");
            None
        }
    }
}
