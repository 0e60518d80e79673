//! The task that keeps one informer's store in step: list, watch from there, and again when the
//! watch ends.
//!
//! ```text
//!   list (streamed, or in pages) ──► watch ──ends──► watch from the last revision seen
//!     ▲                                │
//!     └────────── 410, refresh ◄───────┘
//! ```

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use trireme_api::Object;

use super::Shared;
use crate::client::{ListParams, with_query};
use crate::transport::{Error, WatchEvent, WatchStream};

/// The server ends a watch after a time between these two, so that not all end together.
const WATCH_SECONDS_MIN: u64 = 300;
const WATCH_SECONDS_MAX: u64 = 600;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// Short: after the loss of a leader, controllers go on as soon as there is a new one.
const BACKOFF_MAX: Duration = Duration::from_millis(1000);
/// A watch that lasted so long was a good one.
const WATCH_GOOD: Duration = Duration::from_secs(2);
/// The streamed first list must make progress within this.
const INITIAL_EVENTS_DEADLINE: Duration = Duration::from_secs(60);
/// Failures in a row from which on they are worth a warning.
const FAILURES_WARNED: u32 = 8;

enum Ended {
    /// By the server, as watches do.
    Closed,
    /// The store must be filled anew.
    Relist,
    Broken(Error),
}

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let _ = stop.run_until_cancelled(keep(&shared)).await;
}

async fn keep(shared: &Shared) {
    let mut backoff = Backoff::default();
    let mut streamed = true;
    loop {
        let asked = shared.refresh_asked.load(Ordering::Acquire);
        let mut stream = match fill(shared, &mut streamed).await {
            Ok(stream) => stream,
            Err(e) => {
                backoff.failed(shared, "list", &e).await;
                continue;
            }
        };
        shared.synced.send_replace(true);
        shared.refresh_done.send_replace(asked);
        loop {
            let started = Instant::now();
            let ended = match stream.take() {
                Some(stream) => follow(shared, stream).await,
                None => match watch(shared).await {
                    Ok(stream) => follow(shared, stream).await,
                    Err(e) if e.is_gone() => Ended::Relist,
                    Err(e) => Ended::Broken(e),
                },
            };
            if started.elapsed() > WATCH_GOOD {
                backoff = Backoff::default();
            }
            match ended {
                Ended::Relist => break,
                // A server that ends watches at once must not be asked in a tight loop.
                Ended::Closed => backoff.pause().await,
                Ended::Broken(e) => backoff.failed(shared, "watch", &e).await,
            }
        }
    }
}

/// Fills the store. A streamed list goes over into a watch, which is returned.
async fn fill(shared: &Shared, streamed: &mut bool) -> Result<Option<WatchStream>, Error> {
    if *streamed {
        match fill_streamed(shared).await {
            Err(e) if matches!(e.status(), 400 | 422) => *streamed = false,
            other => return other.map(Some),
        }
    }
    let list = shared
        .client
        .list_all(&shared.resource, shared.scope.namespace.as_deref(), &params(shared, ""))
        .await?;
    shared.apply(|store| store.replace(list.items));
    *shared.revision.lock() = list.resource_version;
    Ok(None)
}

async fn fill_streamed(shared: &Shared) -> Result<WatchStream, Error> {
    let path = with_query(
        &shared.resource.collection(shared.scope.namespace.as_deref()),
        &[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
            ("labelSelector", &shared.scope.label_selector),
            ("fieldSelector", &shared.scope.field_selector),
            ("timeoutSeconds", &watch_timeout().as_secs().to_string()),
        ],
    );
    let mut stream = shared.client.transport().watch(&path).await?;
    let mut objects: Vec<Arc<Object>> = Vec::new();
    // Changes that come between the initial events.
    let mut changes: Vec<WatchEvent> = Vec::new();
    loop {
        let event = timeout(INITIAL_EVENTS_DEADLINE, stream.next())
            .await
            .map_err(|_| Error::Unreachable("the initial events stopped".into()))?
            .ok_or_else(|| Error::Unreachable("the watch ended within its initial events".into()))??;
        match event {
            WatchEvent::Added(object) => objects.push(object),
            WatchEvent::Bookmark { resource_version, initial_events_end: true } => {
                shared.apply(|store| store.replace(objects));
                for change in changes {
                    take_in(shared, change);
                }
                *shared.revision.lock() = resource_version;
                return Ok(stream);
            }
            WatchEvent::Bookmark { .. } => {}
            other => changes.push(other),
        }
    }
}

async fn watch(shared: &Shared) -> Result<WatchStream, Error> {
    let revision = shared.revision.lock().clone();
    shared
        .client
        .watch(
            &shared.resource,
            shared.scope.namespace.as_deref(),
            &params(shared, &revision),
            watch_timeout(),
        )
        .await
}

async fn follow(shared: &Shared, mut stream: WatchStream) -> Ended {
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = shared.refresh.notified() => return Ended::Relist,
        };
        match event {
            None => return Ended::Closed,
            Some(Err(e)) if e.is_gone() => return Ended::Relist,
            Some(Err(e)) => return Ended::Broken(e),
            Some(Ok(event)) => take_in(shared, event),
        }
    }
}

fn take_in(shared: &Shared, event: WatchEvent) {
    let revision = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let revision = object.resource_version().to_owned();
            shared.apply(|store| store.upsert(object).into_iter().collect());
            revision
        }
        WatchEvent::Deleted(object) => {
            shared.apply(|store| store.remove(&object).into_iter().collect());
            object.resource_version().to_owned()
        }
        WatchEvent::Bookmark { resource_version, .. } => resource_version,
    };
    if !revision.is_empty() {
        *shared.revision.lock() = revision;
    }
}

fn params(shared: &Shared, revision: &str) -> ListParams {
    ListParams {
        label_selector: shared.scope.label_selector.clone(),
        field_selector: shared.scope.field_selector.clone(),
        resource_version: revision.to_owned(),
        ..ListParams::default()
    }
}

/// A number below `n` that differs between callers: only spreads load, nothing depends on it.
fn spread(n: u64) -> u64 {
    RandomState::new().build_hasher().finish() % n.max(1)
}

fn watch_timeout() -> Duration {
    Duration::from_secs(WATCH_SECONDS_MIN + spread(WATCH_SECONDS_MAX - WATCH_SECONDS_MIN))
}

#[derive(Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let full = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        half + Duration::from_millis(spread(half.as_millis() as u64 + 1))
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    async fn failed(&mut self, shared: &Shared, what: &str, e: &Error) {
        let resource = shared.resource.to_string();
        if self.failures == FAILURES_WARNED {
            tracing::warn!(resource, what, error = %e, "cache is behind: the API server does not answer");
        } else {
            tracing::debug!(resource, what, error = %e, "cache asks again");
        }
        self.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_limit_and_stays_positive() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|w| *w >= BACKOFF_FIRST / 2 && *w <= BACKOFF_MAX), "{waits:?}");
        assert!(waits[11] >= BACKOFF_MAX / 2, "{waits:?}");
    }
}
