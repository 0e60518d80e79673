//! What others compact: API servers say in a key how far they will, before they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_store::{KeyRange, Kv, RangeRequest};

use crate::history::Recorder;
use crate::traffic::ANSWER_TIMEOUT;

/// The key that API servers write, upstream's as well as Trireme's: up to which revision they compact next.
const KEY: &str = "compact_rev_key";
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Notes what API servers compact, until `stop` and one answer more.
pub async fn compactors(kv: Arc<dyn Kv>, recorder: Arc<Recorder>, stop: CancellationToken) {
    let mut known = 0;
    // By then what is found was not there yet.
    let mut before = recorder.tick();
    loop {
        let (is_last, begin) = (stop.is_cancelled(), recorder.tick());
        let found = timeout(ANSWER_TIMEOUT, kv.range(RangeRequest::new(KeyRange::key(KEY)))).await;
        if let Ok(Ok(found)) = found {
            let value = found.kvs.first().and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok());
            let revision: i64 = value.unwrap_or(0);
            if revision > known {
                known = revision;
                recorder.with(|history| history.compactions.push((before, revision))).await;
            }
            before = begin;
            if is_last {
                return;
            }
        }
        tokio::select! { () = sleep(LOOK_EVERY) => {}, () = stop.cancelled(), if !is_last => {} }
    }
}
