//! Requests that took too long, told with where their time went, as the store tells of its own.
//!
//! ```text
//!   authentication ─► body ─► decode ─► admission ─► store ─► encode
//!                               barrier ─► cache_wait ─┘        (reads, and what writes look up)
//! ```
//!
//! A request is in one step at a time: one that begins within another takes its time from it, so
//! that the steps together are the whole. What is in none is `rest`. Where a request does several
//! things at once, as the deletion of a collection, it is in the step that was begun or ended last.
//! Each costs two looks at the clock; a line is made only of what was slow.
//!
//! **Invariant**: holds no content of any object, no query and no header but the client's name.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::filters::Call;

/// Lines in one second; what is slow beyond that is counted and not told.
const LINES_PER_SECOND_MAX: u64 = 10;
/// Bytes of a client's name for itself in a line.
const CLIENT_BYTES_MAX: usize = 128;

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Everything that has no step of its own: authorization, preparing, validating.
    Rest,
    /// Finding out who asks.
    Authentication,
    /// Waiting for what the client sends.
    Body,
    Decode,
    /// Plugins, without what they wait for.
    Admission,
    /// Asking the store for a revision that covers every write before.
    Barrier,
    /// Waiting until the cache has that revision.
    CacheWait,
    /// Reading from the store, and writing to it.
    Store,
    /// Making the answer; not what is streamed while it is sent.
    Encode,
}

/// In the order in which they are told.
const STEPS: [(Step, &str); 9] = [
    (Step::Authentication, "authentication"),
    (Step::Body, "body"),
    (Step::Decode, "decode"),
    (Step::Admission, "admission"),
    (Step::Barrier, "barrier"),
    (Step::CacheWait, "cache_wait"),
    (Step::Store, "store"),
    (Step::Encode, "encode"),
    (Step::Rest, "rest"),
];

/// The time of one request so far.
struct Times {
    began: Instant,
    /// Until when it is told by step.
    told: Cell<Instant>,
    step: Cell<Step>,
    by_step: [Cell<Duration>; STEPS.len()],
    /// Of what is made, where its path does not say it.
    name: RefCell<String>,
}

impl Times {
    fn new() -> Times {
        let now = Instant::now();
        let (told, step) = (Cell::new(now), Cell::new(Step::Rest));
        Times { began: now, told, step, by_step: Default::default(), name: RefCell::default() }
    }

    /// What went by is the present step's; the step before is given back.
    fn enter(&self, step: Step) -> Step {
        let now = Instant::now();
        let before = self.step.replace(step);
        let spent = &self.by_step[before as usize];
        spent.set(spent.get() + now.saturating_duration_since(self.told.replace(now)));
        before
    }
}

tokio::task_local! {
    static TIMES: Times;
}

/// Runs a request, whose steps are measured.
pub(crate) async fn measured<T>(request: impl Future<Output = T>) -> T {
    TIMES.scope(Times::new(), request).await
}

/// Ends its step when dropped.
pub(crate) struct Within {
    before: Option<Step>,
}

impl Drop for Within {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = TIMES.try_with(|times| times.enter(before));
        }
    }
}

/// Begins a step of the request that runs, if one does: others use the same code.
#[must_use = "the step ends when this is dropped"]
pub(crate) fn step(step: Step) -> Within {
    Within { before: TIMES.try_with(|times| times.enter(step)).ok() }
}

/// What the request that runs makes.
pub(crate) fn about(name: &str) {
    let _ = TIMES.try_with(|times| name.clone_into(&mut times.name.borrow_mut()));
}

/// The time since the request began, and by step.
fn split() -> Option<(Duration, Vec<(&'static str, Duration)>)> {
    let split = TIMES.try_with(|times| {
        times.enter(times.step.get());
        let spent = |(step, name): &(Step, &'static str)| (*name, times.by_step[*step as usize].get());
        let steps = STEPS.iter().map(spent).filter(|(_, spent)| !spent.is_zero()).collect();
        (times.told.get().saturating_duration_since(times.began), steps)
    });
    split.ok()
}

/// The log of slow requests: a bounded number of lines.
pub(crate) struct SlowLog {
    began: Instant,
    after_ns: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    second: AtomicU64,
    lines: AtomicU64,
    untold: AtomicU64,
}

impl Default for SlowLog {
    /// Nothing is slow until it is said what is.
    fn default() -> SlowLog {
        let zero = || AtomicU64::new(0);
        SlowLog {
            began: Instant::now(),
            after_ns: AtomicU64::new(u64::MAX),
            reads: zero(),
            writes: zero(),
            second: zero(),
            lines: zero(),
            untold: zero(),
        }
    }
}

impl SlowLog {
    pub(crate) fn set_after(&self, after: Duration) {
        self.after_ns.store(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many there were: reads, writes.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 2] {
        [("read", self.reads.load(Ordering::Relaxed)), ("write", self.writes.load(Ordering::Relaxed))]
    }

    /// Tells of the request that runs, if it was slow. What is long by its nature is none.
    pub(crate) fn look(&self, call: &Call, status: u16, elapsed: Duration) {
        if elapsed.as_nanos() <= u128::from(self.after_ns.load(Ordering::Relaxed))
            || call.info.is_long_running()
        {
            return;
        }
        let info = &call.info;
        let counter = if info.is_write() { &self.writes } else { &self.reads };
        counter.fetch_add(1, Ordering::Relaxed);
        let Some(untold) = self.may_tell() else { return };
        let (took, steps) = split().unwrap_or((elapsed, Vec::new()));
        let made = TIMES.try_with(|times| times.name.take()).unwrap_or_default();
        let resource = crate::status::qualified(&info.group, &info.resource).to_string();
        tracing::warn!(
            request = info.verb,
            resource = if info.is_resource { &resource } else { &info.path },
            subresource = info.subresource,
            namespace = info.namespace,
            name = if info.name.is_empty() { &made } else { &info.name },
            user = call.user.name,
            client = shown(call.header("user-agent")),
            status,
            audit_id = call.audit_id,
            took_ms = ms(took),
            steps = listed(&steps),
            untold,
            "a request was slow"
        );
    }

    /// How many were kept back since the last line, where there may be another now.
    fn may_tell(&self) -> Option<u64> {
        let second = self.began.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= LINES_PER_SECOND_MAX {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

fn shown(client: &str) -> &str {
    &client[..client.floor_char_boundary(CLIENT_BYTES_MAX)]
}

fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// `admission=0.1 store=250.4`, in milliseconds.
fn listed(steps: &[(&'static str, Duration)]) -> String {
    let mut out = String::new();
    for (name, spent) in steps {
        let _ = write!(out, "{}{name}={}", if out.is_empty() { "" } else { " " }, ms(*spent));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    async fn wait_in(name: Step) {
        let _within = step(name);
        tokio::time::sleep(STEP).await;
    }

    #[tokio::test]
    async fn a_step_within_another_takes_its_time_from_it_and_all_are_the_whole() {
        let (took, steps) = measured(async {
            {
                let _admission = step(Step::Admission);
                wait_in(Step::CacheWait).await;
            }
            wait_in(Step::Store).await;
            wait_in(Step::Store).await;
            split().expect("measured")
        })
        .await;
        let of = |name: &str| steps.iter().find(|(n, _)| *n == name).map(|(_, spent)| *spent);
        assert_eq!(steps.iter().map(|(_, spent)| *spent).sum::<Duration>(), took);
        assert!(of("cache_wait") >= Some(STEP) && of("store") >= Some(STEP * 2), "{steps:?}");
        let nested = of("admission").expect("a step");
        assert!(nested + of("cache_wait").expect("a step") <= took - STEP * 2, "{steps:?}");
        assert!(of("encode").is_none(), "{steps:?}");
        // In the order in which they come.
        let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["admission", "cache_wait", "store", "rest"]);
    }

    #[tokio::test]
    async fn outside_of_a_request_nothing_is_measured() {
        wait_in(Step::Store).await;
        assert!(split().is_none());
    }

    #[test]
    fn every_step_has_its_place() {
        for (step, name) in STEPS {
            let found: Vec<_> = STEPS.iter().filter(|(other, _)| *other as usize == step as usize).collect();
            assert_eq!(found.len(), 1, "{name}");
            assert!((step as usize) < STEPS.len(), "{name}");
        }
    }

    #[test]
    fn lines_are_bounded_and_the_rest_is_counted() {
        let slow = SlowLog::default();
        // Two seconds at most are met.
        let told = (0..1000).filter(|_| slow.may_tell().is_some()).count() as u64;
        assert!((LINES_PER_SECOND_MAX..=2 * LINES_PER_SECOND_MAX).contains(&told), "{told}");
        assert!(slow.untold.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_client_may_call_itself_what_it_likes() {
        assert_eq!(shown("kubectl/v1.36"), "kubectl/v1.36");
        assert!(shown(&"ä".repeat(200)).len() <= CLIENT_BYTES_MAX);
        assert_eq!(listed(&[("store", Duration::from_micros(1500)), ("rest", STEP)]), "store=1.5 rest=20");
    }
}
