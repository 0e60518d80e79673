//! Workers that take keys from a queue.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::outcome::{Next, Reconciled};
use super::queue::WorkQueue;

/// One reconcile may take this long; past it, it is broken off and comes again.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(120);
/// Retries of one key from which on its failures are worth a warning.
const RETRIES_WARNED: u32 = 6;

/// Brings the world nearer to what one key's object says.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// Reads its caches, decides, acts. Called for one key by one worker at a time.
    async fn reconcile(&self, key: &str) -> Reconciled;
}

/// A controller with its queue and with what feeds it, ready to be run.
pub struct Running {
    pub controller: Arc<dyn Controller>,
    pub queue: Arc<WorkQueue>,
    pub workers: usize,
    /// Dropped when the controller stops: the informers stop feeding it.
    pub subscriptions: Vec<trireme_client::Subscription>,
}

/// Runs until `stop`. `on_fenced` is called when the store says that another leader has taken over.
pub async fn run(
    running: Running,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    on_fenced: Arc<dyn Fn() + Send + Sync>,
) {
    let mut workers = JoinSet::new();
    for _ in 0..running.workers {
        let (controller, queue) = (running.controller.clone(), running.queue.clone());
        let (metrics, stop, on_fenced) = (metrics.clone(), stop.clone(), on_fenced.clone());
        workers.spawn(async move {
            let _ = stop.run_until_cancelled(work(&*controller, &queue, &metrics, &*on_fenced)).await;
        });
    }
    while workers.join_next().await.is_some() {}
    drop(running.subscriptions);
}

async fn work(
    controller: &dyn Controller,
    queue: &WorkQueue,
    metrics: &Metrics,
    on_fenced: &(dyn Fn() + Send + Sync),
) {
    let name = controller.name();
    loop {
        let key = queue.next().await;
        let started = Instant::now();
        let outcome =
            timeout(RECONCILE_DEADLINE, AssertUnwindSafe(controller.reconcile(&key)).catch_unwind()).await;
        metrics.reconciled(name, started.elapsed(), matches!(outcome, Ok(Ok(Ok(_)))), queue.depth());
        match outcome {
            Ok(Ok(Ok(next))) => {
                queue.forget(&key);
                if let Next::After(delay) = next {
                    queue.add_after(&key, delay);
                }
            }
            Ok(Ok(Err(failure))) => {
                if failure.is_fenced() {
                    on_fenced();
                }
                if failure.is_routine() || queue.retries(&key) < RETRIES_WARNED {
                    tracing::debug!(controller = name, key = &*key, error = %failure, "will try again");
                } else {
                    tracing::warn!(controller = name, key = &*key, error = %failure, "keeps failing");
                }
                queue.retry(&key);
            }
            Ok(Err(_)) => {
                tracing::error!(controller = name, key = &*key, "reconcile panicked");
                queue.retry(&key);
            }
            Err(_) => {
                tracing::warn!(
                    controller = name,
                    key = &*key,
                    "reconcile took longer than {RECONCILE_DEADLINE:?}"
                );
                queue.retry(&key);
            }
        }
        queue.done(&key);
    }
}
