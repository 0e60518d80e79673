//! Many calls of one kind, a few first: when a quota or a webhook refuses the first one, the
//! server is spared the rest.

use std::future::Future;

use futures::future::join_all;

/// Calls in the first batch; each further batch has twice as many.
const FIRST_BATCH: usize = 1;
/// Calls under way at once.
const BATCH_MAX: usize = 64;

/// Calls `call(0..count)` in batches that double while all of a batch succeed. Gives the number
/// of successes and the first failure; what comes after a failed batch is not called.
pub async fn slow_start<E, F>(count: usize, call: impl Fn(usize) -> F) -> (usize, Option<E>)
where
    F: Future<Output = Result<(), E>>,
{
    let (mut at, mut size, mut good) = (0, FIRST_BATCH, 0);
    while at < count {
        let end = (at + size).min(count);
        let results = join_all((at..end).map(&call)).await;
        let mut failed = None;
        for result in results {
            match result {
                Ok(()) => good += 1,
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        if failed.is_some() {
            return (good, failed);
        }
        at = end;
        size = (size * 2).min(BATCH_MAX);
    }
    (good, None)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_refusal_stops_the_rest() {
        let calls = AtomicUsize::new(0);
        let outcome = slow_start(1000, |i| {
            calls.fetch_add(1, Ordering::Relaxed);
            async move { if i < 2 { Ok(()) } else { Err("quota") } }
        })
        .await;
        assert_eq!((outcome, calls.into_inner()), ((2, Some("quota")), 3));
        assert_eq!(slow_start(100, |_| async { Ok::<_, ()>(()) }).await, (100, None));
    }
}
