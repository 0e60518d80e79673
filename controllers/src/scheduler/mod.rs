//! The scheduler: gives every pod without a node the best node there is, or says why there is none.
//!
//! ```text
//!   informers ──► Cluster (nodes, pods, promises)      ┌─ node ──► promise ──► bind (many at once)
//!        └──────► Queue ──take──► plan::place (pure) ──┤
//!                   ▲                                  └─ none ──► condition + event, parked
//!                   └──────────── the cluster changed, time passed ───────────┘
//! ```
//!
//! It is an ordinary API client under upstream's name `system:kube-scheduler`. Every master runs
//! one with warm caches; the holder of the Lease `kube-system/kube-scheduler` decides. No pods are
//! evicted to make room (no preemption), and volumes are not looked at.

mod affinity;
mod cluster;
mod filter;
mod plan;
#[cfg(test)]
mod plan_test;
mod queue;
mod resources;
mod score;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, Value, value};
use trireme_client::informer::{key_of, split_key};
use trireme_client::resource::{NAMESPACES, NODES, PODS};
use trireme_client::{Change, Client, Error, Informer, InformerFactory, PatchKind, Transport};

use crate::runtime::{
    Clock, Election, EventKind, Leadership, Metrics, Recorder, Witness, is_fenced, rfc3339,
};
use cluster::{Cluster, Pod};
use plan::{Rotation, place};
use queue::Queue;

/// The identity it acts under.
pub const USER: &str = "system:kube-scheduler";
/// Namespace and name of its Lease.
pub const LEASE: (&str, &str) = ("kube-system", "kube-scheduler");
/// Pods that name another scheduler are left to it.
const SCHEDULER_NAME: &str = "default-scheduler";
/// Bindings under way at once; the next decision waits for a free place.
const BINDINGS_IN_FLIGHT_MAX: usize = 64;

/// What a scheduler needs.
pub struct Config {
    /// Acts as [`USER`].
    pub transport: Arc<dyn Transport>,
    /// This process's name, unlike any other's: what the Lease shows.
    pub identity: String,
    /// Tells of the other processes early.
    pub witness: Option<Arc<dyn Witness>>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub counts: Arc<Counts>,
}

/// What was decided so far, for the metrics page.
#[derive(Debug, Default)]
pub struct Counts {
    scheduled: AtomicU64,
    unschedulable: AtomicU64,
    errors: AtomicU64,
    pending: AtomicU64,
}

impl Counts {
    /// In the text format of Prometheus, under upstream's names.
    pub fn render(&self) -> String {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        format!(
            "# TYPE scheduler_schedule_attempts_total counter\n\
             scheduler_schedule_attempts_total{{profile=\"{SCHEDULER_NAME}\",result=\"scheduled\"}} {}\n\
             scheduler_schedule_attempts_total{{profile=\"{SCHEDULER_NAME}\",result=\"unschedulable\"}} {}\n\
             scheduler_schedule_attempts_total{{profile=\"{SCHEDULER_NAME}\",result=\"error\"}} {}\n\
             # TYPE scheduler_pending_pods gauge\n\
             scheduler_pending_pods {}\n",
            get(&self.scheduled),
            get(&self.unschedulable),
            get(&self.errors),
            get(&self.pending),
        )
    }
}

/// Runs until `stop`: keeps the caches warm, and decides while it holds the Lease.
pub async fn run(config: Config, stop: CancellationToken) {
    let client = Client::new(config.transport.clone());
    let informers = InformerFactory::new(client.clone(), stop.clone());
    let (nodes, pods, namespaces) =
        (informers.informer(&NODES), informers.informer(&PODS), informers.informer(&NAMESPACES));
    let scheduler = Arc::new(Scheduler {
        client: client.clone(),
        clock: config.clock.clone(),
        pods: pods.clone(),
        state: Mutex::default(),
        work: Notify::new(),
        bindings: Arc::new(Semaphore::new(BINDINGS_IN_FLIGHT_MAX)),
        counts: config.counts,
    });
    let on_nodes = handler(&scheduler, Scheduler::node_changed);
    let on_pods = handler(&scheduler, Scheduler::pod_changed);
    let on_namespaces = handler(&scheduler, Scheduler::namespace_changed);
    let _subscriptions =
        (nodes.on_change(on_nodes), pods.on_change(on_pods), namespaces.on_change(on_namespaces));

    let election = Election::new(client, &informers, LEASE.0, LEASE.1, &config.identity)
        .clock(config.clock)
        .witness(config.witness)
        .metrics(config.metrics);
    let caches = (nodes, pods, namespaces);
    election
        .run(stop, move |leadership| {
            let (scheduler, caches) = (scheduler.clone(), caches.clone());
            async move {
                // What the last leader bound must be seen before anything is promised.
                tokio::join!(caches.0.refresh(), caches.1.refresh(), caches.2.refresh());
                scheduler.lead(leadership).await;
            }
        })
        .await;
}

fn handler(
    scheduler: &Arc<Scheduler>,
    method: fn(&Scheduler, &Change),
) -> impl Fn(&Change) + Send + Sync + 'static {
    let scheduler = scheduler.clone();
    move |change| method(&scheduler, change)
}

#[derive(Default)]
struct State {
    cluster: Cluster,
    queue: Queue,
    rotation: Rotation,
}

struct Scheduler {
    /// Unfenced: each term writes through its own.
    client: Client,
    clock: Clock,
    pods: Informer,
    state: Mutex<State>,
    /// There may be a pod to take.
    work: Notify,
    bindings: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// A time of leading, and the ways to write in it.
#[derive(Clone)]
struct Term {
    client: Client,
    recorder: Recorder,
    stop: CancellationToken,
}

impl Scheduler {
    fn node_changed(&self, change: &Change) {
        let mut state = self.state.lock();
        match &change.new {
            None => state.cluster.remove_node(change.object().name()),
            Some(node) => {
                state.cluster.set_node(node.clone());
                // Heartbeats change nothing that a decision depends on.
                let same = change.old.as_ref().is_some_and(|old| {
                    old.spec() == node.spec()
                        && old.metadata()["labels"] == node.metadata()["labels"]
                        && old.status()["allocatable"] == node.status()["allocatable"]
                });
                if same {
                    return;
                }
            }
        }
        state.queue.wake(Instant::now());
        drop(state);
        self.work.notify_one();
    }

    fn namespace_changed(&self, change: &Change) {
        let name: Box<str> = change.object().name().into();
        let mut state = self.state.lock();
        match &change.new {
            None => state.cluster.namespaces.remove(&name),
            Some(ns) => state.cluster.namespaces.insert(name, ns.clone()),
        };
    }

    fn pod_changed(&self, change: &Change) {
        let pod = change.object();
        let key = key_of(pod);
        let ended = matches!(pod.status()["phase"].str_or_empty(), "Succeeded" | "Failed");
        let mut state = self.state.lock();
        if let Some(old) = change.old.as_ref().filter(|old| old.uid() != pod.uid()) {
            state.cluster.displace(old.uid());
        }
        if change.deleted() || ended {
            state.cluster.displace(pod.uid());
            state.queue.remove(&key);
            state.queue.wake(Instant::now());
        } else if let Some(node) = pod.spec()["nodeName"].as_str().filter(|n| !n.is_empty()) {
            state.queue.remove(&key);
            state.cluster.place(Arc::new(Pod::new(pod.clone())), node);
        } else if !is_ours(pod) {
            state.queue.remove(&key);
        } else {
            // The scheduler's own condition on the pod is no reason to try again.
            let same = change.old.as_ref().is_some_and(|old| {
                old.uid() == pod.uid()
                    && old.spec() == pod.spec()
                    && old.metadata()["labels"] == pod.metadata()["labels"]
            });
            if same {
                return;
            }
            state.queue.add(&key, pod.spec()["priority"].as_i64().unwrap_or(0));
        }
        self.counts.pending.store(state.queue.len() as u64, Ordering::Relaxed);
        drop(state);
        self.work.notify_one();
    }

    /// Takes pods one by one until leadership ends.
    async fn lead(self: Arc<Self>, leadership: Leadership) {
        self.state.lock().queue.wake(Instant::now());
        let client = self.client.fenced(leadership.fence);
        let recorder = Recorder::new(client.clone(), SCHEDULER_NAME, self.clock.clone());
        let term = Term { client, recorder, stop: leadership.stop };
        while !term.stop.is_cancelled() {
            let (taken, next) = {
                let mut state = self.state.lock();
                let next = state.queue.advance(Instant::now());
                (state.queue.take(), next)
            };
            match taken {
                Some(key) => self.clone().schedule(&key, &term).await,
                None => {
                    let until = next.map(tokio::time::Instant::from_std);
                    tokio::select! {
                        () = term.stop.cancelled() => return,
                        () = self.work.notified() => {}
                        () = async { match until {
                            Some(at) => tokio::time::sleep_until(at).await,
                            None => std::future::pending().await,
                        } } => {}
                    }
                }
            }
        }
    }

    /// Decides about one pod, and sends the binding on its way.
    async fn schedule(self: Arc<Self>, key: &str, term: &Term) {
        let Ok(permit) = self.bindings.clone().acquire_owned().await else { return };
        let Some(pod) = self.pods.store().get(key).filter(|p| is_ours(p) && is_unassigned(p)) else {
            self.state.lock().queue.remove(key);
            return;
        };
        let pod = Arc::new(Pod::new(pod));
        let decided = {
            let mut state = self.state.lock();
            let State { cluster, queue, rotation } = &mut *state;
            let decided = place(&pod, cluster, rotation);
            match &decided {
                Ok(node) => cluster.place(pod.clone(), node),
                Err(_) => queue.park(key, Instant::now()),
            }
            decided
        };
        let (scheduler, term) = (self.clone(), term.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match decided {
                Ok(node) => scheduler.bind(&pod, &node, &term).await,
                Err(message) => scheduler.refuse(&pod, &message, &term).await,
            }
        });
    }

    async fn bind(&self, pod: &Pod, node: &str, term: &Term) {
        let (object, key) = (&pod.object, key_of(&pod.object));
        let (namespace, name) = split_key(&key);
        let bound = match term
            .stop
            .run_until_cancelled(term.client.bind(namespace, name, object.uid(), node))
            .await
        {
            Some(bound) => bound,
            None => Err(Error::OutcomeUnknown("leadership ended".into())),
        };
        match bound {
            Ok(()) => {
                self.counts.scheduled.fetch_add(1, Ordering::Relaxed);
                term.recorder.event(
                    object,
                    "v1",
                    "Pod",
                    EventKind::Normal,
                    "Scheduled",
                    format!("Successfully assigned {key} to {node}"),
                );
            }
            Err(error) => {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
                if is_fenced(&error) {
                    term.stop.cancel();
                }
                tracing::warn!(pod = key, node, %error, "binding failed");
                let mut state = self.state.lock();
                // If it was done after all, the cache shows the pod on its node, now or soon, and
                // places it again.
                let seen_bound = self.pods.store().get(&key).is_some_and(|p| !is_unassigned(&p));
                if !seen_bound {
                    state.cluster.displace(object.uid());
                    match error.is_not_found() {
                        true => state.queue.remove(&key),
                        false => state.queue.retry(&key, Instant::now()),
                    }
                }
                drop(state);
                self.work.notify_one();
            }
        }
    }

    /// Tells the pod's owner what stands in the way: a condition, and an event.
    async fn refuse(&self, pod: &Pod, message: &str, term: &Term) {
        self.counts.unschedulable.fetch_add(1, Ordering::Relaxed);
        let object = &pod.object;
        term.recorder.event(object, "v1", "Pod", EventKind::Warning, "FailedScheduling", message);
        let conditions = object.status()["conditions"].items();
        let present = conditions.iter().find(|c| c["type"] == "PodScheduled");
        let is = |field: &str, text: &str| present.is_some_and(|c| c[field] == *text);
        if is("status", "False") && is("reason", "Unschedulable") && is("message", message) {
            return;
        }
        let mut condition = value!({
            "type": "PodScheduled",
            "status": "False",
            "observedGeneration": object.generation(),
            "reason": "Unschedulable",
            "message": message,
        });
        if !is("status", "False") {
            condition.make(&[]).set("lastTransitionTime", rfc3339(self.clock.now()));
        }
        let mut patch = value!({"metadata": {"uid": object.uid()}});
        patch.make(&["status"]).set("conditions", Value::Array(vec![condition]));
        let (namespace, name) = (object.namespace(), object.name());
        let resource = PODS;
        let patched = term.client.patch(&resource, namespace, name, "status", PatchKind::Strategic, &patch);
        if let Some(Err(error)) = term.stop.run_until_cancelled(patched).await
            && !error.is_not_found()
        {
            if is_fenced(&error) {
                term.stop.cancel();
            }
            tracing::debug!(pod = key_of(object), %error, "condition not written");
        }
    }
}

fn is_unassigned(pod: &Object) -> bool {
    pod.spec()["nodeName"].str_or_empty().is_empty()
}

/// Whether a pod without a node is this scheduler's to place now.
fn is_ours(pod: &Object) -> bool {
    let name = pod.spec()["schedulerName"].str_or_empty();
    (name.is_empty() || name == SCHEDULER_NAME)
        && pod.spec()["schedulingGates"].items().is_empty()
        && pod.deletion_timestamp().is_none()
}
