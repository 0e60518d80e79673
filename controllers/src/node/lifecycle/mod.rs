//! Notices nodes that have gone silent, and keeps pods off nodes that are not well.

mod hearing;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use trireme_api::{Object, Value, value};
use trireme_client::informer::indexes::{NODE_NAME, node_name};
use trireme_client::resource::{LEASES, NODES, PODS};
use trireme_client::{Client, Informer, PatchKind, Scope};

use crate::manager::Context;
use crate::pods;
use crate::runtime::{Clock, Controller, EventKind, Next, Reconciled, Recorder, Running, WorkQueue, rfc3339};
use hearing::{Hearing, Turn};
use plan::{Action, Evict, Observed};

const NAME: &str = "node-controller";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const WORKERS: usize = 4;

struct Lifecycle {
    client: Client,
    nodes: Informer,
    leases: Informer,
    pods: Informer,
    recorder: Recorder,
    clock: Clock,
    grace: Duration,
    hearing: Mutex<Hearing>,
    /// Our own: what one node says can be news about all.
    queue: Arc<WorkQueue>,
}

pub(crate) fn start(context: &Context) -> Running {
    let nodes = context.informers.informer(&NODES);
    let pods = context.informers.informer(&PODS);
    pods.store().add_index(NODE_NAME, node_name);
    let scope = Scope { namespace: Some(LEASE_NAMESPACE.to_owned()), ..Scope::default() };
    let leases = context.informers.scoped(&LEASES, scope);
    let queue = WorkQueue::new();
    let subscriptions = [&nodes, &leases].map(|informer| {
        let queue = queue.clone();
        informer.on_change(move |change| queue.add(change.object().name()))
    });
    let controller = Lifecycle {
        client: context.client(NAME),
        nodes,
        leases,
        pods,
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        grace: context.options.node.monitor_grace,
        hearing: Mutex::default(),
        queue: queue.clone(),
    };
    Running { controller: Arc::new(controller), queue, workers: WORKERS, subscriptions: subscriptions.into() }
}

#[async_trait]
impl Controller for Lifecycle {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(node) = self.nodes.store().get(key) else {
            if self.hearing.lock().forget(key) {
                self.look_at_all();
            }
            return Ok(Next::Done);
        };
        if self.judge(&node) == Turn::Changed {
            self.look_at_all();
        }
        // Asked for again: a judgement may have started everyone's grace anew.
        let silent_for = self.silence(&node);
        let silent = silent_for >= self.grace;
        let evict = match plan::ready_status(&node) {
            _ if self.hearing.lock().nobody() => Evict::Never,
            // It is silent no more but has not reported yet, or we have only begun to listen.
            "Unknown" if !silent => Evict::AsBefore,
            _ => Evict::Now,
        };
        let observed = Observed { node: &node, silent, evict };
        let mut current = node.clone();
        for action in plan::plan(&observed, self.clock.now()) {
            match action {
                Action::Conditions(conditions) => {
                    let mut changed = (*current).clone();
                    changed.make(&["status"]).set("conditions", conditions);
                    current = Arc::new(self.client.update_status(&NODES, &changed).await?);
                    self.event(&current, "NodeNotReady", format!("Node {key} status is now: NodeNotReady"));
                }
                Action::Taints(taints) => {
                    let mut changed = (*current).clone();
                    if taints.is_empty() {
                        changed.make(&["spec"]).remove("taints");
                    } else {
                        changed.make(&["spec"]).set("taints", taints);
                    }
                    current = Arc::new(self.client.update(&NODES, &changed).await?);
                }
                Action::PodsNotReady => self.pods_not_ready(key).await?,
            }
        }
        Ok(if silent {
            Next::Done
        } else {
            Next::After((self.grace - silent_for).max(Duration::from_millis(10)))
        })
    }
}

impl Lifecycle {
    fn silence(&self, node: &Object) -> Duration {
        let lease = self.leases.store().get(&format!("{LEASE_NAMESPACE}/{}", node.name()));
        let renewed = lease.as_ref().map_or("", |l| l.spec()["renewTime"].str_or_empty());
        let says = format!("{renewed} {}", plan::own_heartbeat(node));
        self.hearing.lock().silence(node.name(), &says, Instant::now())
    }

    fn is_well(&self, node: &Object) -> bool {
        plan::ready_status(node) == "True" && self.silence(node) < self.grace
    }

    /// Whether anybody is well, with this node looked at. A node that comes back is looked at
    /// itself: as long as nobody is well, the others need not be asked.
    fn judge(&self, node: &Object) -> Turn {
        if self.is_well(node) {
            return self.hearing.lock().well(node.name(), Instant::now());
        }
        let (nobody, witness) = {
            let hearing = self.hearing.lock();
            (hearing.nobody(), hearing.witness().to_owned())
        };
        if nobody {
            return Turn::Same;
        }
        let store = self.nodes.store();
        let found = store
            .get(&witness)
            .filter(|w| self.is_well(w))
            .or_else(|| store.list().into_iter().find(|other| self.is_well(other)));
        let turn = self.hearing.lock().unwell(found.map(|w| w.name().to_owned()));
        if turn == Turn::Changed {
            tracing::warn!(controller = NAME, "no node is ready: no pod is evicted until one is");
        }
        turn
    }

    fn look_at_all(&self) {
        for node in self.nodes.store().list() {
            self.queue.add(node.name());
        }
    }

    /// Nobody speaks for these pods any more: they must not get traffic.
    async fn pods_not_ready(&self, node: &str) -> Result<(), trireme_client::Error> {
        for pod in self.pods.store().by_index(NODE_NAME, node).iter().filter(|p| pods::is_ready(p)) {
            let now = rfc3339(self.clock.now());
            let condition = value!({"type": "Ready", "status": "False", "lastTransitionTime": now});
            let patch = value!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
            let patched = self
                .client
                .patch(&PODS, pod.namespace(), pod.name(), "status", PatchKind::Strategic, &patch)
                .await;
            match patched {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
            self.recorder.event(pod, "v1", "Pod", EventKind::Warning, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }

    fn event(&self, node: &Object, reason: &str, message: String) {
        // Events about nodes carry the name as uid, as kubectl describe looks for them.
        let mut regarding = node.clone();
        regarding.metadata_mut().set("uid", Value::from(node.name()));
        self.recorder.event(&regarding, "v1", "Node", EventKind::Normal, reason, message);
    }
}
