//! A watch over gRPC that outlives the member it runs on.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status as GrpcStatus, Streaming};
use trireme_store::{Error, Revision, WatchItem, WatchRequest, WatchStream};

use super::{ANSWER_BYTES_MAX, Remote};
use crate::etcd::error::from_status;
use crate::etcd::pb::etcdserverpb as pb;
use crate::etcd::pb::etcdserverpb::watch_client::WatchClient;
use crate::etcd::{EAGER_PROGRESS, HAS_LEADER, convert};

/// Items waiting for the caller; past that the stream waits, and in the end the member cancels.
const ITEMS_WAITING_MAX: usize = 256;
/// A member that does not confirm a watch by then is left for another.
const CREATE_MAX: Duration = Duration::from_secs(3);
/// Pauses between attempts to take a watch up again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Attempts in a row without an answer, after which the caller is told.
const ATTEMPTS_MAX: u32 = 100;

type Items = mpsc::Sender<Result<WatchItem, Error>>;

/// Starts a watch; returns once a member has confirmed it.
pub(super) async fn start(remote: Remote, request: WatchRequest) -> Result<WatchStream, Error> {
    let mut follower = Follower { next: request.start_revision, request, remote };
    let (i, responses) = follower.open().await?;
    let (items, out) = mpsc::channel(ITEMS_WAITING_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = items.closed() => {}
            error = follower.follow(i, responses, &items) => {
                let _ = items.send(Err(error)).await;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(out)))
}

struct Follower {
    remote: Remote,
    request: WatchRequest,
    /// The first revision not delivered yet; zero until the first member has said what "now" is.
    next: Revision,
}

/// An open stream; dropping the sender ends it.
struct Open {
    responses: Streaming<pb::WatchResponse>,
    _requests: mpsc::Sender<pb::WatchRequest>,
}

impl Follower {
    /// Opens the watch at whichever member answers first.
    async fn open(&mut self) -> Result<(usize, Open), Error> {
        let mut pause = PAUSE_MIN;
        let mut last = Error::Unavailable("no member answers".into());
        for _ in 0..ATTEMPTS_MAX {
            let (i, address, _) = self.remote.endpoint();
            let address = address.to_owned();
            last = match timeout(CREATE_MAX, self.create()).await {
                Ok(Ok(open)) => return Ok((i, open)),
                Ok(Err(error @ (Error::Compacted { .. } | Error::Invalid(_) | Error::Broken(_)))) => {
                    return Err(error);
                }
                Ok(Err(error)) => error,
                Err(_) => Error::Unavailable(format!("{address} did not confirm a watch")),
            };
            tracing::debug!(endpoint = address, error = %last, "watch goes to another member");
            self.remote.leave(i);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(last)
    }

    fn request(&self) -> pb::WatchRequest {
        use pb::watch_create_request::FilterType;
        let wanted = &self.request;
        let mut filters = Vec::new();
        if wanted.no_put {
            filters.push(FilterType::Noput as i32);
        }
        if wanted.no_delete {
            filters.push(FilterType::Nodelete as i32);
        }
        let create = pb::WatchCreateRequest {
            key: wanted.range.start.clone(),
            range_end: wanted.range.end.clone(),
            start_revision: self.next.0,
            progress_notify: wanted.progress_notify,
            filters,
            prev_kv: wanted.prev_kv,
            ..Default::default()
        };
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
    }

    async fn create(&mut self) -> Result<Open, Error> {
        let (_, _, channel) = self.remote.endpoint();
        let (requests, outgoing) = mpsc::channel(4);
        let sent = requests.send(self.request()).await;
        sent.map_err(|_| Error::Unavailable("the stream was closed".into()))?;
        let mut call = Request::new(ReceiverStream::new(outgoing));
        if !self.request.without_leader {
            call.metadata_mut().insert(HAS_LEADER, MetadataValue::from_static("true"));
        }
        call.metadata_mut().insert(EAGER_PROGRESS, MetadataValue::from_static("true"));
        let read = |status: GrpcStatus| from_status(&status);
        let mut client = WatchClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut responses = client.watch(call).await.map_err(read)?.into_inner();
        let first = responses.message().await.map_err(read)?;
        let first = first.ok_or_else(|| Error::Unavailable("the stream ended at once".into()))?;
        if first.canceled {
            return Err(reason(&first));
        }
        if self.next.0 == 0 {
            self.next = Revision(convert::revision_of(&first.header).0 + 1);
        }
        Ok(Open { responses, _requests: requests })
    }

    /// Delivers items until the watch cannot go on; takes it up elsewhere when the member is lost.
    async fn follow(mut self, mut i: usize, mut open: Open, items: &Items) -> Error {
        loop {
            let error = match open.responses.message().await {
                Ok(Some(response)) if response.canceled => reason(&response),
                Ok(Some(response)) => match self.item(response) {
                    Ok(None) => continue,
                    Ok(Some(item)) => match items.send(Ok(item)).await {
                        Ok(()) => continue,
                        Err(_) => return Error::Unavailable("the caller went away".into()),
                    },
                    Err(error) => return error,
                },
                Ok(None) => Error::Unavailable("the stream ended".into()),
                Err(status) => from_status(&status),
            };
            match error {
                Error::Compacted { .. } | Error::Broken(_) | Error::SlowWatcher { .. } => return error,
                _ => {}
            }
            tracing::info!(%error, from = %self.next, "taking up a watch at another member");
            self.remote.leave(i);
            match self.open().await {
                Ok((at, stream)) => (i, open) = (at, stream),
                Err(error) => return error,
            }
        }
    }

    fn item(&mut self, response: pb::WatchResponse) -> Result<Option<WatchItem>, Error> {
        let revision = convert::revision_of(&response.header);
        if response.events.is_empty() {
            self.next = self.next.max(Revision(revision.0 + 1));
            self.remote.saw(revision);
            return Ok(self.request.progress_notify.then_some(WatchItem::Progress { revision }));
        }
        let events = response.events.into_iter().map(convert::event_from).collect::<Option<Vec<_>>>();
        let events = events.ok_or_else(|| Error::Broken("a watch event without a key".into()))?;
        let last = events.iter().map(|e| e.kv.mod_revision).max().unwrap_or(revision);
        self.next = Revision(last.0 + 1);
        self.remote.saw(last);
        Ok(Some(WatchItem::Events { revision: last, events }))
    }
}

fn reason(response: &pb::WatchResponse) -> Error {
    if response.compact_revision > 0 {
        return Error::Compacted { compact_revision: Revision(response.compact_revision) };
    }
    if response.cancel_reason.starts_with("watcher is too slow") {
        return Error::SlowWatcher { buffered: 0 };
    }
    Error::Unavailable(response.cancel_reason.clone())
}
