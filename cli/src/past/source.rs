//! Where the past is read: a store's history, of a cluster that runs or out of a backup.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use trireme_raft::Remote;
use trireme_store::{
    Error, Event, KeyRange, KeyValue, Kv, RangeRequest, Revision, Store, WatchItem, WatchRequest,
};

use super::archive::Scratch;
use super::kinds::{DEFINITIONS, Kinds};
use super::moment::{At, show};
use super::stamps::{self, Span};

const PAGE_KEYS: i64 = 2_000;
/// Values that are asked for at the same time.
const READS_AT_ONCE: usize = 16;
/// Changes looked at to place a moment between two entries of the index of times; past it the
/// moment is as exact as the index.
const CHANGES_LOOKED_AT_MAX: usize = 20_000;
/// How long history may take to come.
const HISTORY_MAX: std::time::Duration = std::time::Duration::from_secs(300);

/// The oldest revision whose state can be read, and the newest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub oldest: Revision,
    pub newest: Revision,
}

/// States of a cluster, one for each revision that is not compacted.
#[async_trait]
pub(super) trait Past: Send + Sync {
    async fn bounds(&self) -> Result<Bounds>;

    /// The index of times, from the last entry before the oldest revision on: when the time in
    /// milliseconds was the one, the other was the newest revision.
    async fn times(&self) -> Result<Vec<(i64, Revision)>>;

    /// Keys that begin with `prefix`, in order, without their values.
    async fn keys(&self, prefix: &str, at: Revision) -> Result<Vec<KeyValue>>;

    async fn get(&self, key: &str, at: Revision) -> Result<Option<KeyValue>>;

    /// Changes of keys in `range` after the one and up to the other revision, with what was there
    /// before; `None` when there are more than `max`.
    async fn changes(
        &self,
        range: KeyRange,
        after: Revision,
        through: Revision,
        max: usize,
    ) -> Result<Option<Vec<Event>>>;
}

/// Whose index of times it is.
pub(super) enum Times {
    Remote(Remote),
    Store(Store),
}

/// The history of one store.
pub(super) struct StorePast {
    pub kv: Arc<dyn Kv>,
    pub times: Times,
    /// What it lies in, where it was put together for this.
    pub _scratch: Option<Scratch>,
}

impl StorePast {
    fn explain(error: Error, at: Revision) -> anyhow::Error {
        match error {
            Error::Compacted { .. } => anyhow::anyhow!(
                "revision {at} was compacted while it was read: its history ended just now; take a later \
                 moment, or a backup with --from"
            ),
            other => anyhow::Error::new(other).context(format!("reading revision {at}")),
        }
    }
}

#[async_trait]
impl Past for StorePast {
    async fn bounds(&self) -> Result<Bounds> {
        let newest = self.kv.barrier().await.context("the store does not answer")?;
        let status = self.kv.status().await.context("the store does not answer")?;
        Ok(Bounds { oldest: status.compact_revision.max(Revision(1)), newest: newest.max(status.revision) })
    }

    async fn times(&self) -> Result<Vec<(i64, Revision)>> {
        let oldest = self.bounds().await?.oldest;
        let times = match &self.times {
            Times::Remote(remote) => remote.times(oldest).await,
            Times::Store(store) => store.times(oldest),
        };
        times.context("the store's index of times")
    }

    async fn keys(&self, prefix: &str, at: Revision) -> Result<Vec<KeyValue>> {
        let mut found = Vec::new();
        let mut range = KeyRange::prefix(prefix.to_owned());
        loop {
            let request = RangeRequest {
                keys_only: true,
                limit: PAGE_KEYS,
                revision: at,
                ..RangeRequest::new(range.clone())
            };
            let page = self.kv.range(request).await.map_err(|error| Self::explain(error, at))?;
            let Some(last) = page.kvs.last() else { return Ok(found) };
            range.start = [&last.key[..], &[0]].concat().into();
            found.extend(page.kvs);
            if !page.more {
                return Ok(found);
            }
        }
    }

    async fn get(&self, key: &str, at: Revision) -> Result<Option<KeyValue>> {
        let request = RangeRequest { revision: at, ..RangeRequest::new(KeyRange::key(key.to_owned())) };
        let found = self.kv.range(request).await.map_err(|error| Self::explain(error, at))?;
        Ok(found.kvs.into_iter().next())
    }

    async fn changes(
        &self,
        range: KeyRange,
        after: Revision,
        through: Revision,
        max: usize,
    ) -> Result<Option<Vec<Event>>> {
        if through <= after {
            return Ok(Some(Vec::new()));
        }
        let start = Revision(after.0 + 1);
        let request = WatchRequest {
            prev_kv: true,
            // Tells when all of the past was delivered.
            progress_notify: true,
            ..WatchRequest::new(range, start)
        };
        let read = async {
            let mut watch = self.kv.watch(request).await.map_err(|error| Self::explain(error, start))?;
            let mut found = Vec::new();
            while let Some(item) = watch.next().await {
                let reached = match item.map_err(|error| Self::explain(error, start))? {
                    WatchItem::Progress { revision } => revision,
                    WatchItem::Events { revision, events } => {
                        found.extend(events.into_iter().filter(|event| event.kv.mod_revision <= through));
                        // Not every event of this revision may have come yet.
                        Revision(revision.0 - 1)
                    }
                };
                if found.len() > max {
                    return Ok(None);
                }
                if reached >= through {
                    return Ok(Some(found));
                }
            }
            bail!("the store ended the reading of its history")
        };
        tokio::time::timeout(HISTORY_MAX, read).await.context("the history did not come in time")?
    }
}

/// A moment found in a past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub revision: Revision,
    /// Changes right after it that carry no time of their own and may have happened before.
    pub unclear: usize,
}

/// Why a moment is not in a past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is older than the history, which begins here.
    Older {
        oldest: Revision,
        since_ms: Option<i64>,
    },
    Future(String),
}

/// The newest revision at a moment.
pub(super) async fn resolve(past: &dyn Past, at: At, now_ms: i64) -> Result<Result<Found, Missing>> {
    let Bounds { oldest, newest } = past.bounds().await?;
    let older = |times: &[(i64, Revision)]| {
        let Span { not_before, not_after } = stamps::span(times, oldest);
        Missing::Older { oldest, since_ms: not_after.or(not_before) }
    };
    let time_ms = match at {
        At::Revision(revision) if revision > newest.0 => {
            return Ok(Err(Missing::Future(format!(
                "revision {revision} is not yet: the newest is {newest}"
            ))));
        }
        At::Revision(revision) if revision < oldest.0 => return Ok(Err(older(&past.times().await?))),
        At::Revision(revision) => return Ok(Ok(Found { revision: Revision(revision), unclear: 0 })),
        At::Time(time_ms) if time_ms > now_ms => {
            return Ok(Err(Missing::Future(format!("{} is not yet", show(time_ms)))));
        }
        At::Time(time_ms) => time_ms,
    };
    let times = past.times().await?;
    let Some((low, high)) = stamps::window(&times, newest, time_ms) else { return Ok(Err(older(&times))) };
    if high < oldest {
        return Ok(Err(older(&times)));
    }
    let from = low.max(oldest);
    let changes =
        past.changes(KeyRange::prefix(super::kinds::PREFIX), from, high, CHANGES_LOOKED_AT_MAX).await?;
    let (revision, unclear) = match changes {
        Some(changes) => stamps::refine(from, &own_times(&changes), time_ms),
        None => (from, 0),
    };
    // What was compacted may be newer than the moment.
    if low < oldest && revision == oldest {
        return Ok(Err(older(&times)));
    }
    Ok(Ok(Found { revision, unclear }))
}

fn own_times(changes: &[Event]) -> Vec<(Revision, Option<i64>)> {
    let kinds = Kinds::built_in();
    let decode = |kv: &KeyValue| kinds.locate(&kv.key).and_then(|(row, _)| row.decode(&kv.value).ok());
    let own = |event: &Event| {
        let before = event.prev_kv.as_ref().and_then(decode);
        decode(&event.kv).and_then(|object| stamps::written_ms(&object, before.as_ref()))
    };
    changes.iter().map(|event| (event.kv.mod_revision, own(event))).collect()
}

/// When the cluster was made: its namespaces say so. `None` where they do not.
pub(super) async fn made_ms(past: &dyn Past, at: Revision) -> Result<Option<i64>> {
    let key = format!("{}namespaces/kube-system", super::kinds::PREFIX);
    let Some(found) = past.get(&key, at).await? else { return Ok(None) };
    let kinds = Kinds::built_in();
    let object = kinds.locate(&found.key).and_then(|(row, _)| row.decode(&found.value).ok());
    Ok(object.and_then(|object| stamps::time(&object["metadata"]["creationTimestamp"])))
}

/// The kinds that there were at a revision.
pub(super) async fn kinds_at(past: &dyn Past, at: Revision, kinds: &mut Kinds) -> Result<()> {
    let keys: Vec<String> = names(&past.keys(DEFINITIONS, at).await?);
    for (_, stored) in values(past, keys, at).await? {
        if let Ok(definition) = serde_json::from_slice(&stored.value) {
            kinds.define(&definition);
        }
    }
    Ok(())
}

pub(super) fn names(keys: &[KeyValue]) -> Vec<String> {
    keys.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

/// Those of `keys` that are there, with their values, in order.
pub(super) async fn values(
    past: &dyn Past,
    keys: Vec<String>,
    at: Revision,
) -> Result<Vec<(String, KeyValue)>> {
    let read = |key: String| async move { Ok::<_, anyhow::Error>((past.get(&key, at).await?, key)) };
    let found: Vec<_> = stream::iter(keys).map(read).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().filter_map(|(kv, key)| Some((key, kv?))).collect())
}
