//! core/v1 Endpoints, one object per Service.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use trireme_client::resource::{ENDPOINTS, PODS, SERVICES};
use trireme_client::{Client, DeleteOptions, Informer};

use super::{feed, pods_of, selector_of};
use crate::manager::Context;
use crate::pods;
use crate::runtime::{Controller, Next, Reconciled, Running, WorkQueue};
use plan::Action;

const NAME: &str = "endpoint-controller";
const WORKERS: usize = 4;

struct Endpoints {
    client: Client,
    services: Informer,
    pods: Informer,
    endpoints: Informer,
}

pub(crate) fn start(context: &Context) -> Running {
    let services = context.informers.informer(&SERVICES);
    let pods = context.informers.informer(&PODS);
    let endpoints = context.informers.informer(&ENDPOINTS);
    let queue = WorkQueue::new();
    let mut subscriptions = feed(&queue, &services, &pods);
    // Also those that a former leader left behind.
    subscriptions.push(endpoints.on_change({
        let queue = queue.clone();
        move |change| queue.add(&pods::key(change.object()))
    }));
    let controller = Endpoints { client: context.client(NAME), services, pods, endpoints };
    Running { controller: Arc::new(controller), queue, workers: WORKERS, subscriptions }
}

#[async_trait]
impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let known = self.endpoints.store().get(key);
        let Some(service) = self.services.store().get(key) else {
            if let Some(left) = known.filter(|e| plan::is_ours(e)) {
                match self
                    .client
                    .delete(&ENDPOINTS, left.namespace(), left.name(), &DeleteOptions::uid(left.uid()))
                    .await
                {
                    Err(e) if !e.is_not_found() => return Err(e.into()),
                    _ => {}
                }
            }
            return Ok(Next::Done);
        };
        if selector_of(&service).is_none() {
            return Ok(Next::Done);
        }
        match plan::plan(&service, &pods_of(&service, &self.pods), known.as_deref()) {
            Action::Nothing => {}
            Action::Create(endpoints) => {
                self.client.create(&ENDPOINTS, service.namespace(), &endpoints).await?;
            }
            Action::Update(endpoints) => {
                self.client.update(&ENDPOINTS, &endpoints).await?;
            }
        }
        Ok(Next::Done)
    }
}
