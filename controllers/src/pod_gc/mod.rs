//! Deletes pods that nobody else will: ended ones beyond a number, those of nodes that are gone,
//! and those that were to end before they had a node.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use trireme_api::{Object, value};
use trireme_client::resource::{NODES, PODS};
use trireme_client::{Client, DeleteOptions, Informer, PatchKind};

use crate::manager::Context;
use crate::runtime::{Clock, Controller, Next, Reconciled, Running, WorkQueue, rfc3339};
use plan::Why;

const NAME: &str = "pod-garbage-collector";
const EVERY: Duration = Duration::from_secs(20);
/// A node must be missing for this long: it may be registering again.
const MISSING_FOR: Duration = Duration::from_secs(40);
const KEY: &str = "all";

struct PodGc {
    client: Client,
    pods: Informer,
    nodes: Informer,
    clock: Clock,
    terminated_max: usize,
    missing: Mutex<HashMap<String, Instant>>,
}

pub(crate) fn start(context: &Context) -> Running {
    let queue = WorkQueue::new();
    queue.add(KEY);
    let controller = PodGc {
        client: context.client(NAME),
        pods: context.informers.informer(&PODS),
        nodes: context.informers.informer(&NODES),
        clock: context.clock.clone(),
        terminated_max: context.options.terminated_pods_max,
        missing: Mutex::default(),
    };
    Running { controller: Arc::new(controller), queue, workers: 1, subscriptions: Vec::new() }
}

#[async_trait]
impl Controller for PodGc {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, _: &str) -> Reconciled {
        let pods = self.pods.store().list();
        let gone = self.nodes_gone(&pods).await?;
        let node = |name: &str| self.nodes.store().get(name);
        for (pod, why) in
            plan::plan(&pods, &|name| gone.iter().any(|g| g == name), &node, self.terminated_max)
        {
            if let Err(e) = self.delete(&pod, why).await {
                tracing::debug!(namespace = pod.namespace(), name = pod.name(), error = %e, "pod not collected");
            }
        }
        Ok(Next::After(EVERY))
    }
}

impl PodGc {
    /// Nodes that pods name and that are certainly not there.
    async fn nodes_gone(&self, pods: &[Arc<Object>]) -> Result<Vec<String>, trireme_client::Error> {
        let missing = plan::missing_nodes(pods, &|name| self.nodes.store().get(name).is_some());
        let due: Vec<String> = {
            let mut since = self.missing.lock();
            since.retain(|name, _| missing.contains(name));
            for name in &missing {
                since.entry(name.clone()).or_insert_with(Instant::now);
            }
            since.iter().filter(|(_, at)| at.elapsed() >= MISSING_FOR).map(|(name, _)| name.clone()).collect()
        };
        let mut gone = Vec::new();
        for name in due {
            // The cache may be behind.
            match self.client.get(&NODES, "", &name).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() => gone.push(name),
                Err(e) => return Err(e),
            }
        }
        Ok(gone)
    }

    async fn delete(&self, pod: &Object, why: Why) -> Result<(), trireme_client::Error> {
        if why.disrupts() && !crate::pods::is_terminal(pod) {
            let condition = value!({
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": why.message(),
                "lastTransitionTime": rfc3339(self.clock.now()),
            });
            let patch = value!({"metadata": {"uid": pod.uid()}, "status": {"phase": "Failed", "conditions": [condition]}});
            self.client
                .patch(&PODS, pod.namespace(), pod.name(), "status", PatchKind::Strategic, &patch)
                .await?;
        }
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(pod.uid()) };
        self.client.delete(&PODS, pod.namespace(), pod.name(), &options).await.map(drop)
    }
}
