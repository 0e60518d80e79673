//! Lists and the watches that go on from them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_client::{Client, ListParams, WatchEvent};

use super::super::{ANSWER_TIMEOUT, PAUSE};
use super::NAMESPACE;
use super::objects::{self, END, WATCHED};
use crate::history::{ApiChange, ApiEvent, ApiWatch, Recorder};

const WATCH_TIMEOUT: Duration = Duration::from_secs(300);

/// Follows everything of the traffic until its end is told, or `stop`: a list and a watch for each
/// resource. When its place in history is gone (410) it lists and goes on as a new watch.
pub async fn watchers(id: u32, api: Client, recorder: Arc<Recorder>, stop: CancellationToken) {
    let each = WATCHED.iter().map(|resource| async {
        tokio::select! { () = stop.cancelled() => {}, () = one(id, resource, &api, &recorder) => {} }
    });
    futures::future::join_all(each).await;
}

/// Why a stream is not followed any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It broke, and can be taken up again.
    Broken,
    /// The place in history is gone.
    Gone,
    /// It has told of the end of the run.
    Ended,
}

async fn one(id: u32, resource: &'static str, api: &Client, recorder: &Recorder) {
    let end = objects::id(resource, END);
    let mut left = Left::Gone;
    while left != Left::Ended {
        let Some(begun) = list(id, resource, api).await else {
            sleep(PAUSE).await;
            continue;
        };
        if begun.initial.iter().any(|object| object.id() == end) {
            left = Left::Ended;
        }
        let mut reached = begun.from.to_string();
        let number = recorder
            .with(|history| {
                history.api.watches.push(begun);
                history.api.watches.len() - 1
            })
            .await;
        while left != Left::Ended {
            left = follow(number, resource, &mut reached, api, recorder).await;
            if left == Left::Gone {
                break;
            }
            sleep(PAUSE).await;
        }
    }
}

async fn list(id: u32, resource: &'static str, api: &Client) -> Option<ApiWatch> {
    let (kind, params) = (objects::resource(resource), ListParams::labels(objects::selector(resource)));
    let list = timeout(ANSWER_TIMEOUT, api.list(&kind, Some(NAMESPACE), &params)).await.ok()?.ok()?;
    let from = objects::version(&list.resource_version);
    Some(ApiWatch {
        watcher: id,
        resource: resource.to_owned(),
        from,
        initial: list.items.iter().map(|object| objects::shown(resource, object)).collect(),
        events: Vec::new(),
        reached: from,
    })
}

async fn follow(
    number: usize,
    resource: &'static str,
    reached: &mut String,
    api: &Client,
    recorder: &Recorder,
) -> Left {
    let of = |error: &trireme_client::Error| if error.is_gone() { Left::Gone } else { Left::Broken };
    let end = objects::id(resource, END);
    let params =
        ListParams { resource_version: reached.clone(), ..ListParams::labels(objects::selector(resource)) };
    let kind = objects::resource(resource);
    let watch = api.watch(&kind, Some(NAMESPACE), &params, WATCH_TIMEOUT);
    let mut stream = match timeout(ANSWER_TIMEOUT, watch).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return of(&error),
        Err(_) => return Left::Broken,
    };
    while let Some(item) = stream.next().await {
        let (change, object) = match item {
            Ok(WatchEvent::Added(object)) => (ApiChange::Added, object),
            Ok(WatchEvent::Modified(object)) => (ApiChange::Modified, object),
            Ok(WatchEvent::Deleted(object)) => (ApiChange::Deleted, object),
            Ok(WatchEvent::Bookmark { resource_version, .. }) => {
                let version = objects::version(&resource_version);
                recorder
                    .with(|history| {
                        let watch = &mut history.api.watches[number];
                        watch.reached = watch.reached.max(version);
                    })
                    .await;
                *reached = resource_version;
                continue;
            }
            Err(error) => return of(&error),
        };
        *reached = object.resource_version().to_owned();
        let object = objects::shown(resource, &object);
        let ended = object.id() == end;
        recorder
            .with(|history| {
                let watch = &mut history.api.watches[number];
                watch.reached = watch.reached.max(object.version);
                watch.events.push(ApiEvent { tick: recorder.tick(), change, object });
            })
            .await;
        if ended {
            return Left::Ended;
        }
    }
    Left::Broken
}
