//! Pods that a disruption budget keeps, and clients that evict them, several at a time and through
//! different API servers.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, value};
use trireme_client::resource::{POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS};
use trireme_client::{Client, DeleteOptions, Error, ListParams};

use super::super::PAUSE;
use super::objects::{self, EVICTED, EVICTED_SELECTOR, READY};
use super::{NAMESPACE, Session};
use crate::history::{ApiCall, ApiObject, ApiOutcome, Recorder};

const REPLICAS: i64 = 3;
/// What the budget keeps.
pub const AVAILABLE_MIN: usize = 2;
const NAME: &str = "chaos-evicted";
/// Between two evictions of a client: within the life of a pod, so that some are refused.
const BETWEEN_MS: (u64, u64) = (50, 1_500);

fn set() -> Object {
    Object(value!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"chaos": "evicted"}},
            "template": {
                "metadata": {"labels": {"chaos": "evicted"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [
                        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
                        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
                    ],
                    "containers": [{"name": "c", "image": "example.test/c:1"}],
                },
            },
        },
    }))
}

fn budget() -> Object {
    Object(value!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"minAvailable": (AVAILABLE_MIN as i64), "selector": {"matchLabels": {"chaos": "evicted"}}},
    }))
}

/// The budget first: no pod is to be evicted without it.
async fn make(api: &Client) -> Result<(), Error> {
    for (resource, object) in [(&POD_DISRUPTION_BUDGETS, budget()), (&REPLICA_SETS, set())] {
        match api.create(resource, NAMESPACE, &object).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Evicts ready pods until `stop`. Clients of a run have different numbers.
pub async fn evictions(id: u32, seed: u64, api: Client, recorder: Arc<Recorder>, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32) ^ 0xe71c);
    let session = Session { client: id, api, recorder };
    while !stop.is_cancelled() && make(&session.api).await.is_err() {
        sleep(PAUSE).await;
    }
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(random.random_range(BETWEEN_MS.0..BETWEEN_MS.1))).await;
        let Ok(ready) = ready(&session.api).await else { continue };
        let Some(pod) = ready.choose(&mut random) else { continue };
        let call = ApiCall::Evict { id: pod.id(), uid: pod.uid.clone() };
        let name = pod.name.split_once('/').map_or(pod.name.as_str(), |(_, name)| name);
        let work = async {
            session.api.evict(NAMESPACE, name, &DeleteOptions::uid(&pod.uid)).await?;
            Ok(ApiOutcome::Changed(pod.clone()))
        };
        session.call(call, None, work).await;
    }
}

async fn ready(api: &Client) -> Result<Vec<ApiObject>, Error> {
    let list = api.list(&PODS, Some(NAMESPACE), &ListParams::labels(EVICTED_SELECTOR)).await?;
    let pods = list.items.iter().map(|pod| objects::shown(EVICTED, pod));
    Ok(pods.filter(|pod| pod.value == READY).collect())
}
