//! Notices nodes that have gone silent, and keeps pods off nodes that are not well.

mod plan;

use std::collections::HashMap;
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
use plan::{Action, Observed};

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
    /// What each node was last heard to say, and when, on our own clock.
    heard: Mutex<HashMap<String, (String, Instant)>>,
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
        heard: Mutex::default(),
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
            self.heard.lock().remove(key);
            return Ok(Next::Done);
        };
        let silent_for = self.silence(&node);
        let silent = silent_for >= self.grace;
        // When all have gone silent, it is more likely that we cannot hear.
        let others_alive =
            || self.nodes.store().list().iter().any(|n| plan::ready_status(n) == "True" && n.name() != key);
        let well = !silent && plan::ready_status(&node) == "True";
        let evict = well || self.nodes.store().len() == 1 || others_alive();
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
    /// How long the node has said nothing new. Times that it writes are only compared, never
    /// taken for ours.
    fn silence(&self, node: &Object) -> Duration {
        let lease = self.leases.store().get(&format!("{LEASE_NAMESPACE}/{}", node.name()));
        let renewed = lease.as_ref().map_or("", |l| l.spec()["renewTime"].str_or_empty());
        let reported = plan::own_heartbeat(node);
        let says = format!("{renewed} {reported}");
        let mut heard = self.heard.lock();
        match heard.get(node.name()) {
            Some((said, at)) if *said == says => at.elapsed(),
            _ => {
                heard.insert(node.name().to_owned(), (says, Instant::now()));
                Duration::ZERO
            }
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
