//! What a cluster needs from its first start: system namespaces, roles, priority classes, and the
//! `kubernetes` Service. Every server makes sure of it at its start; several may race, since each
//! object is made by compare-and-swap.

mod kubernetes_service;
mod objects;
mod rbac;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::server::Core;
use crate::status::Result;

/// Pause before a hook that failed is tried again.
const RETRY: Duration = Duration::from_millis(300);

/// Runs the hooks in order, each until it succeeds, then keeps this server in the endpoints of
/// the `kubernetes` Service, and the system namespaces in being, for as long as it runs.
pub(crate) async fn run(core: Arc<Core>) {
    hook(&core, "start-system-namespaces-controller", |c| objects::namespaces(c).boxed()).await;
    hook(&core, "rbac/bootstrap-roles", |c| rbac::roles_and_bindings(c).boxed()).await;
    hook(&core, "scheduling/bootstrap-system-priority-classes", |c| objects::priority_classes(c).boxed())
        .await;
    hook(&core, "priority-and-fairness-config-producer", |c| objects::flow_control(c).boxed()).await;
    hook(&core, "apiservice-registration-controller", |c| objects::api_services(c).boxed()).await;
    hook(&core, "bootstrap-controller", |c| kubernetes_service::service(c).boxed()).await;
    tokio::join!(kubernetes_service::keep_endpoints(core.clone()), objects::keep_namespaces(core));
}

async fn hook(core: &Core, name: &'static str, run: for<'a> fn(&'a Core) -> BoxFuture<'a, Result<()>>) {
    loop {
        let done = match run(core).await {
            // Done means seen by requests, which read the cache.
            Ok(()) => core.cache.barrier().await.map(|_| ()),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(hook = name, error = error.message, "post-start hook failed; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    core.health.hook_done(name);
}
