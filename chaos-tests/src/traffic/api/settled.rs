//! Whether what the operator wants is there, and nothing else: looked at through one API server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use trireme_client::resource::{CONFIG_MAPS, DEPLOYMENTS, NODES, PODS, REPLICA_SETS};
use trireme_client::{Client, Error, ListParams};

use super::NAMESPACE;
use super::workloads::{Workload, config_name};
use crate::traffic::{ANSWER_TIMEOUT, PAUSE};

const SELECTOR: &str = "chaos=workload";
/// What the operator wants must be there within this after all has healed: a node that was silent is
/// waited for, and its pods with it.
pub const SETTLE: Duration = Duration::from_secs(120);

/// Looks until all is as the operator wants it, or [`SETTLE`] is over; `wrong` is what is not, as last
/// seen.
pub async fn settle(api: &Client, wanted: &BTreeMap<String, Workload>, wrong: &Mutex<Vec<String>>) {
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        *wrong.lock() = match timeout(ANSWER_TIMEOUT, unsettled(api, wanted)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => vec![error.to_string()],
            Err(_) => vec!["no answer".into()],
        };
        if wrong.lock().is_empty() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// What is not as it should be; nothing where all is.
async fn unsettled(api: &Client, wanted: &BTreeMap<String, Workload>) -> Result<Vec<String>, Error> {
    let mut wrong = Vec::new();
    let params = ListParams::labels(SELECTOR);
    let deployments = api.list_all(&DEPLOYMENTS, Some(NAMESPACE), &params).await?.items;
    let found: BTreeMap<&str, _> = deployments.iter().map(|object| (object.name(), object)).collect();
    for name in found.keys().filter(|name| !wanted.contains_key(**name)) {
        wrong.push(format!("Deployment {name} was deleted and is there"));
    }
    let sets = api.list_all(&REPLICA_SETS, Some(NAMESPACE), &params).await?.items;
    let owner = |object: &trireme_api::Object| {
        object.metadata()["ownerReferences"][0]["uid"].str_or_empty().to_owned()
    };
    for set in &sets {
        if !deployments.iter().any(|deployment| deployment.uid() == owner(set)) {
            wrong.push(format!("ReplicaSet {} has no owner and is there", set.name()));
        }
    }
    let nodes = api.list_all(&NODES, None, &ListParams::default()).await?.items;
    let alive: BTreeSet<&str> = nodes.iter().filter(|node| is_ready(node)).map(|node| node.name()).collect();
    let pods = api.list_all(&PODS, Some(NAMESPACE), &params).await?.items;
    for pod in &pods {
        let node = pod.spec()["nodeName"].str_or_empty();
        if pod.deletion_timestamp().is_some() {
            wrong.push(format!("Pod {} was deleted and is there, on {node:?}", pod.name()));
        }
        if !alive.contains(node) {
            wrong.push(format!("Pod {} runs on {node:?}, which does not live", pod.name()));
        }
        if !sets.iter().any(|set| set.uid() == owner(pod)) {
            wrong.push(format!("Pod {} has no owner and is there", pod.name()));
        }
    }
    let configs = api.list_all(&CONFIG_MAPS, Some(NAMESPACE), &params).await?.items;
    for config in &configs {
        if !deployments.iter().any(|deployment| deployment.uid() == owner(config)) {
            wrong.push(format!("ConfigMap {} has no owner and is there", config.name()));
        }
    }
    for (name, Workload { replicas, image }) in wanted {
        let Some(deployment) = found.get(name.as_str()) else {
            wrong.push(format!("Deployment {name} is not there"));
            continue;
        };
        let config = config_name(name);
        if !configs.iter().any(|found| found.name() == config) {
            wrong.push(format!("ConfigMap {config} was collected, and Deployment {name}, its owner, lives"));
        }
        let status = |field: &str| deployment["status"][field].as_i64().unwrap_or(0);
        if status("observedGeneration") != deployment.generation() {
            wrong.push(format!("Deployment {name}: its last change was not taken up"));
        }
        let own = || pods.iter().filter(|pod| pod.label("app") == Some(name));
        for pod in own().filter(|pod| pod.spec()["containers"][0]["image"].as_str() != Some(image)) {
            wrong.push(format!("Pod {} is there, which is not of {image}", pod.name()));
        }
        let ready = own().filter(|pod| is_ready(pod)).count() as u64;
        if ready != *replicas || status("availableReplicas") as u64 != *replicas {
            wrong.push(format!(
                "Deployment {name}: {replicas} wanted, {} available by its status, {ready} ready",
                status("availableReplicas")
            ));
        }
    }
    Ok(wrong)
}

/// A pod or a node.
fn is_ready(object: &trireme_api::Object) -> bool {
    let conditions = object["status"]["conditions"].items();
    object.deletion_timestamp().is_none()
        && conditions
            .iter()
            .any(|c| c["type"].as_str() == Some("Ready") && c["status"].as_str() == Some("True"))
}
