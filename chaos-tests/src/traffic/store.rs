//! Traffic straight to the store.

use std::sync::Arc;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_store::{
    Compare, Error, EventKind, KeyRange, KeyValue, Kv, Op, PutRequest, RangeRequest, Revision, TxnRequest,
    WatchItem, WatchRequest,
};

use super::{ANSWER_TIMEOUT, KEYS_PER_CLIENT, PAUSE, READ_EVERY};
use crate::history::{Call, Outcome, Recorder, Watcher};

pub const PREFIX: &str = "/chaos/";
/// Written when all is over: a watcher that has seen it has seen everything.
pub const END_KEY: &str = "/chaos/end";
const VALUE_BYTES: usize = 200;

pub fn key(client: u32, n: u64) -> String {
    format!("{PREFIX}{client}/{n}")
}

/// A number, padded.
pub fn encode(value: u64) -> Vec<u8> {
    format!("{value:<VALUE_BYTES$}").into_bytes()
}

pub fn decode(kv: &KeyValue) -> Option<u64> {
    std::str::from_utf8(&kv.value).ok()?.trim_end().parse().ok()
}

/// Writes and reads until `stop`.
pub async fn client(
    id: u32,
    clients: u32,
    seed: u64,
    kv: Arc<dyn Kv>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let mut random = StdRng::seed_from_u64(seed ^ u64::from(id));
    let mut known = vec![Revision(0); KEYS_PER_CLIENT as usize];
    let mut values = vec![0; KEYS_PER_CLIENT as usize];
    let mut turn = 0_u64;
    while !stop.is_cancelled() {
        turn += 1;
        if turn.is_multiple_of(READ_EVERY) {
            let other = key(random.random_range(0..clients), random.random_range(0..KEYS_PER_CLIENT));
            if read(id, &other, &*kv, &recorder).await.is_none() {
                sleep(PAUSE).await;
            }
            continue;
        }
        let n = random.random_range(0..KEYS_PER_CLIENT);
        let slot = n as usize;
        values[slot] += 1;
        match write(id, &key(id, n), values[slot], known[slot], &*kv, &recorder).await {
            Some(revision) => known[slot] = revision,
            None => {
                // Whether it happened is learnt from the key itself.
                sleep(PAUSE).await;
                if let Some(revision) = read(id, &key(id, n), &*kv, &recorder).await {
                    known[slot] = revision;
                }
            }
        }
    }
}

/// The new revision, if it was certainly written.
pub async fn write(
    id: u32,
    key: &str,
    value: u64,
    known: Revision,
    kv: &dyn Kv,
    recorder: &Recorder,
) -> Option<Revision> {
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(key.to_owned(), known)],
        success: vec![Op::Put(PutRequest::new(key.to_owned(), encode(value)))],
        ..TxnRequest::default()
    };
    let begin = recorder.tick();
    let answer = timeout(ANSWER_TIMEOUT, kv.txn(request)).await;
    let outcome = match answer {
        Ok(Ok(response)) if response.succeeded => Outcome::Written { revision: response.revision.0 },
        Ok(Ok(_)) => Outcome::Refused("conflict".into()),
        Ok(Err(Error::OutcomeUnknown)) => Outcome::Unknown("outcome unknown".into()),
        Ok(Err(error)) => Outcome::Refused(error.to_string()),
        Err(_) => Outcome::Unknown("no answer".into()),
    };
    let revision = match &outcome {
        Outcome::Written { revision } => Some(Revision(*revision)),
        _ => None,
    };
    recorder.operation(id, begin, Call::Write { key: key.to_owned(), value }, outcome).await;
    revision
}

/// The key's own revision, zero where it is not there.
async fn read(id: u32, key: &str, kv: &dyn Kv, recorder: &Recorder) -> Option<Revision> {
    let begin = recorder.tick();
    let answer = timeout(ANSWER_TIMEOUT, kv.range(RangeRequest::new(KeyRange::key(key.to_owned())))).await;
    let (outcome, known) = match answer {
        Ok(Ok(response)) => {
            let found = response.kvs.first();
            let outcome =
                Outcome::Read { value: found.and_then(decode), revision: Some(response.revision.0) };
            (outcome, Some(found.map_or(Revision(0), |kv| kv.mod_revision)))
        }
        Ok(Err(error)) => (Outcome::Refused(error.to_string()), None),
        Err(_) => (Outcome::Refused("no answer".into()), None),
    };
    recorder.operation(id, begin, Call::Read { key: key.to_owned() }, outcome).await;
    known
}

/// Follows every key of the traffic from `from` on, starting again where it was when the watch
/// ends, until it has seen the end key.
pub async fn watcher(
    id: u32,
    from: Revision,
    kv: Arc<dyn Kv>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let mut reached = from;
    loop {
        let request = WatchRequest {
            progress_notify: true,
            ..WatchRequest::new(KeyRange::prefix(PREFIX), Revision(reached.0 + 1))
        };
        let ended = tokio::select! {
            () = stop.cancelled() => break,
            ended = follow(id, request, &mut reached, &*kv, &recorder) => ended,
        };
        if ended {
            break;
        }
        sleep(PAUSE).await;
    }
    let watcher = Watcher { id, prefix: PREFIX.into(), from: from.0, reached: reached.0 };
    recorder.with(|history| history.watchers.push(watcher)).await;
}

/// Whether the end key was seen.
async fn follow(
    id: u32,
    request: WatchRequest,
    reached: &mut Revision,
    kv: &dyn Kv,
    recorder: &Recorder,
) -> bool {
    let Ok(Ok(mut stream)) = timeout(ANSWER_TIMEOUT, kv.watch(request)).await else { return false };
    while let Some(Ok(item)) = stream.next().await {
        match item {
            WatchItem::Events { revision, events } => {
                let end = events.iter().any(|e| e.kv.key == END_KEY);
                let events = events.iter().filter(|e| e.kind == EventKind::Put).filter_map(|e| {
                    let key = String::from_utf8_lossy(&e.kv.key).into_owned();
                    Some((key, decode(&e.kv)?, e.kv.mod_revision.0))
                });
                recorder.seen(id, events).await;
                *reached = revision;
                if end {
                    return true;
                }
            }
            WatchItem::Progress { revision } => *reached = revision.max(*reached),
        }
    }
    false
}

/// Key, value and revision of everything in the traffic's range, as `kv` has it.
pub async fn contents(kv: &dyn Kv, serializable: bool) -> Result<Vec<(String, u64, i64)>, Error> {
    let request = RangeRequest { serializable, ..RangeRequest::new(KeyRange::prefix(PREFIX)) };
    let response = kv.range(request).await?;
    Ok(response
        .kvs
        .iter()
        .filter_map(|kv| {
            Some((String::from_utf8_lossy(&kv.key).into_owned(), decode(kv)?, kv.mod_revision.0))
        })
        .collect())
}
