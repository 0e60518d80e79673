//! The ConfigMap `kube-root-ca.crt` in every namespace: how pods know the API server.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use trireme_client::resource::{CONFIG_MAPS, NAMESPACES};
use trireme_client::{Client, Informer, Scope};

use crate::manager::Context;
use crate::runtime::{Controller, Next, Reconciled, Running, WorkQueue};
use plan::Action;

const NAME: &str = "root-ca-cert-publisher";

struct RootCa {
    client: Client,
    namespaces: Informer,
    published: Informer,
    pem: String,
}

/// None where no CA is known.
pub(crate) fn start(context: &Context) -> Option<Running> {
    let pem = context.options.root_ca_pem.clone();
    if pem.is_empty() {
        return None;
    }
    let namespaces = context.informers.informer(&NAMESPACES);
    // ConfigMaps can be many and large; only these are of interest.
    let scope = Scope { field_selector: format!("metadata.name={}", plan::CONFIG_MAP), ..Scope::default() };
    let published = context.informers.scoped(&CONFIG_MAPS, scope);
    let queue = WorkQueue::new();
    let subscriptions = vec![
        namespaces.on_change({
            let queue = queue.clone();
            move |change| {
                if !change.deleted() {
                    queue.add(change.object().name());
                }
            }
        }),
        published.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.object().namespace())
        }),
    ];
    let controller = RootCa { client: context.client(NAME), namespaces, published, pem };
    Some(Running { controller: Arc::new(controller), queue, workers: 2, subscriptions })
}

#[async_trait]
impl Controller for RootCa {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(namespace) = self.namespaces.store().get(key) else { return Ok(Next::Done) };
        let known = self.published.store().get(&format!("{key}/{}", plan::CONFIG_MAP));
        match plan::plan(&namespace, known.as_deref(), &self.pem) {
            Action::Nothing => {}
            Action::Create(map) => match self.client.create(&CONFIG_MAPS, key, &map).await {
                Err(e) if !e.is_already_exists() => return Err(e.into()),
                _ => {}
            },
            Action::Update(map) => {
                self.client.update(&CONFIG_MAPS, &map).await?;
            }
        }
        Ok(Next::Done)
    }
}
