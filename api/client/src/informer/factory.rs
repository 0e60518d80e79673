//! One informer per resource and scope, however many ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Informer, Scope, reflector};
use crate::client::Client;
use crate::resource::Resource;

/// Makes informers and starts them; they stop with `stop`.
pub struct InformerFactory {
    client: Client,
    stop: CancellationToken,
    informers: Mutex<HashMap<(Resource, Scope), (Informer, CancellationToken)>>,
}

impl InformerFactory {
    pub fn new(client: Client, stop: CancellationToken) -> InformerFactory {
        InformerFactory { client, stop, informers: Mutex::default() }
    }

    /// The informer of all of `resource`, started when it is first asked for.
    pub fn informer(&self, resource: &Resource) -> Informer {
        self.scoped(resource, Scope::default())
    }

    pub fn scoped(&self, resource: &Resource, scope: Scope) -> Informer {
        match self.informers.lock().entry((resource.clone(), scope)) {
            Entry::Occupied(there) => there.get().0.clone(),
            Entry::Vacant(place) => {
                let (resource, scope) = place.key().clone();
                let informer = Informer::new(self.client.clone(), resource, scope);
                let stop = self.stop.child_token();
                tokio::spawn(reflector::run(informer.0.clone(), stop.clone()));
                place.insert((informer.clone(), stop));
                informer
            }
        }
    }

    /// Stops the informer of a resource that is not served any more.
    pub fn forget(&self, resource: &Resource) {
        if let Some((_, stop)) = self.informers.lock().remove(&(resource.clone(), Scope::default())) {
            stop.cancel();
        }
    }

    fn all(&self) -> Vec<Informer> {
        self.informers.lock().values().map(|(informer, _)| informer.clone()).collect()
    }

    /// Returns when every informer made so far has its first list.
    pub async fn wait_synced(&self) {
        for informer in self.all() {
            informer.wait_synced().await;
        }
    }

    /// [`Informer::refresh`] for all of them.
    pub async fn refresh(&self) {
        let all = self.all();
        futures::future::join_all(all.iter().map(Informer::refresh)).await;
    }
}
