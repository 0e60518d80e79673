//! The ServiceAccount `default` in every namespace: pods that name none run under it.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use trireme_client::resource::{NAMESPACES, SERVICE_ACCOUNTS};
use trireme_client::{Client, Informer};

use crate::manager::Context;
use crate::runtime::{Controller, Next, Reconciled, Running, WorkQueue};

const NAME: &str = "service-account-controller";

struct ServiceAccounts {
    client: Client,
    namespaces: Informer,
    accounts: Informer,
}

pub(crate) fn start(context: &Context) -> Running {
    let namespaces = context.informers.informer(&NAMESPACES);
    let accounts = context.informers.informer(&SERVICE_ACCOUNTS);
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
        accounts.on_change({
            let queue = queue.clone();
            move |change| {
                if change.deleted() {
                    queue.add(change.object().namespace());
                }
            }
        }),
    ];
    let controller = ServiceAccounts { client: context.client(NAME), namespaces, accounts };
    Running { controller: Arc::new(controller), queue, workers: 2, subscriptions }
}

#[async_trait]
impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(namespace) = self.namespaces.store().get(key) else { return Ok(Next::Done) };
        let known = self.accounts.store().get(&format!("{key}/{}", plan::ACCOUNT));
        if let Some(account) = plan::plan(&namespace, known.as_deref()) {
            match self.client.create(&SERVICE_ACCOUNTS, key, &account).await {
                Err(e) if !e.is_already_exists() => return Err(e.into()),
                _ => {}
            }
        }
        Ok(Next::Done)
    }
}
