//! Deployments: one ReplicaSet per template, and the way from one to the next.

mod plan;
#[cfg(test)]
mod plan_test;
mod rolling;
mod sets;
mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value};
use trireme_client::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use trireme_client::{Change, Client, DeleteOptions, Informer};

use crate::manager::Context;
use crate::pods;
use crate::runtime::{
    CONTROLLER_INDEX, Clock, Controller, EventKind, Failure, Next, Reconciled, Recorder, Running, WorkQueue,
    claim, controller_index, orphans_of, owned_by,
};
use plan::{Action, Observed};

const NAME: &str = "deployment-controller";
const WORKERS: usize = 8;

struct Deployments {
    client: Client,
    deployments: Informer,
    sets: Informer,
    pods: Informer,
    recorder: Recorder,
    clock: Clock,
}

pub(crate) fn start(context: &Context) -> Running {
    let deployments = context.informers.informer(&DEPLOYMENTS);
    let sets = context.informers.informer(&REPLICA_SETS);
    let pods = context.informers.informer(&PODS);
    sets.store().add_index(CONTROLLER_INDEX, controller_index);
    pods.store().add_index(CONTROLLER_INDEX, controller_index);
    let queue = WorkQueue::new();
    let subscriptions = vec![
        deployments.on_change({
            let queue = queue.clone();
            move |change| queue.add(&pods::key(change.object()))
        }),
        sets.on_change({
            let (queue, deployments) = (queue.clone(), deployments.clone());
            move |change| set_changed(change, &deployments, &queue)
        }),
        pods.on_change({
            let (queue, deployments, sets) = (queue.clone(), deployments.clone(), sets.clone());
            move |change| pod_changed(change, &deployments, &sets, &queue)
        }),
    ];
    let controller = Deployments {
        client: context.client(NAME),
        deployments,
        sets,
        pods,
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
    };
    Running { controller: Arc::new(controller), queue, workers: WORKERS, subscriptions }
}

fn owner_of(set: &Object, deployments: &Informer) -> Option<Arc<Object>> {
    let reference = set.controller_ref().filter(|r| r["kind"] == "Deployment")?;
    let key = format!("{}/{}", set.namespace(), reference["name"].str_or_empty());
    deployments.store().get(&key).filter(|d| reference["uid"] == *d.uid())
}

fn set_changed(change: &Change, deployments: &Informer, queue: &WorkQueue) {
    for set in change.old.iter().chain(&change.new) {
        if let Some(owner) = owner_of(set, deployments) {
            queue.add(&pods::key(&owner));
        }
    }
    let set = change.object();
    if set.controller_ref().is_none() && !change.deleted() {
        for d in deployments.store().in_namespace(set.namespace()) {
            let selector = LabelSelector::from_object(&d.spec()["selector"]);
            if selector.is_ok_and(|s| s.matches_labels(&set.metadata()["labels"])) {
                queue.add(&pods::key(&d));
            }
        }
    }
}

/// Only Recreate looks at pods: the last old one that goes lets the new set start.
fn pod_changed(change: &Change, deployments: &Informer, sets: &Informer, queue: &WorkQueue) {
    if !change.deleted() && !pods::is_terminal(change.object()) {
        return;
    }
    let pod = change.object();
    let Some(reference) = pod.controller_ref().filter(|r| r["kind"] == "ReplicaSet") else { return };
    let key = format!("{}/{}", pod.namespace(), reference["name"].str_or_empty());
    let owner = sets.store().get(&key).and_then(|set| owner_of(&set, deployments));
    if let Some(d) = owner.filter(|d| d.spec()["strategy"]["type"] == "Recreate") {
        queue.add(&pods::key(&d));
    }
}

#[async_trait]
impl Controller for Deployments {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(deployment) = self.deployments.store().get(key) else { return Ok(Next::Done) };
        // An empty selector would claim every set of the namespace.
        let selector =
            LabelSelector::from_object(&deployment.spec()["selector"]).ok().filter(|s| !s.is_everything());
        let Some(selector) = selector else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.event(&deployment, true, "SelectingAll", message.to_owned());
            return Ok(Next::Done);
        };
        let controlled = owned_by(self.sets.store(), deployment.uid());
        let orphans = orphans_of(self.sets.store(), deployment.namespace());
        let mut claim = claim(&deployment, &selector, &controlled, &orphans);
        claim
            .execute(&self.client, &deployment, (&DEPLOYMENTS, "apps/v1", "Deployment"), &REPLICA_SETS)
            .await?;
        let set_pods: Vec<_> =
            claim.owned.iter().flat_map(|s| owned_by(self.pods.store(), s.uid())).collect();
        let observed = Observed { deployment: &deployment, sets: &claim.owned, pods: &set_pods };
        let actions = plan::plan(&observed, self.clock.now());

        let mut next = Next::Done;
        let mut current = deployment.clone();
        for action in actions {
            match action {
                Action::AfterSeconds(seconds) => {
                    next = next.sooner(Next::After(Duration::from_secs(seconds)))
                }
                other => {
                    if let Some(changed) = self.execute(&current, other).await? {
                        current = Arc::new(changed);
                    }
                }
            }
        }
        Ok(next)
    }
}

impl Deployments {
    /// Gives the Deployment where the action changed it.
    async fn execute(&self, d: &Object, action: Action) -> Result<Option<Object>, Failure> {
        match action {
            Action::CreateSet(set) => return self.create_set(d, &set).await,
            Action::UpdateSet(set) => {
                self.client.update(&REPLICA_SETS, &set).await?;
            }
            Action::Resize { set, from } => {
                let to = sets::replicas(&set);
                self.client.update(&REPLICA_SETS, &set).await?;
                if to != from {
                    let way = if to > from { "up" } else { "down" };
                    let message = format!("Scaled {way} replica set {} from {from} to {to}", set.name());
                    self.event(d, false, "ScalingReplicaSet", message);
                }
            }
            Action::DeleteSet(set) => {
                let options = DeleteOptions::uid(set.uid());
                match self.client.delete(&REPLICA_SETS, set.namespace(), set.name(), &options).await {
                    Err(e) if !e.is_not_found() => return Err(e.into()),
                    _ => {}
                }
            }
            Action::UpdateDeployment(changed) => {
                return Ok(Some(self.client.update(&DEPLOYMENTS, &changed).await?));
            }
            Action::Revision(revision) => {
                let mut changed = d.clone();
                changed.set_annotation(sets::REVISION, &revision);
                return Ok(Some(self.client.update_status(&DEPLOYMENTS, &changed).await?));
            }
            Action::Status(status) => {
                let mut changed = d.clone();
                changed.make(&[]).set("status", status);
                return Ok(Some(self.client.update_status(&DEPLOYMENTS, &changed).await?));
            }
            Action::Event { warning, reason, message } => self.event(d, warning, reason, message),
            Action::AfterSeconds(_) => {}
        }
        Ok(None)
    }

    async fn create_set(&self, d: &Object, set: &Object) -> Result<Option<Object>, Failure> {
        match self.client.create(&REPLICA_SETS, set.namespace(), set).await {
            Ok(_) => {
                let size = sets::replicas(set);
                if size > 0 {
                    let message = format!("Scaled up replica set {} from 0 to {size}", set.name());
                    self.event(d, false, "ScalingReplicaSet", message);
                }
                Ok(None)
            }
            Err(e) if e.is_already_exists() => {
                let there = self.client.get(&REPLICA_SETS, set.namespace(), set.name()).await?;
                let ours = there.controller_ref().is_some_and(|r| r["uid"] == *d.uid());
                if ours && sets::split(d, &[Arc::new(there)]).0.is_some() {
                    return Err(Failure::NotYet("the cache does not show the new set yet".into()));
                }
                // Two templates with one hash: count the collision, which gives another hash.
                let mut changed = d.clone();
                let collisions = d.status()["collisionCount"].as_i64().unwrap_or(0);
                changed.make(&["status"]).set("collisionCount", Value::Int(collisions + 1));
                self.client.update_status(&DEPLOYMENTS, &changed).await?;
                Err(Failure::NotYet("the name of the new set is taken".into()))
            }
            Err(e) if super::replicas::is_namespace_terminating(&e) => Ok(None),
            Err(e) => {
                let message = format!("Failed to create new replica set {:?}: {e}", set.name());
                let mut status = d.status().clone();
                status::set_condition(
                    &mut status,
                    "Progressing",
                    "False",
                    "ReplicaSetCreateError",
                    &message,
                    self.clock.now(),
                );
                let mut changed = d.clone();
                changed.make(&[]).set("status", status);
                self.client.update_status(&DEPLOYMENTS, &changed).await?;
                self.event(d, true, "ReplicaSetCreateError", message);
                Err(e.into())
            }
        }
    }

    fn event(&self, d: &Object, warning: bool, reason: &str, message: String) {
        let kind = if warning { EventKind::Warning } else { EventKind::Normal };
        self.recorder.event(d, "apps/v1", "Deployment", kind, reason, message);
    }
}
