//! A queue of keys for the workers of one controller.
//!
//! A key is at most once in the queue and at most once with a worker: one that is added while a
//! worker has it comes again afterwards. So the queue holds no more than there are objects.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

const RETRY_FIRST: Duration = Duration::from_millis(5);
/// A key that keeps failing is still tried this often.
const RETRY_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Inner {
    ready: VecDeque<Arc<str>>,
    /// In `ready`, or to be put there when its worker is done.
    dirty: HashSet<Arc<str>>,
    working: HashSet<Arc<str>>,
    /// By due time; the number keeps two of the same instant apart.
    delayed: BTreeMap<(Instant, u64), Arc<str>>,
    delayed_at: HashMap<Arc<str>, (Instant, u64)>,
    failures: HashMap<Arc<str>, u32>,
    sequence: u64,
}

#[derive(Default)]
pub struct WorkQueue {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl WorkQueue {
    pub fn new() -> Arc<WorkQueue> {
        Arc::new(WorkQueue::default())
    }

    pub fn add(&self, key: &str) {
        if self.inner.lock().add(key.into()) {
            self.changed.notify_one();
        }
    }

    /// Adds `key` when `delay` has passed. Of two delays the earlier one counts.
    pub fn add_after(&self, key: &str, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut inner = self.inner.lock();
        let key: Arc<str> = key.into();
        inner.sequence += 1;
        let due = (Instant::now() + delay, inner.sequence);
        if let Some(known) = inner.delayed_at.get(&key).copied() {
            if known <= due {
                return;
            }
            inner.delayed.remove(&known);
        }
        inner.delayed.insert(due, key.clone());
        inner.delayed_at.insert(key, due);
        drop(inner);
        self.changed.notify_one();
    }

    /// Adds `key` after a time that doubles with each retry since [`WorkQueue::forget`].
    pub fn retry(&self, key: &str) {
        let failures = {
            let mut inner = self.inner.lock();
            let count = inner.failures.entry(key.into()).or_default();
            *count = count.saturating_add(1);
            *count
        };
        self.add_after(key, back_off(failures));
    }

    /// How often `key` has been retried.
    pub fn retries(&self, key: &str) -> u32 {
        self.inner.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The key succeeded: its next failure starts with the shortest wait.
    pub fn forget(&self, key: &str) {
        self.inner.lock().failures.remove(key);
    }

    /// The next key, which then belongs to the caller until [`WorkQueue::done`].
    pub async fn next(&self) -> Arc<str> {
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut inner = self.inner.lock();
                inner.wake(Instant::now());
                if let Some(key) = inner.ready.pop_front() {
                    inner.dirty.remove(&key);
                    inner.working.insert(key.clone());
                    // One notification may stand for several keys.
                    if !inner.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                inner.delayed.first_key_value().map(|((due, _), _)| *due)
            };
            match due {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    pub fn done(&self, key: &Arc<str>) {
        let mut inner = self.inner.lock();
        inner.working.remove(key);
        if inner.dirty.contains(key) {
            inner.ready.push_back(key.clone());
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Keys that a worker could take now.
    pub fn depth(&self) -> usize {
        self.inner.lock().ready.len()
    }
}

fn back_off(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.min(20)).min(RETRY_MAX)
}

impl Inner {
    /// Whether a worker can take it now.
    fn add(&mut self, key: Arc<str>) -> bool {
        if !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.delayed_at.remove(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_with_one_worker_and_comes_again_when_it_changed_meanwhile() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.depth(), 2);
        let a = queue.next().await;
        queue.add("a");
        let b = queue.next().await;
        assert_eq!((&*a, &*b, queue.depth()), ("a", "b", 0));
        queue.done(&a);
        queue.done(&b);
        assert_eq!((&*queue.next().await, queue.depth()), ("a", 0));
    }

    #[test]
    fn the_earlier_delay_counts() {
        let queue = WorkQueue::new();
        let now = Instant::now();
        queue.add_after("a", Duration::from_secs(900));
        queue.add_after("a", Duration::from_secs(200));
        queue.add_after("a", Duration::from_secs(500));
        let mut inner = queue.inner.lock();
        inner.wake(now + Duration::from_secs(190));
        assert_eq!(inner.ready.len(), 0);
        inner.wake(now + Duration::from_secs(210));
        assert_eq!((inner.ready.len(), inner.delayed.len()), (1, 0));
    }

    #[test]
    fn failures_double_up_to_a_limit() {
        assert_eq!(back_off(1), RETRY_FIRST * 2);
        assert_eq!(back_off(4), RETRY_FIRST * 16);
        assert_eq!(back_off(u32::MAX), RETRY_MAX);
        let queue = WorkQueue::new();
        queue.retry("a");
        assert_eq!(queue.retries("a"), 1);
        queue.forget("a");
        assert_eq!(queue.retries("a"), 0);
    }
}
