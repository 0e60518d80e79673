//! Leadership by a `coordination.k8s.io/v1` Lease.
//!
//! A candidate counts, on its own monotonic clock, from the last change of the Lease that it saw:
//! the times inside the Lease are other machines' and are not looked at. Every take-over and
//! renewal is a compare-and-swap. That a leader which was deposed does not write any more rests
//! on the [`Fence`], not on time: so a Lease may be taken as soon as its holder is believed dead.
//!
//! ```text
//!   free or run out ─┐                       ┌─ another holds it ──► work ends
//!   holder is gone ──┼─► take ─► work ─► hold┼─ stop ─────────────► work ends, holder ""
//!   handed to us ────┘              └renew┘  └─ another is preferred ► work ends, holder = it
//! ```

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
/// The Lease's `strategy` while somebody asks for it: the master that leads the store leads here.
const STRATEGY: &str = "trireme.io/store-leader";
/// The pause after a take-over or renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(150);
/// One attempt to write the Lease; the next one finds out what became of it.
const WRITE_DEADLINE: Duration = Duration::from_millis(600);
/// How often a candidate asks its witness.
const WITNESS_POLL: Duration = Duration::from_millis(100);
/// A free Lease is left this long to the master that leads the store.
const FREE_GRACE: Duration = Duration::from_millis(400);
/// It asks again, where it was not given the Lease.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How long a leader goes on without a renewal. Its writes are fenced, so nothing is at risk: it
/// need not stop for a stall in which nobody can write, and start again with cold controllers.
const RENEW_DEADLINE: Duration = Duration::from_secs(30);
/// What a term's work gets to end in before the next term may start.
const WORK_END_DEADLINE: Duration = Duration::from_secs(5);

/// How quickly leadership moves where nothing but the Lease tells of the holder.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTiming {
    /// What the Lease says; whole seconds, for those who read it.
    pub duration_seconds: i64,
    /// A candidate takes over when it has seen no change for this long.
    pub takeover_after: Duration,
    pub renew_every: Duration,
    /// How long a master leads the store before it asks for a Lease: elections come in bursts.
    pub ask_after: Duration,
    /// A leader gives nothing away before it has led for so long.
    pub keep_at_least: Duration,
}

impl Default for LeaseTiming {
    /// Where only renewals tell: leadership moves within two seconds of a kill, at the price of
    /// three writes a second for each Lease.
    fn default() -> LeaseTiming {
        LeaseTiming {
            duration_seconds: 2,
            takeover_after: Duration::from_millis(1700),
            renew_every: Duration::from_millis(300),
            ask_after: Duration::from_secs(5),
            keep_at_least: Duration::from_secs(10),
        }
    }
}

impl LeaseTiming {
    /// Where a [`Witness`] tells of a holder's death: as stock components have it. Running out is
    /// left for what no witness sees, a process that answers its peers and does nothing else.
    pub fn witnessed() -> LeaseTiming {
        LeaseTiming {
            duration_seconds: 15,
            takeover_after: Duration::from_secs(15),
            renew_every: Duration::from_secs(5),
            ..LeaseTiming::default()
        }
    }
}

/// What a candidate knows from beside the Lease. May be wrong: who acts on it is fenced.
pub trait Witness: Send + Sync {
    /// Whether the process of that identity is known to have ended, or to be out of reach.
    fn is_gone(&self, identity: &str) -> bool;
    /// For how long this process's master has led the store; `None` where another does.
    fn led_for(&self) -> Option<Duration>;
}

/// One Lease that one of several processes holds.
pub struct Election {
    client: Client,
    cache: Informer,
    key: String,
    namespace: String,
    name: String,
    identity: String,
    timing: Option<LeaseTiming>,
    clock: Clock,
    witness: Option<Arc<dyn Witness>>,
    metrics: Arc<Metrics>,
    /// When the Lease was last seen to change.
    changed: watch::Sender<Instant>,
}

/// A time of leading: work stops when `stop` is cancelled, and writes under `fence` alone. Who is
/// told that the fence does not hold any more cancels `stop`.
#[derive(Clone)]
pub struct Leadership {
    pub stop: CancellationToken,
    pub fence: Fence,
}

enum Renewed {
    Held(Box<Object>),
    Lost,
    Unknown,
}

/// How a term ends.
enum Ended {
    /// By its stop, or because its writes are refused.
    Stopped,
    Lost,
    /// This identity is to lead instead.
    HandOver(String),
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
            timing: None,
            clock: Clock::system(),
            witness: None,
            metrics: Arc::default(),
            changed: watch::Sender::new(Instant::now()),
        }
    }

    /// In place of what suits the witness, or that there is none.
    pub fn timing(mut self, timing: LeaseTiming) -> Election {
        self.timing = Some(timing);
        self
    }
    pub fn clock(mut self, clock: Clock) -> Election {
        self.clock = clock;
        self
    }
    pub fn witness(mut self, witness: Option<Arc<dyn Witness>>) -> Election {
        self.witness = witness;
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
            let Some((mut lease, fence)) = stop.run_until_cancelled(self.acquire()).await else { return };
            tracing::info!(lease = self.key, identity = self.identity, "started leading");
            self.metrics.leading(&self.key, true);
            let term = stop.child_token();
            // Whoever drops this future ends the work with it.
            let _ended = term.clone().drop_guard();
            let mut working = tokio::spawn(work(Leadership { stop: term.clone(), fence }));
            let ended = self.hold(&mut lease, &term).await;
            term.cancel();
            if timeout(WORK_END_DEADLINE, &mut working).await.is_err() {
                // It must not run on beside the next leader.
                working.abort();
            }
            self.metrics.leading(&self.key, false);
            tracing::info!(lease = self.key, identity = self.identity, "stopped leading");
            match ended {
                _ if stop.is_cancelled() => {
                    self.give(lease, "").await;
                    return;
                }
                Ended::HandOver(next) => self.give(lease, &next).await,
                // Where nobody has taken it, only a change of holder makes an epoch that holds again.
                Ended::Stopped => self.give(lease, "").await,
                Ended::Lost => {}
            }
        }
    }

    fn timing_now(&self) -> LeaseTiming {
        self.timing.unwrap_or_else(|| match self.witness {
            Some(_) => LeaseTiming::witnessed(),
            None => LeaseTiming::default(),
        })
    }

    /// How long a candidate leaves the Lease alone after its last change.
    fn patience(&self, lease: &Object) -> Duration {
        let (timing, holder) = (self.timing_now(), lease.spec()["holderIdentity"].str_or_empty());
        let said = lease.spec()["leaseDurationSeconds"].as_i64().unwrap_or(timing.duration_seconds);
        if holder.is_empty() {
            self.grace()
        } else if holder == self.identity || self.witness.as_ref().is_some_and(|w| w.is_gone(holder)) {
            Duration::ZERO
        } else if said == timing.duration_seconds {
            timing.takeover_after
        } else {
            // Of a holder with other settings.
            Duration::from_secs(u64::try_from(said).unwrap_or(0))
        }
    }

    /// A free Lease is first offered to the master that leads the store.
    fn grace(&self) -> Duration {
        match &self.witness {
            Some(witness) if witness.led_for().is_none() => FREE_GRACE,
            _ => Duration::ZERO,
        }
    }

    async fn acquire(&self) -> (Object, Fence) {
        self.cache.wait_synced().await;
        let began = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut changes = self.changed.subscribe();
        loop {
            let changed = *changes.borrow_and_update();
            let known = self.cache.store().get(&self.key);
            let due = match &known {
                None => began.max(changed) + self.grace(),
                // A Lease that was free before this candidate came has been offered to nobody.
                Some(lease) if lease.spec()["holderIdentity"].str_or_empty().is_empty() => {
                    began.max(changed) + self.patience(lease)
                }
                Some(lease) => changed + self.patience(lease),
            };
            if due <= Instant::now() {
                match self.take(known.as_deref()).await {
                    Ok(lease) => match self.fence_of(&lease) {
                        Some(fence) => return (lease, fence),
                        None => tracing::debug!(lease = self.key, "another became leader"),
                    },
                    Err(e) => tracing::debug!(lease = self.key, error = %e, "did not become leader"),
                }
                sleep(RETRY_PAUSE).await;
                continue;
            }
            if let (Some(witness), Some(lease)) = (&self.witness, &known)
                && witness.led_for().is_some_and(|led| led >= self.timing_now().ask_after)
                && asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN)
            {
                asked = Some(Instant::now());
                self.ask(lease).await;
            }
            let poll = if self.witness.is_some() { Instant::now() + WITNESS_POLL } else { due };
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep_until(due.min(poll)) => {}
            }
        }
    }

    /// Asks the holder for the Lease.
    async fn ask(&self, known: &Object) {
        let mut lease = known.clone();
        let spec = lease.make(&["spec"]);
        spec.set("strategy", STRATEGY);
        spec.set("preferredHolder", self.identity.as_str());
        match timeout(WRITE_DEADLINE, self.client.update(&LEASES, &lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.key, "asked for the Lease: the store is led here"),
            Ok(Err(e)) => tracing::debug!(lease = self.key, error = %e, "did not ask for the Lease"),
            Err(_) => {}
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
                    count_transition(&mut lease, other);
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
        let duration_seconds = self.timing_now().duration_seconds;
        let spec = lease.make(&["spec"]);
        spec.set("holderIdentity", self.identity.as_str());
        spec.set("leaseDurationSeconds", duration_seconds);
        if acquired {
            spec.set("acquireTime", now);
            spec.remove("preferredHolder");
            spec.remove("strategy");
        }
        spec.set("renewTime", now);
    }

    /// What to write under while this Lease, as the store has it, is this process's. Without an
    /// epoch there is no leading: its writes could not be told from those of the next leader.
    fn fence_of(&self, lease: &Object) -> Option<Fence> {
        if lease.spec()["holderIdentity"] != *self.identity {
            return None;
        }
        let epoch = lease.annotation(EPOCH_ANNOTATION).and_then(|epoch| epoch.parse().ok());
        if epoch.is_none() {
            tracing::warn!(lease = self.key, "the Lease shows no epoch of the store's");
        }
        epoch.map(|epoch| Fence::new(&self.key, epoch))
    }

    /// Returns when the Lease is lost, cannot be renewed, is asked for, or `term` is cancelled.
    async fn hold(&self, lease: &mut Object, term: &CancellationToken) -> Ended {
        let timing = self.timing_now();
        let renew_every = timing.renew_every;
        let began = Instant::now();
        let mut changes = self.changed.subscribe();
        changes.mark_changed();
        let (mut renewed_at, mut next) = (began, began + renew_every);
        let mut steady = true;
        loop {
            tokio::select! {
                () = term.cancelled() => return Ended::Stopped,
                changed = changes.changed() => if changed.is_err() { return Ended::Lost },
                () = sleep_until(next) => {}
            }
            match self.cache.store().get(&self.key) {
                Some(seen) if is_newer(&seen, lease) => {
                    if seen.spec()["holderIdentity"] != *self.identity {
                        return Ended::Lost;
                    }
                    *lease = Object::clone(&seen);
                }
                Some(_) => {}
                // Deleted, or the cache has not seen that it was made: the next renewal tells.
                None => next = Instant::now(),
            }
            if Instant::now() < next {
                continue;
            }
            let started = Instant::now();
            let left = RENEW_DEADLINE.saturating_sub(renewed_at.elapsed());
            if left.is_zero() {
                tracing::warn!(lease = self.key, "the Lease could not be renewed in time");
                return Ended::Lost;
            }
            let renewed =
                timeout(left.min(WRITE_DEADLINE), self.renew(lease)).await.unwrap_or(Renewed::Unknown);
            match renewed {
                Renewed::Held(now) => {
                    *lease = *now;
                    renewed_at = started;
                    next = started + renew_every;
                    // Only where all is well: what the store has just answered at once.
                    if steady
                        && began.elapsed() >= timing.keep_at_least
                        && let Some(other) = self.preferred(lease)
                    {
                        return Ended::HandOver(other);
                    }
                    steady = true;
                }
                Renewed::Unknown => {
                    steady = false;
                    next = Instant::now() + RETRY_PAUSE;
                }
                Renewed::Lost => return Ended::Lost,
            }
        }
    }

    /// Who has asked for the Lease, and is not known to be gone.
    fn preferred(&self, lease: &Object) -> Option<String> {
        let other = lease.spec()["preferredHolder"].str_or_empty();
        let here = self.witness.as_ref()?.led_for().is_some();
        let alive = !other.is_empty()
            && other != self.identity
            && self.witness.as_ref().is_none_or(|witness| !witness.is_gone(other));
        (alive && !here).then(|| other.to_owned())
    }

    async fn renew(&self, lease: &Object) -> Renewed {
        let mut next = lease.clone();
        self.fill(&mut next, &rfc3339_micro(self.clock.now()), false);
        match self.client.update(&LEASES, &next).await {
            Ok(lease) => Renewed::Held(Box::new(lease)),
            // Another took it, an earlier renewal of ours was done after all, or somebody asks.
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

    /// Gives the Lease to `next`, or to whoever comes first where that is "". This term's work has
    /// ended: from here on its fence is void.
    async fn give(&self, mut lease: Object, next: &str) {
        let now = rfc3339_micro(self.clock.now());
        count_transition(&mut lease, !next.is_empty());
        let spec = lease.make(&["spec"]);
        spec.set("holderIdentity", next);
        spec.set("renewTime", now.as_str());
        spec.remove("preferredHolder");
        spec.remove("strategy");
        if next.is_empty() {
            spec.set("leaseDurationSeconds", 1);
        } else {
            spec.set("acquireTime", now);
            tracing::info!(lease = self.key, to = next, "handing the Lease over");
        }
        // Best effort: without it the Lease is taken from a process that is gone, or kept.
        let _ = timeout(WRITE_DEADLINE, self.client.update(&LEASES, &lease)).await;
    }
}

fn count_transition(lease: &mut Object, moved: bool) {
    let transitions = lease.spec()["leaseTransitions"].as_i64().unwrap_or(0);
    lease.make(&["spec"]).set("leaseTransitions", transitions + i64::from(moved));
}

/// Whether `seen` was written after `known`.
fn is_newer(seen: &Object, known: &Object) -> bool {
    let revision = |object: &Object| object.resource_version().parse::<u64>().unwrap_or(0);
    revision(seen) > revision(known)
}
