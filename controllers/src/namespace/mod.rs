//! Empties a namespace that is being deleted, then lets it go.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use http::Method;
use trireme_api::Object;
use trireme_client::resource::{NAMESPACES, PODS};
use trireme_client::{ApiResource, Client, DeleteOptions, Discovery, Informer, ListParams, Propagation};

use crate::manager::Context;
use crate::runtime::{Clock, Controller, Failure, Next, Reconciled, Running, WorkQueue};
use plan::{Action, Content};

const NAME: &str = "namespace-controller";
const WORKERS: usize = 10;
/// Resources of one namespace emptied at once.
const RESOURCES_AT_ONCE: usize = 8;

struct Namespaces {
    client: Client,
    namespaces: Informer,
    clock: Clock,
}

pub(crate) fn start(context: &Context) -> Running {
    let namespaces = context.informers.informer(&NAMESPACES);
    let queue = WorkQueue::new();
    let pods = context.informers.informer(&PODS);
    // The last pod was what the rest waited for: no need to wait for the next look.
    let last_pod = pods.on_change({
        let (queue, namespaces, pods) = (queue.clone(), namespaces.clone(), pods.clone());
        move |change| {
            let namespace = change.object().namespace();
            let ending = || namespaces.store().get(namespace).is_some_and(|ns| plan::is_ending(&ns));
            if change.deleted() && ending() && pods.store().in_namespace(namespace).is_empty() {
                queue.add(namespace);
            }
        }
    });
    let subscription = namespaces.on_change({
        let queue = queue.clone();
        move |change| {
            if change.object().deletion_timestamp().is_some() && !change.deleted() {
                queue.add(change.object().name());
            }
        }
    });
    let controller = Namespaces { client: context.client(NAME), namespaces, clock: context.clock.clone() };
    Running {
        controller: Arc::new(controller),
        queue,
        workers: WORKERS,
        subscriptions: vec![subscription, last_pod],
    }
}

#[async_trait]
impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(mut namespace) = self.namespaces.store().get(key).filter(|ns| plan::is_ending(ns)) else {
            return Ok(Next::Done);
        };
        let content = self.empty(key).await?;
        let mut next = Next::Done;
        for action in plan::plan(&namespace, &content, self.clock.now()) {
            match action {
                Action::Status(status) => {
                    let mut body = (*namespace).clone();
                    body.make(&[]).set("status", status);
                    namespace = Arc::new(self.client.update_status(&NAMESPACES, &body).await?);
                }
                Action::Finalize(mut body) => {
                    // The status was written just before: its revision is the newer one.
                    body.make(&["metadata"]).set("resourceVersion", namespace.resource_version());
                    body.make(&[]).set("status", namespace.status().clone());
                    let path = NAMESPACES.object("", key) + "/finalize";
                    match self.client.raw(Method::PUT, &path, Some(&body)).await {
                        Err(e) if !e.is_not_found() => return Err(e.into()),
                        _ => {}
                    }
                }
                Action::AfterMs(ms) => next = Next::After(Duration::from_millis(ms)),
            }
        }
        Ok(next)
    }
}

impl Namespaces {
    /// Asks everything in the namespace to go: the pods first, the rest when they are gone, so
    /// that no pod runs on without the policies that bound it.
    async fn empty(&self, namespace: &str) -> Result<Content, Failure> {
        let discovery = Discovery::load(&self.client).await?;
        let mut content = Content {
            discovery_errors: discovery.failed.iter().map(|(gv, e)| format!("{gv}: {e}")).collect(),
            ..Content::default()
        };
        let (first, rest): (Vec<ApiResource>, Vec<ApiResource>) = discovery
            .resources
            .into_iter()
            .filter(|r| {
                r.resource.namespaced && r.can("list") && (r.can("delete") || r.can("deletecollection"))
            })
            .partition(|r| r.resource == PODS);
        for stage in [first, rest] {
            let mut emptied = futures::stream::iter(stage)
                .map(|r| async move { (self.empty_one(namespace, &r).await, r) })
                .buffer_unordered(RESOURCES_AT_ONCE);
            while let Some((left, r)) = emptied.next().await {
                match left {
                    Ok(left) => note(&mut content, &r, &left),
                    Err(e) => content.errors.push(format!("{}: {e}", r.resource)),
                }
            }
            if !content.remaining.is_empty() {
                break;
            }
        }
        Ok(content)
    }

    /// What is left of one resource after it was asked to go.
    async fn empty_one(
        &self,
        namespace: &str,
        r: &ApiResource,
    ) -> Result<Vec<Arc<Object>>, trireme_client::Error> {
        let everything = ListParams::default();
        let list = |r: ApiResource| {
            let everything = everything.clone();
            async move { self.client.list_all(&r.resource, Some(namespace), &everything).await.map(|l| l.items) }
        };
        let there = match list(r.clone()).await {
            Err(e) if matches!(e.status(), 404 | 405) => return Ok(Vec::new()),
            other => other?,
        };
        if there.iter().all(|o| o.deletion_timestamp().is_some()) {
            return Ok(there);
        }
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let mut one_by_one = !r.can("deletecollection");
        if !one_by_one {
            match self.client.delete_collection(&r.resource, Some(namespace), &everything, &options).await {
                Err(e) if e.status() == 405 => one_by_one = true,
                Err(e) => return Err(e),
                Ok(_) => {}
            }
        }
        if one_by_one {
            for object in there.iter().filter(|o| o.deletion_timestamp().is_none()) {
                match self.client.delete(&r.resource, namespace, object.name(), &options).await {
                    Err(e) if !e.is_not_found() => return Err(e),
                    _ => {}
                }
            }
        }
        list(r.clone()).await
    }
}

fn note(content: &mut Content, r: &ApiResource, left: &[Arc<Object>]) {
    if left.is_empty() {
        return;
    }
    content.remaining.insert(r.resource.to_string(), left.len());
    for object in left {
        for finalizer in object.metadata()["finalizers"].items() {
            *content.finalizers.entry(finalizer.str_or_empty().to_owned()).or_default() += 1;
        }
        let grace = object.metadata()["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        content.grace_seconds = content.grace_seconds.max(grace);
    }
}
