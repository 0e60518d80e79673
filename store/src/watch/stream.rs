//! One watch as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;

use super::hub::{Hub, Left, Taken, Watch, Wishes};
use super::{Chunk, Filter};
use crate::kv::{Error, Revision, WatchItem, WatchRequest};
use crate::work;

/// Where a watch that is not live reads; `None` when the store is closed.
pub(crate) trait Source: Send + Sync {
    /// A chunk of history from the given revision on. Blocks on the disk.
    fn chunk(&self, filter: &Filter, from: Revision) -> Option<Result<Chunk, Error>>;
}

pub(crate) struct WatchCursor {
    hub: Arc<Hub>,
    source: Arc<dyn Source>,
    filter: Filter,
    wishes: Wishes,
    /// Everything wanted up to here was given, or not asked for.
    delivered: Revision,
    /// The last revision that the watch was told, by events or progress.
    told: Revision,
    ended_before: u64,
    state: State,
}

type ReadChunk = BoxFuture<'static, Option<Result<Chunk, Error>>>;

enum State {
    /// Not in the hub; wants everything from this revision on.
    CatchUp(Revision),
    Reading(ReadChunk),
    Live(Arc<Watch>),
    Done,
}

impl WatchCursor {
    /// A watch from `request`'s start, or from now on. Live at once where it can be.
    pub(crate) fn new(hub: Arc<Hub>, source: Arc<dyn Source>, request: &WatchRequest) -> Self {
        let mut cursor = Self {
            filter: Filter::new(request),
            wishes: Wishes {
                progress_notify: request.progress_notify,
                without_leader: request.without_leader,
            },
            delivered: Revision(0),
            told: Revision(0),
            ended_before: hub.ended(),
            state: State::Done,
            source,
            hub,
        };
        loop {
            let next = if request.start_revision.0 > 0 {
                request.start_revision
            } else {
                Revision(cursor.hub.revision().0 + 1)
            };
            cursor.delivered = Revision(next.0 - 1);
            cursor.state = State::CatchUp(next);
            // "From now on" may have left the ring since it was read.
            if cursor.attach(next).is_ok() || request.start_revision.0 > 0 {
                return cursor;
            }
        }
    }

    /// Goes live if the ring covers `next`; an error if it does not.
    fn attach(&mut self, next: Revision) -> Result<(), ()> {
        match self.hub.attach(&self.filter, self.wishes, next, self.ended_before) {
            Ok(Some(watch)) => {
                self.state = State::Live(watch);
                Ok(())
            }
            Ok(None) => Err(()),
            Err(left) => {
                self.state = State::Done;
                self.fail_later(left);
                Ok(())
            }
        }
    }

    /// Keeps the end of a watch that never was live for its first poll.
    fn fail_later(&mut self, left: Left) {
        if let Left::Failed(error) = left {
            self.state = State::Reading(Box::pin(futures::future::ready(Some(Err(error)))));
        }
    }

    fn read(&self, from: Revision) -> ReadChunk {
        let (source, filter) = (self.source.clone(), self.filter.clone());
        let read = move || source.chunk(&filter, from);
        // Without a runtime the caller's thread is the only one there is.
        if tokio::runtime::Handle::try_current().is_err() {
            return Box::pin(async move { read() });
        }
        Box::pin(async move {
            let failed = |error| Some(Err(Error::Unavailable(format!("reading history: {error}"))));
            work::blocking(read).await.unwrap_or_else(failed)
        })
    }

    /// One step: an item, the end, or `None` to go on.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Result<WatchItem, Error>>>> {
        match &mut self.state {
            State::Done => Poll::Ready(Some(None)),
            State::CatchUp(next) => {
                let next = *next;
                if self.attach(next).is_err() {
                    self.state = State::Reading(self.read(next));
                }
                Poll::Ready(None)
            }
            State::Reading(reading) => {
                let chunk = std::task::ready!(reading.as_mut().poll(cx));
                Poll::Ready(self.take_chunk(chunk))
            }
            State::Live(watch) => {
                // Registered before looking, so that what comes in between is not slept over.
                watch.waker.register(cx.waker());
                match watch.take(self.delivered, self.told) {
                    Taken::Item(item) => {
                        self.told = match &item {
                            WatchItem::Events { revision, .. } | WatchItem::Progress { revision } => {
                                *revision
                            }
                        };
                        Poll::Ready(Some(Some(Ok(item))))
                    }
                    Taken::Nothing => Poll::Pending,
                    Taken::Left(left) => {
                        self.state = State::Done;
                        Poll::Ready(match left {
                            Left::Closed => Some(None),
                            Left::Failed(error) => Some(Some(Err(error))),
                            Left::CatchUp(next) => {
                                self.state = State::CatchUp(next);
                                None
                            }
                        })
                    }
                }
            }
        }
    }

    fn take_chunk(
        &mut self,
        chunk: Option<Result<Chunk, Error>>,
    ) -> Option<Option<Result<WatchItem, Error>>> {
        match chunk {
            None => {
                self.state = State::Done;
                Some(None)
            }
            Some(Err(error)) => {
                self.state = State::Done;
                Some(Some(Err(error)))
            }
            Some(Ok(Chunk { events, next })) => {
                self.state = State::CatchUp(next);
                let revision = events.last()?.kv.mod_revision;
                (self.delivered, self.told) = (revision, revision);
                Some(Some(Ok(WatchItem::Events { revision, events })))
            }
        }
    }
}

impl Stream for WatchCursor {
    type Item = Result<WatchItem, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = std::task::ready!(this.step(cx)) {
                if let Some(Ok(WatchItem::Events { events, .. })) = &item {
                    this.hub.totals.events_sent.fetch_add(events.len() as u64, Ordering::Relaxed);
                }
                return Poll::Ready(item);
            }
        }
    }
}

impl Drop for WatchCursor {
    fn drop(&mut self) {
        if let State::Live(watch) = &self.state {
            self.hub.detach(watch);
        }
    }
}
