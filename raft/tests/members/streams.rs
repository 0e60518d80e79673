//! Streams of watches, as clients of etcd open them.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use trireme_raft::Limits;
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

use crate::cluster::{Cluster, WAIT, put_surely};
use crate::pb::etcdserverpb as pb;
use crate::side_by_side::connect;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(channel: &Channel, needs_leader: bool) -> Stream {
        let (requests, outgoing) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if needs_leader {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        }
        let answers = WatchClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
        Stream { requests, answers }
    }

    async fn ask(&self, union: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    /// Asks for a watch of all keys that begin with `prefix`, a single letter.
    async fn create(&self, id: i64, prefix: u8, progress_notify: bool) {
        let create = pb::WatchCreateRequest {
            watch_id: id,
            key: vec![prefix].into(),
            range_end: vec![prefix + 1].into(),
            progress_notify,
            ..Default::default()
        };
        self.ask(RequestUnion::CreateRequest(create)).await;
    }

    async fn cancel(&self, id: i64) {
        self.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: id })).await;
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let answer = tokio::time::timeout(WAIT, self.answers.message()).await.expect("an answer");
        answer.map(|answer| answer.expect("a stream that goes on"))
    }

    /// The next answer that is about `id` and has events.
    async fn events_of(&mut self, id: i64) -> pb::WatchResponse {
        loop {
            let answer = self.next().await.unwrap();
            assert!(!answer.canceled, "{answer:?}");
            if answer.watch_id == id && !answer.events.is_empty() {
                return answer;
            }
        }
    }
}

async fn stream_of(cluster: &Cluster, member: usize, needs_leader: bool) -> Stream {
    let certificates = cluster.ca.issue_client("watcher");
    let channel = connect(&cluster.members[member].client_address, &certificates).await;
    Stream::open(&channel, needs_leader).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_ends_the_streams_that_want_a_leader_and_no_others() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    let mut with = stream_of(&cluster, 0, true).await;
    let mut without = stream_of(&cluster, 0, false).await;
    for stream in [&mut with, &mut without] {
        stream.create(1, b'w', false).await;
        assert!(stream.next().await.unwrap().created);
    }
    cluster.stop_member(1, false).await;
    cluster.stop_member(2, false).await;

    let end = with.next().await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "etcdserver: no leader"));
    // Watches are of this member's own state: more of them may begin.
    without.create(2, b'w', false).await;
    let created = without.next().await.unwrap();
    assert!(created.created && !created.canceled && created.watch_id == 2, "{created:?}");
    let refused = stream_of(&cluster, 0, true).await.next().await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: no leader");

    cluster.start_member(1).await;
    let written = put_surely(cluster.replica(0), "w1", "v").await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let answer = without.next().await.unwrap();
        assert_eq!(answer.events[0].kv.as_ref().unwrap().mod_revision, written.0, "{answer:?}");
        told.push(answer.watch_id);
    }
    told.sort_unstable();
    assert_eq!(told, [1, 2]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_used_again_is_of_another_watch() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let mut stream = stream_of(&cluster, 0, false).await;
    for round in 0..200 {
        stream.create(7, b'w', false).await;
        let created = stream.next().await.unwrap();
        assert!(created.created && !created.canceled, "round {round}: {created:?}");
        put_surely(cluster.replica(0), "w1", "v").await;
        // Its pump may be about to report when it goes.
        stream.cancel(7).await;
        while !stream.next().await.unwrap().canceled {}
    }
    stream.create(7, b'w', false).await;
    assert!(stream.next().await.unwrap().created);
    let written = put_surely(cluster.replica(0), "w1", "v").await;
    let answer = stream.events_of(7).await;
    assert_eq!(answer.events[0].kv.as_ref().unwrap().mod_revision, written.0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_comes_unasked_to_those_who_want_it() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let mut stream = stream_of(&cluster, 0, false).await;
    stream.create(1, b'w', true).await;
    stream.create(2, b'w', false).await;
    for _ in 0..2 {
        assert!(stream.next().await.unwrap().created);
    }
    let written = put_surely(cluster.replica(0), "elsewhere", "v").await;
    loop {
        let progress = stream.next().await.unwrap();
        assert!(progress.events.is_empty() && progress.watch_id == 1, "{progress:?}");
        if progress.header.unwrap().revision >= written.0 {
            break;
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_loses_its_watch_and_holds_up_nobody() {
    /// More than a stream and the queue of one watch hold.
    const TRANSACTIONS_MAX: usize = 4000;
    const EVENTS: usize = 100;
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let lead = cluster.replica(0).clone();
    let mut slow = stream_of(&cluster, 0, false).await;
    slow.create(1, b'w', false).await;
    slow.create(2, b'q', false).await;
    for _ in 0..2 {
        assert!(slow.next().await.unwrap().created);
    }
    let mut quick = stream_of(&cluster, 0, false).await;
    quick.create(1, b'w', false).await;
    assert!(quick.next().await.unwrap().created);
    let read = tokio::spawn(async move {
        let (mut seen, mut last) = (0, 0);
        while let Ok(answer) = quick.next().await {
            assert!(!answer.canceled, "{answer:?}");
            seen += answer.events.len();
            last = answer.events.last().map_or(last, |event| event.kv.as_ref().unwrap().mod_revision);
            if answer.events.iter().any(|event| event.kv.as_ref().unwrap().key == "wend") {
                break;
            }
        }
        (seen, last)
    });
    let mut written = 0;
    while lead.store().watch_counts().slow_cancelled == 0 {
        assert!(written < TRANSACTIONS_MAX, "nobody was too slow");
        let put = |i: usize| Op::Put(PutRequest::new(format!("w{i}"), "v"));
        let request = TxnRequest { success: (0..EVENTS).map(put).collect(), ..TxnRequest::default() };
        lead.txn(request).await.unwrap();
        written += 1;
    }
    let end = put_surely(&lead, "wend", "v").await;
    assert_eq!(read.await.unwrap(), (written * EVENTS + 1, end.0), "who reads gets all of it");

    let mut last = 0;
    let reason = loop {
        let answer = slow.next().await.unwrap();
        if answer.canceled {
            assert_eq!(answer.watch_id, 1);
            break answer.cancel_reason;
        }
        for event in answer.events {
            let revision = event.kv.unwrap().mod_revision;
            assert!(revision >= last, "{revision} after {last}");
            last = revision;
        }
    };
    assert!(reason.starts_with("watcher is too slow"), "{reason}");
    assert!(last > 0 && last < end.0);
    // The other watch of its stream goes on.
    put_surely(&lead, "q1", "v").await;
    slow.events_of(2).await;
    drop(lead);
    cluster.stop().await;
}
