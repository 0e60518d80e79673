//! ReplicaSets and ReplicationControllers: as many pods as are asked for. One engine; the two
//! differ in names and in the form of their selector.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value, value};
use trireme_client::resource::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource};
use trireme_client::{Change, Client, DeleteOptions, Error, Informer};

use crate::manager::Context;
use crate::pods;
use crate::runtime::{
    CONTROLLER_INDEX, Clock, Controller, EventKind, Expectations, Failure, Next, Reconciled, Recorder,
    Running, WorkQueue, claim, controller_index, orphans_of, owned_by, owner_reference, slow_start,
};
use plan::{Action, Observed};

/// Pods created or deleted in one reconcile; the rest waits for the next.
const BURST_REPLICAS: usize = 500;
/// The same pod is asked for this often when it is not known whether it was made.
const CREATE_ATTEMPTS_MAX: u32 = 4;
const CREATE_RETRY_PAUSE: Duration = Duration::from_millis(200);
const WORKERS: usize = 8;

/// One of the two kinds.
#[derive(Clone, Copy)]
pub(crate) struct Flavour {
    controller: &'static str,
    resource: &'static Resource,
    api_version: &'static str,
    kind: &'static str,
    selector: fn(&Object) -> Option<LabelSelector>,
}

pub(crate) const REPLICA_SET: Flavour = Flavour {
    controller: "replicaset-controller",
    resource: &REPLICA_SETS,
    api_version: "apps/v1",
    kind: "ReplicaSet",
    selector: |rs| LabelSelector::from_object(&rs.spec()["selector"]).ok(),
};

pub(crate) const REPLICATION_CONTROLLER: Flavour = Flavour {
    controller: "replication-controller",
    resource: &REPLICATION_CONTROLLERS,
    api_version: "v1",
    kind: "ReplicationController",
    selector: |rc| {
        let pairs = rc.spec()["selector"].members();
        Some(LabelSelector::from_pairs(pairs.iter().map(|(k, v)| (&**k, v.str_or_empty()))))
    },
};

struct Replicas {
    flavour: Flavour,
    client: Client,
    owners: Informer,
    pods: Informer,
    expectations: Arc<Expectations>,
    recorder: Recorder,
    clock: Clock,
}

pub(crate) fn start(context: &Context, flavour: Flavour) -> Running {
    let owners = context.informers.informer(flavour.resource);
    let pods = context.informers.informer(&PODS);
    pods.store().add_index(CONTROLLER_INDEX, controller_index);
    owners.store().add_index(CONTROLLER_INDEX, controller_index);
    let queue = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    let subscriptions = vec![
        owners.on_change({
            let (queue, expectations) = (queue.clone(), expectations.clone());
            move |change| {
                let key = pods::key(change.object());
                if change.deleted() {
                    expectations.forget(&key);
                }
                queue.add(&key);
            }
        }),
        pods.on_change({
            let (queue, expectations, owners) = (queue.clone(), expectations.clone(), owners.clone());
            move |change| pod_changed(flavour, change, &owners, &queue, &expectations)
        }),
    ];
    let controller = Replicas {
        flavour,
        client: context.client(flavour.controller),
        owners,
        pods,
        expectations,
        recorder: context.recorder(flavour.controller),
        clock: context.clock.clone(),
    };
    Running { controller: Arc::new(controller), queue, workers: WORKERS, subscriptions }
}

/// The key of the object that controls `pod`, if it is of this kind and there.
fn controller_key(flavour: Flavour, pod: &Object, owners: &Informer) -> Option<String> {
    let reference = pod.controller_ref().filter(|r| r["kind"] == flavour.kind)?;
    let key = format!("{}/{}", pod.namespace(), reference["name"].str_or_empty());
    owners.store().get(&key).filter(|o| reference["uid"] == *o.uid())?;
    Some(key)
}

fn pod_changed(
    flavour: Flavour,
    change: &Change,
    owners: &Informer,
    queue: &WorkQueue,
    expectations: &Expectations,
) {
    let pod = change.object();
    let key = controller_key(flavour, pod, owners);
    if let Some(key) = &key {
        if change.deleted() || pod.deletion_timestamp().is_some() {
            expectations.deletion_observed(key, &pods::key(pod));
        }
        if change.old.is_none() {
            expectations.creation_observed(key);
        }
        queue.add(key);
    }
    // Its former owner has one less.
    if let Some(former) = change.old.as_ref().and_then(|old| controller_key(flavour, old, owners))
        && Some(&former) != key.as_ref()
    {
        queue.add(&former);
    }
    if pod.controller_ref().is_none() && !change.deleted() {
        for owner in owners.store().in_namespace(pod.namespace()) {
            if (flavour.selector)(&owner).is_some_and(|s| s.matches_labels(&pod.metadata()["labels"])) {
                queue.add(&pods::key(&owner));
            }
        }
    }
}

#[async_trait]
impl Controller for Replicas {
    fn name(&self) -> &'static str {
        self.flavour.controller
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(owner) = self.owners.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        // An empty selector would claim the whole namespace.
        let Some(selector) = (self.flavour.selector)(&owner).filter(|s| !s.is_everything()) else {
            return Ok(Next::Done);
        };
        // Asked before the cache is read: what is struck out in between is in the cache then.
        let settled = self.expectations.satisfied(key);
        let Flavour { resource, api_version, kind, .. } = self.flavour;
        let controlled = owned_by(self.pods.store(), owner.uid());
        let mut claim =
            claim(&owner, &selector, &controlled, &orphans_of(self.pods.store(), owner.namespace()));
        claim.execute(&self.client, &owner, (resource, api_version, kind), &PODS).await?;

        let now = self.clock.now();
        let related = self.related(&owner);
        let observed =
            Observed { owner: &owner, pods: &claim.owned, related: &related, settled, burst: BURST_REPLICAS };
        let mut failure = None;
        for action in plan::manage(&observed, now) {
            failure = match action {
                Action::Create(count) => self.create(key, &owner, count).await,
                Action::Delete(pods) => self.delete(key, &owner, &pods).await,
            }
            .or(failure);
        }
        let (status, next) =
            plan::status(&observed, failure.as_ref().map(|(reason, e)| (*reason, e.to_string())), now);
        if let Some(status) = status {
            let mut changed = (*owner).clone();
            changed.make(&[]).set("status", status);
            self.client.update_status(resource, &changed).await?;
        }
        match failure {
            Some((_, e)) => Err(Failure::Api(e)),
            None => Ok(next.map_or(Next::Done, |seconds| Next::After(Duration::from_secs(seconds)))),
        }
    }
}

impl Replicas {
    /// Pods of all sets that have the same owner as this one (a Deployment's): where many of
    /// them share a node, that is where to take one away.
    fn related(&self, owner: &Object) -> Vec<Arc<Object>> {
        let siblings = match owner.controller_ref() {
            Some(parent) => owned_by(self.owners.store(), parent["uid"].str_or_empty()),
            None => Vec::new(),
        };
        let uids =
            if siblings.is_empty() { vec![owner.uid()] } else { siblings.iter().map(|s| s.uid()).collect() };
        uids.into_iter().flat_map(|uid| owned_by(self.pods.store(), uid)).collect()
    }

    async fn create(&self, key: &str, owner: &Object, count: usize) -> Option<(&'static str, Error)> {
        self.expectations.expect_creations(key, count);
        let (good, failed) = slow_start(count, |_| self.create_one(owner)).await;
        // Neither the failed ones nor those not tried will be seen.
        for _ in good..count {
            self.expectations.creation_observed(key);
        }
        let e = failed?;
        // A namespace that is going takes no more pods; saying so about each set helps nobody.
        if is_namespace_terminating(&e) {
            return None;
        }
        self.event(owner, EventKind::Warning, "FailedCreate", format!("Error creating: {e}"));
        Some(("FailedCreate", e))
    }

    /// The name is chosen here, so that asking again cannot make a second pod.
    async fn create_one(&self, owner: &Object) -> Result<(), Error> {
        let reference = owner_reference(owner, self.flavour.api_version, self.flavour.kind);
        let mut pod =
            pods::from_template(&owner.spec()["template"], owner, reference.clone(), &pods::random_suffix());
        let mut in_doubt = false;
        for attempt in 1.. {
            let created = self.client.create(&PODS, owner.namespace(), &pod).await;
            match created {
                Err(e) if e.is_already_exists() && in_doubt => break,
                Err(e) if e.is_already_exists() && attempt < CREATE_ATTEMPTS_MAX => {
                    pod = pods::from_template(
                        &owner.spec()["template"],
                        owner,
                        reference.clone(),
                        &pods::random_suffix(),
                    );
                }
                Err(Error::OutcomeUnknown(_)) if attempt < CREATE_ATTEMPTS_MAX => {
                    in_doubt = true;
                    tokio::time::sleep(CREATE_RETRY_PAUSE).await;
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        self.event(owner, EventKind::Normal, "SuccessfulCreate", format!("Created pod: {}", pod.name()));
        Ok(())
    }

    async fn delete(&self, key: &str, owner: &Object, pods: &[Arc<Object>]) -> Option<(&'static str, Error)> {
        self.expectations.expect_deletions(key, pods.iter().map(|p| pods::key(p)));
        let results = futures::future::join_all(pods.iter().map(|pod| async move {
            let options = DeleteOptions::uid(pod.uid());
            match self.client.delete(&PODS, pod.namespace(), pod.name(), &options).await {
                Ok(_) => {
                    let message = format!("Deleted pod: {}", pod.name());
                    self.event(owner, EventKind::Normal, "SuccessfulDelete", message);
                    None
                }
                Err(e) => {
                    self.expectations.deletion_observed(key, &pods::key(pod));
                    if e.is_not_found() || e.is_conflict() {
                        return None;
                    }
                    self.event(owner, EventKind::Warning, "FailedDelete", format!("Error deleting: {e}"));
                    Some(("FailedDelete", e))
                }
            }
        }))
        .await;
        results.into_iter().flatten().next()
    }

    fn event(&self, owner: &Object, what: EventKind, reason: &str, message: String) {
        self.recorder.event(owner, self.flavour.api_version, self.flavour.kind, what, reason, message);
    }
}

pub(crate) fn is_namespace_terminating(e: &Error) -> bool {
    let Error::Api { details, .. } = e else { return false };
    details["details"]["causes"].items().iter().any(|c| c["reason"] == "NamespaceTerminating")
}

/// A condition as ReplicaSets have it.
fn condition(kind: &str, status: &str, time: &str, reason: &str, message: &str) -> Value {
    value!({"type": kind, "status": status, "lastTransitionTime": time, "reason": reason, "message": message})
}
