//! An operator who makes, scales and deletes Deployments, each with a ConfigMap that it owns, and tries
//! again until each is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, value};
use trireme_client::resource::{CONFIG_MAPS, DEPLOYMENTS as RESOURCE};
use trireme_client::{Client, DeleteOptions, Error};

use super::{NAMESPACE, failure};
use crate::history::{ApiOutcome, Command, CommandOutcome, Recorder};
use crate::traffic::{ANSWER_TIMEOUT, PAUSE};

/// Deployments that come and go.
const DEPLOYMENTS: usize = 4;
const REPLICAS_MAX: u64 = 5;
const BETWEEN_MS: (u64, u64) = (200, 6_000);

/// What is wanted of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub replicas: u64,
    pub image: String,
}

/// What the operator wants in the end, by Deployment.
pub type Wanted = Arc<Mutex<BTreeMap<String, Workload>>>;

fn deployment(name: &str, wanted: &Workload) -> Object {
    Object(value!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"chaos": "workload"}},
        "spec": {
            "replicas": (wanted.replicas as i64),
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "chaos": "workload"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    // So that a node that is silent for a while is driven off, and not after minutes.
                    "tolerations": [
                        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
                        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
                    ],
                    "containers": [{"name": "c", "image": (wanted.image.as_str())}],
                },
            },
        },
    }))
}

/// What goes with a Deployment, and nobody makes again.
pub(super) fn config_name(deployment: &str) -> String {
    format!("{deployment}-config")
}

fn config(owner: &Object) -> Object {
    Object(value!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": (config_name(owner.name())),
            "namespace": NAMESPACE,
            "labels": {"chaos": "workload"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": (owner.name()), "uid": (owner.uid())},
            ],
        },
    }))
}

/// Works until `stop`; `wanted` is what there should be by then.
pub async fn operator(
    seed: u64,
    api: Client,
    wanted: Wanted,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let mut operator = Operator { api, recorder, equipped: BTreeMap::new() };
    let mut random = StdRng::seed_from_u64(seed ^ 5);
    let names: Vec<String> = (0..DEPLOYMENTS).map(|n| format!("workload-{n}")).collect();
    let mut version = 0;
    while !stop.is_cancelled() {
        let pause = Duration::from_millis(random.random_range(BETWEEN_MS.0..BETWEEN_MS.1));
        tokio::select! { () = sleep(pause) => {}, () = stop.cancelled() => return }
        let Some(name) = names.choose(&mut random) else { return };
        let replicas = random.random_range(0..=REPLICAS_MAX);
        let is_there = wanted.lock().contains_key(name);
        if is_there && random.random_bool(0.25) {
            wanted.lock().remove(name);
            operator.done(name, None).await;
        } else {
            version += u64::from(random.random_bool(0.3));
            let workload = Workload { replicas, image: format!("example.test/c:{version}") };
            wanted.lock().insert(name.clone(), workload.clone());
            operator.done(name, Some(&workload)).await;
        }
    }
}

struct Operator {
    api: Client,
    recorder: Arc<Recorder>,
    /// UID of each Deployment that was given its ConfigMap: it is not given another.
    equipped: BTreeMap<String, String>,
}

impl Operator {
    /// Makes or deletes it; tries for as long as it takes: the world heals.
    async fn done(&mut self, name: &str, wanted: Option<&Workload>) {
        let line = match wanted {
            Some(Workload { replicas, image }) => format!("apply deployment {name}: {replicas} of {image}"),
            None => format!("delete deployment {name}"),
        };
        loop {
            let begin = self.recorder.moment();
            let outcome = match wanted {
                Some(wanted) => timeout(ANSWER_TIMEOUT, self.put(&deployment(name, wanted))).await,
                None => timeout(ANSWER_TIMEOUT, self.delete(name)).await,
            };
            let outcome = match outcome {
                Ok(Ok(())) => CommandOutcome::Done,
                Ok(Err(error)) => match failure(&error) {
                    ApiOutcome::Refused(why) => CommandOutcome::Refused(why),
                    _ => CommandOutcome::Unknown(error.to_string()),
                },
                Err(_) => CommandOutcome::Unknown("no answer".into()),
            };
            let is_done = matches!(outcome, CommandOutcome::Done);
            let command = Command { begin, end: self.recorder.moment(), line: line.clone(), outcome };
            self.recorder.with(|history| history.commands.push(command)).await;
            if is_done {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        match self.api.delete(&RESOURCE, NAMESPACE, name, &DeleteOptions::default()).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes it what it should be, whatever it is, and, when it is new, what goes with it.
    async fn put(&mut self, object: &Object) -> Result<(), Error> {
        let owner = self.api.apply(&RESOURCE, object, "operator", true).await?;
        if self.equipped.get(owner.name()).is_none_or(|uid| uid != owner.uid()) {
            self.api.apply(&CONFIG_MAPS, &config(&owner), "operator", true).await?;
            self.equipped.insert(owner.name().to_owned(), owner.uid().to_owned());
        }
        Ok(())
    }
}
