//! The watch cache: every object the API serves, as the bytes it is served in.
//!
//! ```text
//!   store ──one watch──► feed ──► KindCache: objects (ordered) ──► GET, LIST
//!                          │              └─ ring of events ──► watchers (cursors)
//!                          └─ revision: what reads wait for
//! ```
//!
//! **Invariant**: nothing here is proportional to watchers × objects. An event is loaded and
//! encoded once however many watch it, and wakes only those it may concern.

mod entry;
mod feed;
mod filter;
mod kind;
mod ring;
mod watcher;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use trireme_api::kinds::Kind;
use trireme_store::Kv;

pub(crate) use entry::{Entry, key_of};
pub(crate) use filter::Filter;
pub(crate) use kind::{KindCache, Start};
pub(crate) use ring::{ChangeType, Event};
pub(crate) use watcher::Watcher;

use crate::limits;
use crate::slow::{self, Step};
use crate::status::ApiError;

/// All kinds, fed by one store watch.
pub(crate) struct Cache {
    kinds: Vec<Arc<KindCache>>,
    /// By `Kind::storage_prefix` without `/registry/`.
    by_prefix: HashMap<&'static str, usize>,
    by_row: HashMap<usize, usize>,
    /// Everything up to and with this revision is in the kinds.
    revision: watch::Sender<i64>,
    synced: AtomicBool,
    kv: Arc<dyn Kv>,
}

impl Cache {
    pub(crate) fn new(kv: Arc<dyn Kv>, rows: impl Iterator<Item = &'static Kind>) -> Arc<Cache> {
        let mut cache = Cache {
            kinds: Vec::new(),
            by_prefix: HashMap::new(),
            by_row: HashMap::new(),
            revision: watch::Sender::new(0),
            synced: AtomicBool::new(false),
            kv,
        };
        for row in rows.filter(|row| !row.virtual_kind) {
            let i = cache.kinds.len();
            cache.by_row.insert(std::ptr::from_ref(row) as usize, i);
            cache.by_prefix.insert(row.storage_prefix.trim_start_matches("/registry/"), i);
            cache.kinds.push(Arc::new(KindCache::new(row)));
        }
        Arc::new(cache)
    }

    /// Follows the store until the returned task is dropped or aborted.
    pub(crate) fn follow(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(feed::run(self.clone()))
    }

    pub(crate) fn kind(&self, row: &'static Kind) -> &Arc<KindCache> {
        let i = self.by_row.get(&(std::ptr::from_ref(row) as usize)).expect("every stored row has a cache");
        &self.kinds[*i]
    }

    pub(crate) fn kinds(&self) -> &[Arc<KindCache>] {
        &self.kinds
    }

    /// The kind a key belongs to and what follows its prefix: `default/a`.
    fn locate<'k>(&self, key: &'k [u8]) -> Option<(&Arc<KindCache>, &'k str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix("/registry/")?;
        let mut ends = rest.match_indices('/').map(|(i, _)| i);
        let (first, second) = (ends.next()?, ends.next());
        let found = second
            .and_then(|end| Some((self.by_prefix.get(&rest[..end])?, &rest[end + 1..])))
            .or_else(|| Some((self.by_prefix.get(&rest[..first])?, &rest[first + 1..])));
        found.map(|(i, suffix)| (&self.kinds[*i], suffix))
    }

    /// Whether the first fill is done and the feed follows.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn revision(&self) -> i64 {
        *self.revision.borrow()
    }

    /// Waits until everything up to `revision` is here. `Err` is the revision it has instead.
    pub(crate) async fn wait_for(&self, revision: i64, timeout: Duration) -> Result<i64, i64> {
        if self.revision() >= revision {
            return Ok(self.revision());
        }
        let _step = slow::step(Step::CacheWait);
        let mut receiver = self.revision.subscribe();
        let reached = tokio::time::timeout(timeout, receiver.wait_for(|r| *r >= revision)).await;
        match reached {
            Ok(Ok(r)) => Ok(*r),
            _ => Err(self.revision()),
        }
    }

    /// Waits until the cache holds every write acknowledged anywhere before this call, and gives
    /// a revision that covers them.
    pub(crate) async fn barrier(&self) -> Result<i64, ApiError> {
        let revision = self.store_barrier().await?;
        self.wait_for(revision, limits::CACHE_WAIT_TIMEOUT).await.map_err(|at| {
            ApiError::timeout(format!("the cache is at revision {at} and did not reach {revision} in time"))
        })
    }

    async fn store_barrier(&self) -> Result<i64, ApiError> {
        let _step = slow::step(Step::Barrier);
        Ok(self.kv.barrier().await?.0)
    }

    /// Waits for a revision that a client named.
    pub(crate) async fn wait_for_client(&self, revision: i64) -> Result<i64, ApiError> {
        if self.revision() < revision {
            // A client may have it from another server; a write since then brings ours along.
            let newest = self.store_barrier().await?;
            if newest < revision {
                return match self.wait_for(revision, limits::FUTURE_REVISION_TIMEOUT).await {
                    Ok(r) => Ok(r),
                    Err(at) => Err(ApiError::future_revision(revision, at)),
                };
            }
        }
        self.wait_for(revision, limits::CACHE_WAIT_TIMEOUT)
            .await
            .map_err(|at| ApiError::future_revision(revision, at))
    }
}
