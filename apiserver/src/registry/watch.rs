//! WATCH: a cursor on the kind's ring, framed as the client asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use rand::RngExt;
use tokio::time::Instant;

use super::Resource;
use super::options::{ListOptions, parse_revision};
use crate::cache::{Entry, Start, Watcher};
use crate::filters::Call;
use crate::limits;
use crate::metrics::Metrics;
use crate::negotiate::{self, Transform};
use crate::present::Framing;
use crate::server::listener::Phase;
use crate::server::{Body, Core};
use crate::status::{ApiError, Result};

/// A watch that has begun.
pub(crate) struct Started {
    /// Objects it begins with.
    pub(crate) initial: Vec<Arc<Entry>>,
    /// Everything up to here is in `initial` (or was before the watch).
    pub(crate) revision: i64,
    /// Only events after this are of interest.
    pub(crate) floor: i64,
    /// Whether the end of the initial objects is to be marked.
    pub(crate) mark_initial_end: bool,
    pub(crate) watcher: Watcher,
}

/// Begins a watch. `Err` of the inner result is for the stream's ERROR event: upstream answers
/// 200 first.
pub(crate) async fn start(
    core: &Core,
    resource: &Resource,
    options: &ListOptions,
) -> Result<std::result::Result<Started, ApiError>> {
    let cache = &core.cache;
    let start = match (options.resource_version.as_str(), options.send_initial_events) {
        ("", Some(false)) => {
            cache.barrier().await?;
            Start::Next
        }
        ("0", Some(false)) => Start::Next,
        ("", _) => {
            cache.barrier().await?;
            Start::Current
        }
        ("0", _) => Start::Current,
        (text, initial) => {
            let revision = parse_revision(text)?;
            if initial == Some(true) {
                cache.wait_for_client(revision).await?;
                Start::Current
            } else {
                Start::After(revision)
            }
        }
    };
    // Read first: whatever the kind holds at the next line is at least as new.
    let revision = cache.revision();
    Ok(match cache.kind(resource.row).watch(options.filter.clone(), start) {
        Ok((initial, watcher)) => {
            let (revision, floor) = match start {
                Start::After(after) => (after, after),
                _ => (initial.iter().map(|e| e.revision).max().unwrap_or(0).max(revision), 0),
            };
            let mark_initial_end = options.send_initial_events == Some(true) && options.bookmarks;
            Ok(Started { initial, revision, floor, mark_initial_end, watcher })
        }
        Err(too_old) => {
            let asked = match start {
                Start::After(revision) => revision,
                _ => 0,
            };
            Err(ApiError::too_old(asked, too_old.oldest))
        }
    })
}

/// `watch`.
pub(super) async fn watch(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::watch_target(call)?;
    let mut options = ListOptions::parse(call, resource, true)?;
    if call.info.named {
        options.filter.fields.terms.push(trireme_api::selector::FieldTerm {
            field: "metadata.name".into(),
            value: call.info.name.clone(),
            negated: false,
        });
    }
    let started = start(&call.core, resource, &options).await?;
    let timeout = match options.timeout_s {
        Some(s) if s > 0 => Duration::from_secs(s),
        _ => {
            let min = limits::WATCH_TIMEOUT_MIN.as_secs();
            Duration::from_secs(rand::rng().random_range(min..2 * min))
        }
    };
    let framing = Framing::new(call, *resource, target)?;
    let content_type = framing.content_type();
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            let frame = framing.error(&error);
            return Ok(negotiate::respond_body(StatusCode::OK, content_type, Body::Full(frame)));
        }
    };
    let follow = Follow {
        core: call.core.clone(),
        deadline: Instant::now() + timeout,
        next_bookmark: Instant::now() + limits::BOOKMARK_INTERVAL,
        bookmarks: options.bookmarks,
        floor: started.floor,
        sent_revision: started.revision,
        mark_initial_end: started.mark_initial_end,
        initial: started.initial.into_iter(),
        watcher: started.watcher,
        columns: matches!(target.transform, Transform::Table(_)),
        done: false,
        framing,
        _counted: Metrics::long_running(call.core.clone()),
    };
    let body = Body::stream(futures::stream::unfold(follow, |mut follow| async move {
        let frame = follow.next().await?;
        Some((frame, follow))
    }));
    Ok(negotiate::respond_body(StatusCode::OK, content_type, body))
}

/// A watch on its way: what it still has to send.
pub(crate) struct Follow {
    core: Arc<Core>,
    framing: Framing,
    initial: std::vec::IntoIter<Arc<Entry>>,
    mark_initial_end: bool,
    watcher: Watcher,
    /// Only events after this are of interest: a client may name a revision that this server has
    /// not reached yet.
    floor: i64,
    /// Everything up to here was sent.
    sent_revision: i64,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// The next Table frame carries the column definitions.
    columns: bool,
    done: bool,
    _counted: crate::metrics::LongRunning,
}

impl Follow {
    /// The next bytes; `None` when the watch has ended.
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(bytes) = self.initial_frames() {
            return Some(bytes);
        }
        if std::mem::take(&mut self.mark_initial_end) {
            return Some(self.framing.bookmark(self.sent_revision, true));
        }
        let mut phase = self.core.phase.subscribe();
        loop {
            // Read first: events up to here are in the ring by now.
            let reached = self.core.cache.revision();
            match self.event_frames() {
                Ok(Some(bytes)) => return Some(bytes),
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    return Some(self.framing.error(&error));
                }
            }
            self.sent_revision = self.sent_revision.max(reached);
            let bookmark_at = if self.bookmarks { self.next_bookmark } else { self.deadline };
            tokio::select! {
                biased;
                () = self.watcher.ready() => {}
                () = tokio::time::sleep_until(self.deadline) => return self.end(),
                _ = phase.wait_for(|p| *p >= Phase::Stopping) => return self.end(),
                () = tokio::time::sleep_until(bookmark_at), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + limits::BOOKMARK_INTERVAL;
                    return Some(self.framing.bookmark(self.sent_revision, false));
                }
            }
        }
    }

    /// A last bookmark, so that the client resumes from here.
    fn end(&mut self) -> Option<Bytes> {
        self.done = true;
        self.bookmarks.then(|| self.framing.bookmark(self.sent_revision, false))
    }

    fn initial_frames(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        for entry in self.initial.by_ref() {
            if let Ok(frame) = self.framing.initial(&entry, std::mem::take(&mut self.columns)) {
                out.extend_from_slice(&frame);
                self.core.metrics.watch_events(1);
            }
            if out.len() >= limits::WATCH_BATCH_BYTES_MAX {
                break;
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    fn event_frames(&mut self) -> Result<Option<Bytes>> {
        loop {
            let events = self.watcher.read().map_err(|_| {
                let kind = self.core.cache.kind(self.framing.resource.row);
                ApiError::too_old(self.sent_revision, kind.changed_revision())
            })?;
            let mut frames = Vec::with_capacity(events.len());
            for (change, entry, event) in &events {
                if event.revision > self.floor {
                    frames.push(self.framing.event(
                        *change,
                        entry,
                        event,
                        std::mem::take(&mut self.columns),
                    )?);
                    self.sent_revision = self.sent_revision.max(event.revision);
                }
            }
            if !frames.is_empty() {
                self.core.metrics.watch_events(frames.len());
                return Ok(if frames.len() == 1 { frames.pop() } else { Some(frames.concat().into()) });
            }
            // Each read moves the cursor towards the ring's end.
            if !self.watcher.is_pending() {
                return Ok(None);
            }
        }
    }
}
