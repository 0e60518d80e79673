//! Watches over gRPC: many on one stream.
//!
//! ```text
//!   create ──► Kv::watch ──► pump (one task a watch) ──┐
//!   cancel, progress ──► stream's task ────────────────┴─► responses, in order
//! ```
//!
//! A progress request is answered once every watch of the stream has delivered all events up to
//! the revision that was newest when it came: pumps report how far they are.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use trireme_store::{Error, Revision, WatchItem, WatchStream};

use super::access::{Access, denied_watch};
use super::pb::etcdserverpb as pb;
use super::pb::mvccpb;
use super::{Backend, EAGER_PROGRESS, convert, error, header, wants_leader};

/// Responses waiting for a slow client; past that its watches wait, and the store's hub cancels
/// those that fall too far behind.
const RESPONSES_WAITING_MAX: usize = 128;
/// Reports of pumps waiting for the stream's task.
const REPORTS_WAITING_MAX: usize = 1024;
/// Watches on one stream.
const WATCHES_MAX: usize = 10_000;
/// A response is split at about this size for clients that take fragments.
const FRAGMENT_BYTES: usize = 1 << 20;
/// At least this long between unasked progress responses of one watch.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// etcd's id for responses that are about the whole stream.
const WHOLE_STREAM: i64 = -1;

pub(super) struct WatchService {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) stop: CancellationToken,
}

type Responses = mpsc::Sender<Result<pb::WatchResponse, Status>>;

#[tonic::async_trait]
impl pb::watch_server::Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (responses, out) = mpsc::channel(RESPONSES_WAITING_MAX);
        let (reports, from_pumps) = mpsc::channel(REPORTS_WAITING_MAX);
        let session = Session {
            backend: self.backend.clone(),
            responses: responses.clone(),
            reports,
            access: Access::of(&request),
            needs_leader: wants_leader(request.metadata()),
            eager: request.metadata().contains_key(EAGER_PROGRESS),
            watches: HashMap::new(),
            next_id: 0,
            runs: 0,
            progress_wanted: None,
        };
        let stop = self.stop.clone();
        let requests = request.into_inner();
        tokio::spawn(async move {
            tokio::select! {
                // The client went away.
                () = responses.closed() => {}
                () = stop.cancelled() => {
                    let _ = responses.send(Err(error::status(Error::Unavailable("server stopped".into())))).await;
                }
                ended = session.run(requests, from_pumps) => if let Err(status) = ended {
                    let _ = responses.send(Err(status)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

/// What a pump tells the stream's task.
enum Report {
    Delivered { id: i64, run: u64, revision: Revision },
    Ended { id: i64, run: u64 },
}

struct Watch {
    /// A client may use an id again: what this run's pump reports is of no other.
    run: u64,
    delivered: Revision,
    pump: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

struct Session {
    backend: Arc<dyn Backend>,
    responses: Responses,
    reports: mpsc::Sender<Report>,
    access: Access,
    needs_leader: bool,
    eager: bool,
    watches: HashMap<i64, Watch>,
    next_id: i64,
    runs: u64,
    /// Owed to the client once every watch has come this far.
    progress_wanted: Option<Revision>,
}

impl Session {
    async fn run(
        mut self,
        mut requests: Streaming<pb::WatchRequest>,
        mut reports: mpsc::Receiver<Report>,
    ) -> Result<(), Status> {
        use pb::watch_request::RequestUnion;
        let mut leader = self.backend.has_leader();
        loop {
            tokio::select! {
                request = requests.next() => match request {
                    None => return Ok(()),
                    Some(request) => match request?.request_union {
                        Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
                        Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
                        Some(RequestUnion::ProgressRequest(_)) => {
                            self.progress_wanted = Some(self.backend.standing().revision);
                            self.answer_progress().await;
                        }
                        None => {}
                    },
                },
                Some(report) = reports.recv() => {
                    match report {
                        Report::Delivered { id, run, revision } => {
                            if let Some(watch) = self.watches.get_mut(&id).filter(|watch| watch.run == run) {
                                watch.delivered = watch.delivered.max(revision);
                            }
                        }
                        Report::Ended { id, run } => {
                            if self.watches.get(&id).is_some_and(|watch| watch.run == run) {
                                self.watches.remove(&id);
                            }
                        }
                    }
                    self.answer_progress().await;
                }
                lost = async { leader.wait_for(|has| !has).await.is_ok() }, if self.needs_leader => {
                    if lost {
                        return Err(error::status(Error::NoLeader));
                    }
                    self.needs_leader = false;
                }
            }
        }
    }

    async fn answer(&self, response: pb::WatchResponse) {
        // The client is gone when this fails, and the session is about to end.
        let _ = self.responses.send(Ok(response)).await;
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) {
        let id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            chosen => chosen,
        };
        let at = self.backend.standing().revision;
        let now = header(&*self.backend, at);
        let refused = |reason: &str| pb::WatchResponse {
            header: Some(now),
            watch_id: WHOLE_STREAM,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        };
        if self.watches.contains_key(&id) {
            return self.answer(refused("mvcc: duplicate watch ID provided on the WatchStream")).await;
        }
        if self.watches.len() >= WATCHES_MAX {
            return self
                .answer(refused(&format!("etcdserver: more than {WATCHES_MAX} watches on one stream")))
                .await;
        }
        let mut wanted = convert::watch_request_from(&request);
        if self.access.may_read(&wanted.range).is_err() {
            return self.answer(denied_watch(now)).await;
        }
        if wanted.start_revision.0 < 0 {
            let compacted = Error::Compacted { compact_revision: Revision(0) };
            return self.answer(refused(&compacted.to_string())).await;
        }
        if !wanted.range.end.is_empty()
            && wanted.range.end[..] != [0]
            && wanted.range.start >= wanted.range.end
        {
            return self.answer(refused("mvcc: watcher range is empty")).await;
        }
        // Pumps need to know how far the store is, whether or not the client does.
        wanted.progress_notify = true;
        if wanted.start_revision == Revision(0) {
            // "Now" is the revision that the answer names: what is committed before the store knows
            // of the watch comes after it, and is delivered.
            wanted.start_revision = Revision(at.0 + 1);
        }
        // Before its start revision a watch has nothing to deliver.
        let delivered = Revision((wanted.start_revision.0 - 1).max(0));
        let stream = match self.backend.watch(wanted).await {
            // etcd makes the watch first, and cancels it when it finds its start gone.
            stream @ (Ok(_) | Err(Error::Compacted { .. })) => stream,
            Err(error) => return self.answer(refused(&error.to_string())).await,
        };
        let created =
            pb::WatchResponse { header: Some(now), watch_id: id, created: true, ..Default::default() };
        self.answer(created).await;
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return self.answer(canceled(&*self.backend, id, &error)).await,
        };
        self.runs += 1;
        let pump = Pump {
            id,
            run: self.runs,
            backend: self.backend.clone(),
            responses: self.responses.clone(),
            reports: self.reports.clone(),
            progress: request.progress_notify,
            progress_every: if self.eager { Duration::ZERO } else { PROGRESS_EVERY },
            fragment: request.fragment,
        };
        let pump = tokio::spawn(pump.run(stream));
        self.watches.insert(id, Watch { run: self.runs, delivered, pump });
    }

    async fn cancel(&mut self, id: i64) {
        if let Some(mut watch) = self.watches.remove(&id) {
            // What it is about to send comes before the answer, or not at all: after it, it would be of
            // the next watch of this id.
            watch.pump.abort();
            let _ = (&mut watch.pump).await;
            let now = header(&*self.backend, self.backend.standing().revision);
            let response =
                pb::WatchResponse { header: Some(now), watch_id: id, canceled: true, ..Default::default() };
            self.answer(response).await;
        }
    }

    async fn answer_progress(&mut self) {
        let Some(wanted) = self.progress_wanted else { return };
        let reached = self.watches.values().map(|w| w.delivered).min().unwrap_or(wanted);
        if reached >= wanted {
            self.progress_wanted = None;
            let response = pb::WatchResponse {
                header: Some(header(&*self.backend, wanted)),
                watch_id: WHOLE_STREAM,
                ..Default::default()
            };
            self.answer(response).await;
        }
    }
}

fn canceled(backend: &dyn Backend, id: i64, error: &Error) -> pb::WatchResponse {
    let (compact_revision, cancel_reason) = match error {
        // The revision says it all, to etcd's clients.
        Error::Compacted { compact_revision } => (compact_revision.0, String::new()),
        other => (0, other.to_string()),
    };
    pb::WatchResponse {
        header: Some(header(backend, backend.standing().revision)),
        watch_id: id,
        canceled: true,
        compact_revision,
        cancel_reason,
        ..Default::default()
    }
}

/// Carries one watch's items to the stream.
struct Pump {
    id: i64,
    run: u64,
    backend: Arc<dyn Backend>,
    responses: Responses,
    reports: mpsc::Sender<Report>,
    /// The client asked for progress.
    progress: bool,
    progress_every: Duration,
    fragment: bool,
}

impl Pump {
    async fn run(self, mut stream: WatchStream) {
        let (mut last_sent, mut reached) = (Instant::now(), None);
        loop {
            let item = tokio::select! {
                item = stream.next() => item,
                // Whether or not there is more to say than the last time, as etcd does.
                () = tokio::time::sleep(self.progress_every.saturating_sub(last_sent.elapsed())),
                    if self.progress && !self.progress_every.is_zero() =>
                {
                    last_sent = Instant::now();
                    if let Some(revision) = reached
                        && self.send(revision, Vec::new()).await.is_err()
                    {
                        return;
                    }
                    continue;
                }
            };
            let Some(item) = item else { break };
            let revision = match item {
                Ok(WatchItem::Events { revision, events }) => {
                    last_sent = Instant::now();
                    let events = events.into_iter().map(convert::event).collect();
                    if self.send(revision, events).await.is_err() {
                        return;
                    }
                    revision
                }
                Ok(WatchItem::Progress { revision }) => {
                    if self.progress
                        && self.progress_every.is_zero()
                        && self.send(revision, Vec::new()).await.is_err()
                    {
                        return;
                    }
                    revision
                }
                Err(error) => {
                    let _ = self.responses.send(Ok(canceled(&*self.backend, self.id, &error))).await;
                    break;
                }
            };
            reached = Some(revision);
            if self.reports.send(Report::Delivered { id: self.id, run: self.run, revision }).await.is_err() {
                return;
            }
        }
        let _ = self.reports.send(Report::Ended { id: self.id, run: self.run }).await;
    }

    async fn send(&self, revision: Revision, events: Vec<mvccpb::Event>) -> Result<(), ()> {
        let mut parts = if self.fragment { fragments(events) } else { vec![events] };
        let last = parts.pop().unwrap_or_default();
        let response = |events, fragment| pb::WatchResponse {
            header: Some(header(&*self.backend, revision)),
            watch_id: self.id,
            fragment,
            events,
            ..Default::default()
        };
        for part in parts {
            self.responses.send(Ok(response(part, true))).await.map_err(drop)?;
        }
        self.responses.send(Ok(response(last, false))).await.map_err(drop)
    }
}

fn fragments(events: Vec<mvccpb::Event>) -> Vec<Vec<mvccpb::Event>> {
    let mut parts = vec![Vec::new()];
    let mut size = 0;
    for event in events {
        let bytes = prost::Message::encoded_len(&event);
        if size > 0 && size + bytes > FRAGMENT_BYTES {
            parts.push(Vec::new());
            size = 0;
        }
        size += bytes;
        parts.last_mut().expect("there is always a part").push(event);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_cut_between_events() {
        let event = |bytes: usize| mvccpb::Event {
            kv: Some(mvccpb::KeyValue { value: vec![0; bytes].into(), ..Default::default() }),
            ..Default::default()
        };
        let check = |sizes: &[usize], expected: &[usize]| {
            let parts = fragments(sizes.iter().map(|bytes| event(*bytes)).collect());
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{sizes:?}");
        };
        let third = FRAGMENT_BYTES / 3;
        check(&[10, 10], &[2]);
        check(&[third; 5], &[2, 2, 1]);
        check(&[3 * FRAGMENT_BYTES], &[1]);
        check(&[10, 3 * FRAGMENT_BYTES, 10, 10], &[1, 1, 2]);
    }
}
