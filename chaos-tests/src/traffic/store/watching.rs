//! Watches: of everything from the beginning to the end, by a reader that is quick and one that is slow,
//! and others that come and go.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_store::{Error, KeyRange, Kv, RangeRequest, Revision, WatchItem, WatchRequest};

use super::super::{ANSWER_TIMEOUT, PAUSE};
use super::{END_KEY, PREFIX, wire};
use crate::history::{Keys, Received, Recorder, Watch};

/// Numbers of watches whose readers are slow, above those of the ones that are quick.
const SLOW: u32 = 60_000;
/// Numbers of watches that come and go.
const PASSING: u32 = 70_000;
/// A slow reader's pause after each message, in milliseconds: many times what comes in takes to come.
const SLOW_MS: (u64, u64) = (20, 400);
/// How long a passing watch follows in one stream, in milliseconds.
const STREAM_MS: (u64, u64) = (20, 2_500);
/// Streams of a passing watch, each taken up where the one before was left.
const STREAMS_MAX: u32 = 4;
/// How far back a passing watch begins, in revisions.
const PAST: i64 = 600;
/// How far ahead it begins, if it does.
const FUTURE: i64 = 60;
/// Rest between two of them.
const REST: Duration = Duration::from_millis(50);

/// Where a watch says what it receives.
struct Log<'r> {
    recorder: &'r Recorder,
    number: usize,
    request: WatchRequest,
    reached: i64,
    /// Pauses between messages, and how many writes were acknowledged at the last one.
    slow: Option<(StdRng, usize)>,
    /// Its beginning is compacted: it cannot go on.
    lost: bool,
    /// It has seen the last write of the run.
    ended: bool,
}

/// Follows everything from `from` on until the run's last write, or `stop`, quickly and slowly; and
/// meanwhile begins watches of all kinds, one after the other.
pub async fn watchers(
    id: u32,
    seed: u64,
    from: Revision,
    kv: Arc<dyn Kv>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let done = CancellationToken::new();
    let passing = pass(id, seed, kv.clone(), recorder.clone(), done.clone());
    let staying = async {
        stay(id, None, from, &*kv, &recorder, &stop).await;
        done.cancel();
    };
    let slow = seed ^ (u64::from(id) << 32) ^ 0x510e;
    let slowly = stay(SLOW + id, Some(slow), from, &*kv, &recorder, &stop);
    tokio::join!(staying, slowly, passing);
}

async fn stay(
    id: u32,
    slow: Option<u64>,
    mut from: Revision,
    kv: &dyn Kv,
    recorder: &Recorder,
    stop: &CancellationToken,
) {
    loop {
        let watch = Watch {
            watcher: id,
            keys: Keys::prefix(PREFIX),
            prev_kv: id.is_multiple_of(2),
            // What a slow one was not told is not waited for by compactions.
            whole: slow.is_none(),
            slow: slow.is_some(),
            from: from.0,
            ..Watch::default()
        };
        let mut log = Log::begin(recorder, watch, true).await;
        log.slow = slow.map(|seed| (StdRng::seed_from_u64(seed), 0));
        while !stop.is_cancelled() && !log.ended && !log.lost {
            tokio::select! {
                () = stop.cancelled() => {}
                () = log.follow(kv, Revision(log.reached + 1)) => {}
            }
            if !log.ended {
                tokio::select! { () = stop.cancelled() => {}, () = sleep(PAUSE) => {} }
            }
        }
        if !log.lost || stop.is_cancelled() {
            return;
        }
        // Somebody else has compacted, or it was slow: on from now, with a gap that checkers see; unless
        // the last write is behind it.
        match kv.range(RangeRequest::new(KeyRange::key(END_KEY))).await {
            Ok(found) if !found.kvs.is_empty() => return,
            Ok(found) => from = found.revision,
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn pass(id: u32, seed: u64, kv: Arc<dyn Kv>, recorder: Arc<Recorder>, done: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32) ^ 0x77a7);
    let mut number = PASSING + id * 1_000;
    while !done.is_cancelled() {
        number += 1;
        tokio::select! {
            () = done.cancelled() => {}
            () = pass_once(number, &mut random, &*kv, &recorder) => {}
        }
        tokio::select! { () = done.cancelled() => {}, () = sleep(REST) => {} }
    }
}

async fn pass_once(number: u32, random: &mut StdRng, kv: &dyn Kv, recorder: &Recorder) {
    let ranges = ["", "k/", "k/00", "l/", "t/", "r/pods/ns0/", "r/pods/ns2/"];
    let keys = Keys::prefix(&format!("{PREFIX}{}", ranges.choose(random).unwrap_or(&"")));
    let keys = if random.random_bool(0.2) { Keys::one(format!("{PREFIX}k/001")) } else { keys };
    let mut watch = Watch {
        watcher: number,
        keys,
        prev_kv: random.random_bool(0.5),
        no_put: random.random_bool(0.15),
        no_delete: random.random_bool(0.15),
        ..Watch::default()
    };
    let start = match random.random_range(0..10) {
        // From now on: told below, once it is known which revisions it must see.
        0..4 => {
            watch.from = i64::MAX;
            0
        }
        // The first that there is: deletions of it must come, too.
        4 => recorder.compacted().await.max(1),
        5 => recorder.followed().await + random.random_range(1..=FUTURE),
        _ => (recorder.followed().await - random.random_range(0..PAST)).max(1),
    };
    if start > 0 {
        watch.from = start - 1;
    }
    let progress = random.random_bool(0.5);
    let mut log = Log::begin(recorder, watch, progress).await;
    for stream in 0..random.random_range(1..=STREAMS_MAX) {
        let start = if stream == 0 { start } else { log.reached + 1 };
        if log.lost || (stream > 0 && log.reached == 0) {
            return;
        }
        let (least, most) = STREAM_MS;
        let lasts = Duration::from_millis(random.random_range(least..=most));
        // Whether it is left in the midst of things or has come to its end.
        let _ = timeout(lasts, log.follow(kv, Revision(start))).await;
        sleep(PAUSE).await;
    }
}

impl<'r> Log<'r> {
    async fn begin(recorder: &'r Recorder, watch: Watch, progress_notify: bool) -> Log<'r> {
        let request = WatchRequest {
            prev_kv: watch.prev_kv,
            no_put: watch.no_put,
            no_delete: watch.no_delete,
            progress_notify,
            ..WatchRequest::new(wire::key_range(&watch.keys), Revision(0))
        };
        let reached = if watch.from == i64::MAX { 0 } else { watch.from };
        let number = recorder.watch(watch).await;
        Log { recorder, number, request, reached, slow: None, lost: false, ended: false }
    }

    async fn say(&self, what: Received) {
        self.recorder.received(self.number, what).await;
    }

    /// One stream, until it ends.
    async fn follow(&mut self, kv: &dyn Kv, start: Revision) {
        let request = WatchRequest { start_revision: start, ..self.request.clone() };
        let mut stream = match timeout(ANSWER_TIMEOUT, kv.watch(request)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.failed(&error).await,
            Err(_) => return,
        };
        self.say(Received::Opened { start: start.0 }).await;
        if start.0 == 0 {
            // What is written from here on it must deliver; the barrier tells which revisions that are.
            if let Ok(Ok(revision)) = timeout(ANSWER_TIMEOUT, kv.barrier()).await {
                let number = self.number;
                self.recorder.with(|history| history.watches[number].from = revision.0).await;
                self.reached = revision.0;
            }
        }
        while let Some(item) = stream.next().await {
            self.pause().await;
            match item {
                Ok(WatchItem::Events { revision, events }) => {
                    self.ended = events.iter().any(|event| event.kv.key == END_KEY);
                    let events = events.iter().map(wire::event).collect();
                    self.say(Received::Events { revision: revision.0, events }).await;
                    // After it is written down: a stream that is left in between gets it again.
                    self.reached = self.reached.max(revision.0);
                    if self.ended {
                        return;
                    }
                }
                Ok(WatchItem::Progress { revision }) => {
                    self.reached = self.reached.max(revision.0);
                    self.say(Received::Progress { revision: revision.0 }).await;
                }
                Err(error) => return self.failed(&error).await,
            }
        }
        self.say(Received::Ended { why: "the store closed it".into() }).await;
    }

    /// A slow reader's, while somebody writes: after that it is to come to the end.
    async fn pause(&mut self) {
        let Some((random, known)) = &mut self.slow else { return };
        let acknowledged = self.recorder.acknowledged().await;
        if std::mem::replace(known, acknowledged) != acknowledged {
            sleep(Duration::from_millis(random.random_range(SLOW_MS.0..=SLOW_MS.1))).await;
        }
    }

    async fn failed(&mut self, error: &Error) {
        let what = match error {
            Error::Compacted { compact_revision } => {
                self.lost = true;
                Received::Compacted { revision: compact_revision.0 }
            }
            other => Received::Ended { why: other.to_string() },
        };
        self.say(what).await;
    }
}
