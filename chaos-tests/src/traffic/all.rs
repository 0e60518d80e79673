//! Everybody who works in a world, started and ended together.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_client::Client;
use trireme_store::{Kv, Revision};

use super::store::Mix;
use super::{api, store};
use crate::history::Recorder;

/// Clients of the API count on from here, so that no two clients have a number.
const FIRST_API_CLIENT: u32 = 100;
const FIRST_EVICTOR: u32 = 200;
/// Of watchers of the API, likewise.
const FIRST_API_WATCHER: u32 = 1_000;

/// How those who work reach the cluster: one for each of them.
#[derive(Default)]
pub struct Ports {
    /// Of clients of the store.
    pub store: Vec<Arc<dyn Kv>>,
    /// Of clients that lead in turn.
    pub leaders: Vec<Arc<dyn Kv>>,
    /// Of watchers of the store.
    pub watchers: Vec<Arc<dyn Kv>>,
    /// Of who asks one member alone, with its name.
    pub residents: Vec<(String, Arc<dyn Kv>)>,
    /// Of who notes what others compact, where there are others.
    pub compactors: Option<Arc<dyn Kv>>,
    /// Of clients of the API.
    pub api: Vec<Client>,
    pub evictors: Vec<Client>,
    pub api_watchers: Vec<Client>,
    /// Of who makes, scales and deletes Deployments, where there are nodes to run them.
    pub operator: Option<Client>,
}

/// Tells those who work to end.
#[derive(Clone, Default)]
pub struct Stop {
    pub clients: CancellationToken,
    /// Only for watchers that do not come to the end: the others end there by themselves.
    pub watchers: CancellationToken,
}

pub struct Traffic {
    /// A world may have others among them, who end at the same word.
    pub clients: JoinSet<()>,
    watchers: JoinSet<()>,
    /// What others compact is noted for as long as somebody watches.
    compactors: JoinSet<()>,
    stop_compactors: CancellationToken,
    wanted: api::Wanted,
    recorder: Arc<Recorder>,
}

impl Traffic {
    /// Begins; watchers of the store are to be told everything after `from`.
    pub fn start(
        seed: u64,
        mix: &Mix,
        from: Revision,
        ports: Ports,
        recorder: &Arc<Recorder>,
        stop: &Stop,
    ) -> Traffic {
        let (mut clients, mut watchers, mut compactors) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let stop_compactors = CancellationToken::new();
        let recorder = || recorder.clone();
        if let Some(kv) = ports.compactors {
            compactors.spawn(store::compactors(kv, recorder(), stop_compactors.clone()));
        }
        for (n, kv) in (0..).zip(ports.watchers) {
            watchers.spawn(store::watchers(n, seed, from, kv, recorder(), stop.watchers.clone()));
        }
        for (n, api) in (FIRST_API_WATCHER..).zip(ports.api_watchers) {
            watchers.spawn(api::watchers(n, api, recorder(), stop.watchers.clone()));
        }
        for (n, kv) in (0..).zip(ports.store) {
            clients.spawn(store::client(n, seed, mix.clone(), kv, recorder(), stop.clients.clone()));
        }
        for (n, kv) in (0..).zip(ports.leaders) {
            clients.spawn(store::leader(n, seed, kv, recorder(), stop.clients.clone()));
        }
        for (n, (member, kv)) in (0..).zip(ports.residents) {
            clients.spawn(store::resident(n, seed, member, kv, recorder(), stop.clients.clone()));
        }
        for (n, api) in (FIRST_API_CLIENT..).zip(ports.api) {
            clients.spawn(api::client(n, seed, api, recorder(), stop.clients.clone()));
        }
        for (n, api) in (FIRST_EVICTOR..).zip(ports.evictors) {
            clients.spawn(api::evictions(n, seed, api, recorder(), stop.clients.clone()));
        }
        let wanted = api::Wanted::default();
        if let Some(api) = ports.operator {
            clients.spawn(api::operator(seed, api, wanted.clone(), recorder(), stop.clients.clone()));
        }
        Traffic { clients, watchers, compactors, stop_compactors, wanted, recorder: recorder() }
    }

    /// Until all clients have ended; may be given up and asked again.
    pub async fn clients_end(&mut self) {
        while self.clients.join_next().await.is_some() {}
    }

    /// Until what the operator wants is there and nothing else, and no longer than [`api::SETTLE`]; `wrong`
    /// is what is not so, as last seen. Once all clients have ended. How many Deployments are wanted.
    pub async fn settle(&self, api: &Client, wrong: &Mutex<Vec<String>>) -> usize {
        let wanted = self.wanted.lock().clone();
        api::settle(api, &wanted, wrong).await;
        wanted.len()
    }

    /// The last look, and the last writes, which end watchers: once all clients have ended.
    ///
    /// # Errors
    /// Who did not answer, of a cluster that is said to be whole.
    pub async fn look(
        &self,
        any: Arc<dyn Kv>,
        members: &[(String, Arc<dyn Kv>)],
        api: Option<Client>,
    ) -> Result<(), String> {
        store::look(any, members, &self.recorder).await?;
        match api {
            Some(api) => api::look(api, &self.recorder).await,
            None => Ok(()),
        }
    }

    /// Until all watchers have ended; may be given up and asked again.
    pub async fn watchers_end(&mut self) {
        while self.watchers.join_next().await.is_some() {}
        self.stop_compactors.cancel();
        while self.compactors.join_next().await.is_some() {}
    }
}
