//! discovery.k8s.io/v1 EndpointSlices: several per Service, at most a hundred endpoints in each.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use trireme_api::Object;
use trireme_client::resource::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use trireme_client::{Client, DeleteOptions, Informer};

use super::{feed, pods_of, selector_of};
use crate::manager::Context;
use crate::pods;
use crate::runtime::{Controller, Expectations, Failure, Next, Reconciled, Running, WorkQueue};
use plan::{Action, MANAGED_BY, MANAGER, SERVICE_NAME};

const NAME: &str = "endpointslice-controller";
const WORKERS: usize = 4;
const INDEX: &str = "endpointslice-service";

struct Slices {
    client: Client,
    services: Informer,
    pods: Informer,
    nodes: Informer,
    slices: Informer,
    expectations: Arc<Expectations>,
}

/// The Service that a slice of ours belongs to; none for others' slices.
fn service_key(slice: &Object) -> Option<String> {
    let name = slice.label(SERVICE_NAME)?;
    (slice.label(MANAGED_BY) == Some(MANAGER)).then(|| format!("{}/{name}", slice.namespace()))
}

pub(crate) fn start(context: &Context) -> Running {
    let services = context.informers.informer(&SERVICES);
    let pods = context.informers.informer(&PODS);
    let nodes = context.informers.informer(&NODES);
    let slices = context.informers.informer(&ENDPOINT_SLICES);
    slices.store().add_index(INDEX, |slice| service_key(slice).into_iter().collect());
    let queue = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    let mut subscriptions = feed(&queue, &services, &pods);
    subscriptions.push(slices.on_change({
        let (queue, expectations) = (queue.clone(), expectations.clone());
        move |change| {
            for slice in change.old.iter().chain(&change.new) {
                let Some(key) = service_key(slice) else { continue };
                if change.old.is_none() {
                    expectations.creation_observed(&key);
                }
                if change.deleted() {
                    expectations.deletion_observed(&key, &pods::key(slice));
                }
                queue.add(&key);
            }
        }
    }));
    let controller = Slices { client: context.client(NAME), services, pods, nodes, slices, expectations };
    Running { controller: Arc::new(controller), queue, workers: WORKERS, subscriptions }
}

#[async_trait]
impl Controller for Slices {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        // Slices of a Service that is gone are the garbage collector's: it owns them.
        let Some(service) = self.services.store().get(key).filter(|s| s.deletion_timestamp().is_none())
        else {
            self.expectations.forget(key);
            return Ok(Next::Done);
        };
        if selector_of(&service).is_none()
            || service.spec()["type"] == "ExternalName"
            || !self.expectations.satisfied(key)
        {
            return Ok(Next::Done);
        }
        let known = self.slices.store().by_index(INDEX, key);
        let zone = |node: &str| {
            let node = self.nodes.store().get(node)?;
            node.label("topology.kubernetes.io/zone").map(str::to_owned)
        };
        let actions = plan::plan(&service, &pods_of(&service, &self.pods), &known, &zone);
        let creations = actions.iter().filter(|a| matches!(a, Action::Create(_))).count();
        if creations > 0 {
            self.expectations.expect_creations(key, creations);
        }
        let mut failure: Option<Failure> = None;
        for action in actions {
            let done = match &action {
                Action::Create(slice) => {
                    let created = self.client.create(&ENDPOINT_SLICES, service.namespace(), slice).await;
                    if created.is_err() {
                        self.expectations.creation_observed(key);
                    }
                    created
                }
                Action::Update(slice) => self.client.update(&ENDPOINT_SLICES, slice).await,
                Action::Delete(slice) => {
                    let options = DeleteOptions::uid(slice.uid());
                    match self
                        .client
                        .delete(&ENDPOINT_SLICES, slice.namespace(), slice.name(), &options)
                        .await
                    {
                        Err(e) if e.is_not_found() => continue,
                        other => other,
                    }
                }
            };
            if let Err(e) = done {
                failure.get_or_insert(e.into());
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(Next::Done),
        }
    }
}
