//! Leadership by a `coordination.k8s.io/v1` Lease.
//!
//! A candidate counts, on its own monotonic clock, from the last change of the Lease that it saw:
//! the times inside the Lease are other machines' and are not looked at. Every take-over and
//! renewal is a compare-and-swap. That a leader which was deposed does not write any more rests
//! on the [`Fence`], not on time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, value};
use trireme_client::resource::LEASES;
use trireme_client::{Client, Error, Fence, Informer, InformerFactory, Scope};

use super::metrics::Metrics;
use super::{Clock, rfc3339_micro};

/// Where the store shows the epoch of the Lease's holder; it alone writes it.
const EPOCH_ANNOTATION: &str = "trireme.io/fence-epoch";
/// The pause after a take-over or renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(150);
/// One attempt to write the Lease; the next one finds out what became of it.
const WRITE_DEADLINE: Duration = Duration::from_millis(600);
/// How often a candidate asks whether the holder's process is gone.
const GONE_POLL: Duration = Duration::from_millis(100);
/// How long a leader whose writes are fenced goes on without a renewal.
const FENCED_DEADLINE: Duration = Duration::from_secs(15);
/// What a term's work gets to end in before the next term may start.
const WORK_END_DEADLINE: Duration = Duration::from_secs(5);

/// How quickly leadership moves, and how long a leader may be out of touch.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTiming {
    /// What the Lease says; whole seconds, for those who read it.
    pub duration_seconds: i64,
    /// A candidate takes over when it has seen no change for this long.
    pub takeover_after: Duration,
    /// A leader whose writes are not fenced stops when it could not renew for this long; less than
    /// `takeover_after`.
    pub renew_deadline: Duration,
    pub renew_every: Duration,
}

impl Default for LeaseTiming {
    /// Leadership moves within two seconds of a kill, and survives an election of the store's.
    fn default() -> LeaseTiming {
        LeaseTiming {
            duration_seconds: 2,
            takeover_after: Duration::from_millis(1700),
            renew_deadline: Duration::from_millis(1500),
            renew_every: Duration::from_millis(300),
        }
    }
}

/// Tells whether the process that a holder's identity names is known to be dead.
pub type HolderGone = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// One Lease that one of several processes holds.
pub struct Election {
    client: Client,
    cache: Informer,
    key: String,
    namespace: String,
    name: String,
    identity: String,
    timing: LeaseTiming,
    clock: Clock,
    fence: Fence,
    holder_gone: Option<HolderGone>,
    metrics: Arc<Metrics>,
    /// When the Lease was last seen to change.
    changed: watch::Sender<Instant>,
}

/// A time of leading: work stops when `stop` is cancelled.
#[derive(Clone)]
pub struct Leadership {
    pub stop: CancellationToken,
}

enum Renewed {
    Held(Box<Object>),
    Lost,
    Unknown,
}

impl Election {
    /// `client` writes the Lease; `informers` watches it. The identity must be this process's
    /// alone, also across restarts.
    pub fn new(
        client: Client,
        informers: &InformerFactory,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> Election {
        let cache = informers.scoped(
            &LEASES,
            Scope {
                namespace: Some(namespace.to_owned()),
                field_selector: format!("metadata.name={name}"),
                ..Scope::default()
            },
        );
        Election {
            client,
            cache,
            key: format!("{namespace}/{name}"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing: LeaseTiming::default(),
            clock: Clock::system(),
            fence: Fence::default(),
            holder_gone: None,
            metrics: Arc::default(),
            changed: watch::Sender::new(Instant::now()),
        }
    }

    pub fn timing(mut self, timing: LeaseTiming) -> Election {
        self.timing = timing;
        self
    }
    pub fn clock(mut self, clock: Clock) -> Election {
        self.clock = clock;
        self
    }
    /// Set while leading, to what the store says.
    pub fn fence(mut self, fence: Fence) -> Election {
        self.fence = fence;
        self
    }
    /// Lets this candidate take over before the Lease runs out.
    pub fn holder_gone(mut self, gone: Option<HolderGone>) -> Election {
        self.holder_gone = gone;
        self
    }
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Election {
        self.metrics = metrics;
        self
    }

    /// Until `stop`: becomes leader, runs `work` while it leads, and again. On `stop` the Lease is
    /// given up, so that another takes it at once.
    pub async fn run<F>(self, stop: CancellationToken, work: impl Fn(Leadership) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.metrics.leading(&self.key, false);
        let changed = self.changed.clone();
        let _subscription = self.cache.on_change(move |_| {
            changed.send_replace(Instant::now());
        });
        loop {
            let Some(mut lease) = stop.run_until_cancelled(self.acquire()).await else { return };
            tracing::info!(lease = self.key, identity = self.identity, "started leading");
            self.metrics.leading(&self.key, true);
            let term = stop.child_token();
            // Whoever drops this future ends the work with it.
            let _ended = term.clone().drop_guard();
            let mut working = tokio::spawn(work(Leadership { stop: term.clone() }));
            self.hold(&mut lease, &term).await;
            term.cancel();
            if timeout(WORK_END_DEADLINE, &mut working).await.is_err() {
                // It must not run on beside the next leader.
                working.abort();
            }
            self.fence.clear();
            self.metrics.leading(&self.key, false);
            tracing::info!(lease = self.key, identity = self.identity, "stopped leading");
            if stop.is_cancelled() {
                self.release(lease).await;
                return;
            }
        }
    }

    async fn acquire(&self) -> Object {
        self.cache.wait_synced().await;
        let mut changes = self.changed.subscribe();
        loop {
            let changed = *changes.borrow_and_update();
            let known = self.cache.store().get(&self.key);
            let free = match &known {
                None => true,
                Some(lease) => {
                    let holder = lease.spec()["holderIdentity"].str_or_empty();
                    holder.is_empty()
                        || holder == self.identity
                        || changed.elapsed() >= self.timing.takeover_after
                        || self.holder_gone.as_ref().is_some_and(|gone| gone(holder))
                }
            };
            if free {
                match self.take(known.as_deref()).await {
                    Ok(lease) if lease.spec()["holderIdentity"] != *self.identity => {}
                    Ok(lease) => {
                        self.took(&lease);
                        return lease;
                    }
                    Err(e) => tracing::debug!(lease = self.key, error = %e, "did not become leader"),
                }
                sleep(RETRY_PAUSE).await;
                continue;
            }
            let poll = if self.holder_gone.is_some() { GONE_POLL } else { self.timing.takeover_after };
            let until = (changed + self.timing.takeover_after).min(Instant::now() + poll);
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    async fn take(&self, known: Option<&Object>) -> Result<Object, Error> {
        let now = rfc3339_micro(self.clock.now());
        let write = async {
            match known {
                None => {
                    let mut lease = Object(value!({
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": {"namespace": self.namespace.as_str(), "name": self.name.as_str()},
                        "spec": {"leaseTransitions": 0},
                    }));
                    self.fill(&mut lease, &now, true);
                    self.client.create(&LEASES, &self.namespace, &lease).await
                }
                Some(known) => {
                    let mut lease = known.clone();
                    let other = lease.spec()["holderIdentity"] != *self.identity;
                    let transitions = lease.spec()["leaseTransitions"].as_i64().unwrap_or(0);
                    lease.make(&["spec"]).set("leaseTransitions", transitions + i64::from(other));
                    self.fill(&mut lease, &now, other);
                    self.client.update(&LEASES, &lease).await
                }
            }
        };
        let taken = async {
            write.await?;
            // The epoch is the store's to set: only what is stored shows it.
            self.client.get(&LEASES, &self.namespace, &self.name).await
        };
        timeout(WRITE_DEADLINE, taken)
            .await
            .unwrap_or_else(|_| Err(Error::OutcomeUnknown(format!("no answer in {WRITE_DEADLINE:?}"))))
    }

    fn fill(&self, lease: &mut Object, now: &str, acquired: bool) {
        let spec = lease.make(&["spec"]);
        spec.set("holderIdentity", self.identity.as_str());
        spec.set("leaseDurationSeconds", self.timing.duration_seconds);
        if acquired {
            spec.set("acquireTime", now);
        }
        spec.set("renewTime", now);
    }

    fn took(&self, lease: &Object) {
        if let Some(epoch) = lease.annotation(EPOCH_ANNOTATION) {
            self.fence.set(&self.key, epoch);
        }
    }

    /// Returns when the Lease is lost, cannot be renewed, or `term` is cancelled.
    async fn hold(&self, lease: &mut Object, term: &CancellationToken) {
        let mut renewed_at = Instant::now();
        let mut pause = self.timing.renew_every;
        loop {
            tokio::select! {
                () = term.cancelled() => return,
                () = sleep(pause) => {}
            }
            let started = Instant::now();
            // With a fence the store itself refuses what a deposed leader writes: then it need not
            // stop for a stall in which nobody can write, and start again with cold controllers.
            let fenced = self.fence.get().is_some();
            let deadline = if fenced {
                self.timing.renew_deadline.max(FENCED_DEADLINE)
            } else {
                self.timing.renew_deadline
            };
            let left = deadline.saturating_sub(renewed_at.elapsed());
            if left.is_zero() {
                tracing::warn!(lease = self.key, "the Lease could not be renewed in time");
                return;
            }
            let renewed =
                timeout(left.min(WRITE_DEADLINE), self.renew(lease)).await.unwrap_or(Renewed::Unknown);
            pause = match renewed {
                Renewed::Held(now) => {
                    *lease = *now;
                    renewed_at = started;
                    self.timing.renew_every
                }
                Renewed::Unknown => RETRY_PAUSE,
                Renewed::Lost => return,
            };
        }
    }

    async fn renew(&self, lease: &Object) -> Renewed {
        let mut next = lease.clone();
        self.fill(&mut next, &rfc3339_micro(self.clock.now()), false);
        match self.client.update(&LEASES, &next).await {
            Ok(lease) => Renewed::Held(Box::new(lease)),
            // Either another took it, or an earlier renewal of ours was done after all.
            Err(e) if e.is_conflict() => match self.client.get(&LEASES, &self.namespace, &self.name).await {
                Ok(lease) if lease.spec()["holderIdentity"] == *self.identity => {
                    Renewed::Held(Box::new(lease))
                }
                Ok(_) => Renewed::Lost,
                Err(e) if e.is_not_found() => Renewed::Lost,
                Err(_) => Renewed::Unknown,
            },
            Err(e) if e.is_not_found() => Renewed::Lost,
            Err(e) => {
                tracing::debug!(lease = self.key, error = %e, "renewal failed");
                Renewed::Unknown
            }
        }
    }

    async fn release(&self, mut lease: Object) {
        let spec = lease.make(&["spec"]);
        spec.set("holderIdentity", "");
        spec.set("leaseDurationSeconds", 1);
        // Best effort: without it the Lease runs out.
        let _ = timeout(WRITE_DEADLINE, self.client.update(&LEASES, &lease)).await;
    }
}
