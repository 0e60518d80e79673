//! Deletes pods from nodes with a NoExecute taint that they do not tolerate, or not any longer.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use trireme_api::value;
use trireme_client::informer::indexes::{NODE_NAME, node_name};
use trireme_client::resource::{NODES, PODS};
use trireme_client::{Client, DeleteOptions, Informer, PatchKind};

use crate::manager::Context;
use crate::pods;
use crate::runtime::{Clock, Controller, EventKind, Next, Reconciled, Recorder, Running, WorkQueue, rfc3339};
use plan::Verdict;

const NAME: &str = "taint-eviction-controller";
/// Whose account it uses: upstream's node controller has the rights it needs.
const ACCOUNT: &str = "node-controller";
const WORKERS: usize = 4;

struct Eviction {
    client: Client,
    nodes: Informer,
    pods: Informer,
    recorder: Recorder,
    clock: Clock,
}

pub(crate) fn start(context: &Context) -> Running {
    let nodes = context.informers.informer(&NODES);
    let pods = context.informers.informer(&PODS);
    pods.store().add_index(NODE_NAME, node_name);
    let queue = WorkQueue::new();
    let subscriptions = vec![
        nodes.on_change({
            let (queue, pods) = (queue.clone(), pods.clone());
            move |change| {
                let taints =
                    |o: &Option<Arc<trireme_api::Object>>| o.as_ref().map(|n| n.spec()["taints"].clone());
                if taints(&change.old) != taints(&change.new) {
                    for pod in pods.store().by_index(NODE_NAME, change.object().name()) {
                        queue.add(&pods::key(&pod));
                    }
                }
            }
        }),
        pods.on_change({
            let queue = queue.clone();
            move |change| {
                let assigned = !change.object().spec()["nodeName"].str_or_empty().is_empty();
                if assigned && !change.deleted() {
                    queue.add(&pods::key(change.object()));
                }
            }
        }),
    ];
    let controller = Eviction {
        client: context.client(ACCOUNT),
        nodes,
        pods,
        recorder: context.recorder(ACCOUNT),
        clock: context.clock.clone(),
    };
    Running { controller: Arc::new(controller), queue, workers: WORKERS, subscriptions }
}

#[async_trait]
impl Controller for Eviction {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(pod) = self.pods.store().get(key) else { return Ok(Next::Done) };
        let Some(node) = self.nodes.store().get(pod.spec()["nodeName"].str_or_empty()) else {
            return Ok(Next::Done);
        };
        match plan::plan(&pod, &node, self.clock.now()) {
            Verdict::Stays => Ok(Next::Done),
            Verdict::After(seconds) => Ok(Next::After(Duration::from_secs(seconds))),
            Verdict::Goes => {
                let message = format!("Marking for deletion Pod {key}");
                self.recorder.event(&pod, "v1", "Pod", EventKind::Normal, "TaintManagerEviction", message);
                let condition = value!({
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByTaintManager",
                    "message": "Taint manager: deleting due to NoExecute taint",
                    "lastTransitionTime": rfc3339(self.clock.now()),
                });
                let patch = value!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
                let patched = self
                    .client
                    .patch(&PODS, pod.namespace(), pod.name(), "status", PatchKind::Strategic, &patch)
                    .await;
                match patched {
                    Err(e) if e.is_not_found() => return Ok(Next::Done),
                    other => other?,
                };
                match self
                    .client
                    .delete(&PODS, pod.namespace(), pod.name(), &DeleteOptions::uid(pod.uid()))
                    .await
                {
                    Err(e) if !e.is_not_found() => Err(e.into()),
                    _ => Ok(Next::Done),
                }
            }
        }
    }
}
