//! Pods that wait for a node: ready to be tried, backing off, or waiting for the cluster to change.
//!
//! ```text
//!   add ──► active ──take──► (tried) ──no node──► parked ──cluster changed──► backing off ──time──► active
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// First wait after a pod could not be placed; doubles with each try.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A parked pod is tried again after this even when nothing seemed to change.
const PARKED_MAX: Duration = Duration::from_secs(300);

/// `namespace/name` of a pod.
pub(super) type PodKey = Box<str>;

/// Highest priority first, then first come.
type Rank = (Reverse<i64>, u64);

#[derive(Debug)]
enum State {
    Active(Rank),
    BackingOff(Instant),
    Parked(Instant),
    /// Taken and not yet answered; whether the cluster changed meanwhile.
    Tried {
        changed: bool,
    },
}

#[derive(Debug)]
struct Waiting {
    priority: i64,
    attempts: u32,
    state: State,
}

/// The queue. Time is passed in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pods: HashMap<PodKey, Waiting>,
    active: BTreeMap<Rank, PodKey>,
    sequence: u64,
}

impl Queue {
    /// Adds a pod, or takes note that it changed: one that was parked is tried again.
    pub(super) fn add(&mut self, key: &str, priority: i64) {
        match self.pods.get(key).map(|w| &w.state) {
            Some(State::Active(_) | State::BackingOff(_)) => {}
            Some(State::Tried { .. }) => self.set(key, State::Tried { changed: true }),
            Some(State::Parked(_)) => self.activate(key),
            None => {
                self.pods.insert(
                    key.into(),
                    Waiting { priority, attempts: 0, state: State::Tried { changed: false } },
                );
                self.activate(key);
            }
        }
    }

    /// Forgets a pod that is gone or bound.
    pub(super) fn remove(&mut self, key: &str) {
        if let Some(Waiting { state: State::Active(rank), .. }) = self.pods.remove(key) {
            self.active.remove(&rank);
        }
    }

    /// The next pod to try.
    pub(super) fn take(&mut self) -> Option<PodKey> {
        let (_, key) = self.active.pop_first()?;
        self.set(&key, State::Tried { changed: false });
        if let Some(w) = self.pods.get_mut(&key) {
            w.attempts += 1;
        }
        Some(key)
    }

    /// The pod that was taken has no node: it waits until the cluster changes, or backs off at
    /// once if it changed while it was tried.
    pub(super) fn park(&mut self, key: &str, now: Instant) {
        let Some(Waiting { attempts, state: State::Tried { changed }, .. }) = self.pods.get(key) else {
            return;
        };
        let state = if *changed { State::BackingOff(now + backoff(*attempts)) } else { State::Parked(now) };
        self.set(key, state);
    }

    /// The pod that was taken met an error that may pass (a failed binding): it backs off.
    pub(super) fn retry(&mut self, key: &str, now: Instant) {
        if let Some(w) = self.pods.get(key) {
            let wait = backoff(w.attempts);
            self.set(key, State::BackingOff(now + wait));
        }
    }

    /// The cluster changed in a way that may make room: parked pods back off and then are tried.
    pub(super) fn wake(&mut self, now: Instant) {
        for waiting in self.pods.values_mut() {
            match &mut waiting.state {
                State::Parked(since) => waiting.state = State::BackingOff(*since + backoff(waiting.attempts)),
                State::Tried { changed } => *changed = true,
                State::Active(_) | State::BackingOff(_) => {}
            }
        }
        self.advance(now);
    }

    /// Activates what has waited long enough; when the next one will have.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Instant> {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (key, waiting) in &self.pods {
            let at = match waiting.state {
                State::BackingOff(until) => until,
                State::Parked(since) => since + PARKED_MAX,
                State::Active(_) | State::Tried { .. } => continue,
            };
            if at <= now {
                due.push(key.clone());
            } else {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
        }
        for key in due {
            self.activate(&key);
        }
        next
    }

    /// Pods not yet placed.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    fn activate(&mut self, key: &str) {
        let Some(waiting) = self.pods.get_mut(key) else { return };
        self.sequence += 1;
        let rank = (Reverse(waiting.priority), self.sequence);
        waiting.state = State::Active(rank);
        self.active.insert(rank, key.into());
    }

    fn set(&mut self, key: &str, state: State) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.state = state;
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    (BACKOFF_MIN * 2u32.pow(attempts.saturating_sub(1).min(8))).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_goes_first_and_each_pod_once() {
        let mut q = Queue::default();
        q.add("low", 0);
        q.add("high", 10);
        q.add("low", 0);
        assert_eq!(q.take().as_deref(), Some("high"));
        assert_eq!(q.take().as_deref(), Some("low"));
        assert_eq!(q.take(), None);
    }

    #[test]
    fn a_parked_pod_waits_for_a_change_and_no_change_is_missed() {
        let t = Instant::now();
        let mut q = Queue::default();
        q.add("a", 0);
        q.take();
        q.park("a", t);
        assert_eq!(q.advance(t + Duration::from_secs(60)), Some(t + PARKED_MAX));
        q.wake(t);
        assert_eq!(q.take(), None, "backs off first");
        q.advance(t + BACKOFF_MIN);
        assert_eq!(q.take().as_deref(), Some("a"));
        // The change comes while the pod is being tried.
        q.wake(t);
        q.park("a", t);
        q.advance(t + BACKOFF_MIN * 2);
        assert_eq!(q.take().as_deref(), Some("a"));
        q.remove("a");
        q.park("a", t);
        assert_eq!(q.len(), 0);
    }
}
