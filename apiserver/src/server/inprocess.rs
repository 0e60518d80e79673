//! Lists and watches for components of the same process: objects shared with the cache, without
//! encoding. They are authorized and counted like any other request.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use trireme_api::Object;
use trireme_api::Value;

use super::Core;
use super::listener::Phase;
use crate::authz;
use crate::cache::Watcher;
use crate::filters::{self, Call};
use crate::identity::Identity;
use crate::present;
use crate::registry::options::ListOptions;
use crate::registry::{self, Resource};
use crate::status::{ApiError, Result};

/// A page of a list.
#[derive(Clone, Debug)]
pub struct List {
    pub resource_version: String,
    pub continue_token: String,
    pub items: Vec<Arc<Object>>,
}

/// What a watch delivers.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// Everything up to this `resourceVersion` was delivered.
    Bookmark {
        resource_version: String,
        initial_events_end: bool,
    },
}

/// Ends with an `Err` when the watch cannot go on (410: list again), with `None` at its deadline
/// and when the server stops.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent>> + Send>>;

fn prepare(core: &Arc<Core>, path: &str, identity: &Identity, verb: &str) -> Result<(Call, Resource)> {
    let call = filters::call_for(core, path, identity)?;
    let resource = Resource::find(&call.info).ok_or_else(ApiError::no_such_path)?;
    let mut attributes = authz::Attributes::from(&call.info);
    verb.clone_into(&mut attributes.verb);
    authz::require(core, identity, &attributes)?;
    resource.check_path(&call.info)?;
    Ok((call, resource))
}

/// Another version than the stored one is made for this caller alone.
fn in_version(resource: &Resource, object: Arc<Object>) -> Arc<Object> {
    if resource.is_hub() {
        return object;
    }
    let mut value: Value = object.0.clone();
    present::to_version(resource, &mut value);
    Arc::new(Object(value))
}

pub(super) async fn list(core: &Arc<Core>, path: &str, identity: &Identity) -> Result<List> {
    let (call, resource) = prepare(core, path, identity, "list")?;
    let options = ListOptions::parse(&call, &resource, false)?;
    let page = registry::select_list(core, &resource, &options).await?;
    Ok(List {
        resource_version: page.revision.to_string(),
        continue_token: page.continue_token,
        items: page.entries.iter().map(|e| in_version(&resource, e.object())).collect(),
    })
}

/// A watch on its way.
struct Follow {
    core: Arc<Core>,
    resource: Resource,
    watcher: Watcher,
    waiting: std::collections::VecDeque<WatchEvent>,
    floor: i64,
    sent_revision: i64,
    bookmarks: bool,
    next_bookmark: tokio::time::Instant,
    deadline: Option<tokio::time::Instant>,
    ended: bool,
    _counted: crate::metrics::LongRunning,
}

pub(super) async fn watch(core: &Arc<Core>, path: &str, identity: &Identity) -> Result<WatchStream> {
    let (call, resource) = prepare(core, path, identity, "watch")?;
    let options = ListOptions::parse(&call, &resource, true)?;
    let started = registry::start_watch(core, &resource, &options).await??;
    let mut waiting: std::collections::VecDeque<WatchEvent> =
        started.initial.iter().map(|e| WatchEvent::Added(in_version(&resource, e.object()))).collect();
    if started.mark_initial_end {
        waiting.push_back(WatchEvent::Bookmark {
            resource_version: started.revision.to_string(),
            initial_events_end: true,
        });
    }
    let now = tokio::time::Instant::now();
    let follow = Follow {
        core: core.clone(),
        resource,
        watcher: started.watcher,
        waiting,
        floor: started.floor,
        sent_revision: started.revision,
        bookmarks: options.bookmarks,
        next_bookmark: now + crate::limits::BOOKMARK_INTERVAL,
        deadline: options.timeout_s.filter(|s| *s > 0).map(|s| now + std::time::Duration::from_secs(s)),
        ended: false,
        _counted: crate::metrics::Metrics::long_running(core.clone()),
    };
    Ok(Box::pin(futures::stream::unfold(follow, |mut follow| async move {
        let item = follow.next().await?;
        Some((item, follow))
    })))
}

impl Follow {
    async fn next(&mut self) -> Option<Result<WatchEvent>> {
        if self.ended {
            return None;
        }
        let mut phase = self.core.phase.subscribe();
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(event));
            }
            let reached = self.core.cache.revision();
            if let Err(error) = self.read() {
                self.ended = true;
                return Some(Err(error));
            }
            if !self.waiting.is_empty() || self.watcher.is_pending() {
                continue;
            }
            self.sent_revision = self.sent_revision.max(reached);
            let far = self.next_bookmark + std::time::Duration::from_secs(86_400);
            tokio::select! {
                biased;
                () = self.watcher.ready() => {}
                () = tokio::time::sleep_until(self.deadline.unwrap_or(far)), if self.deadline.is_some() => return None,
                _ = phase.wait_for(|p| *p >= Phase::Stopping) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = tokio::time::Instant::now() + crate::limits::BOOKMARK_INTERVAL;
                    return Some(Ok(WatchEvent::Bookmark {
                        resource_version: self.sent_revision.to_string(),
                        initial_events_end: false,
                    }));
                }
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        use crate::cache::ChangeType;
        let events = self.watcher.read().map_err(|_| {
            let kind = self.core.cache.kind(self.resource.row);
            ApiError::too_old(self.sent_revision, kind.changed_revision())
        })?;
        for (change, entry, event) in events {
            if event.revision <= self.floor {
                continue;
            }
            self.sent_revision = self.sent_revision.max(event.revision);
            let object = in_version(&self.resource, present::shared(&entry, change, &event));
            self.waiting.push_back(match change {
                ChangeType::Added => WatchEvent::Added(object),
                ChangeType::Modified => WatchEvent::Modified(object),
                ChangeType::Deleted => WatchEvent::Deleted(object),
            });
        }
        Ok(())
    }
}
