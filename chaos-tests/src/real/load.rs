//! Clients at work on the masters: the traffic of all worlds, on connections of its own each, and what
//! is read when all is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_client::{Client, Kubeconfig};
use trireme_store::Kv;

use super::inflict::World;
use super::kubectl::User;
use super::meter::{Meter, TimedApi, TimedStore};
use crate::history::Recorder;
use crate::traffic::{self, store::Mix};

/// Clients of the API count on from here, so that no two clients have a number.
const FIRST_API_CLIENT: u32 = 100;
const FIRST_EVICTOR: u32 = 200;
const EVICTORS: u32 = 2;
const FIRST_API_WATCHER: u32 = 1_000;
/// Between two calls of a client of the store: a history of ten minutes must be judged in seconds.
const CALL_EVERY: Duration = Duration::from_millis(30);
const API_WATCHERS: u32 = 2;
const LAST_CALLS: Duration = Duration::from_secs(60);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(super) struct Load {
    clients: JoinSet<()>,
    watchers: JoinSet<()>,
    /// What others compact is noted for as long as there are watchers.
    compactors: JoinSet<()>,
    stop_clients: CancellationToken,
    stop_watchers: CancellationToken,
}

/// The API behind the balancer's address, as the administrator.
pub(super) fn api(world: &World, meter: &Arc<Meter>) -> Result<Client> {
    let config = Kubeconfig::load(&world.masters.kubeconfig(), None)?;
    Ok(Client::new(TimedApi::new(config.transport("trireme-chaos")?, meter.clone())))
}

fn store(world: &World, meter: &Arc<Meter>) -> Result<Arc<dyn Kv>> {
    Ok(TimedStore::new(world.masters.store_at(world.masters.endpoints())?, meter.clone()))
}

impl Load {
    /// So many clients of the store, half as many of the API, one at each master, and watchers of both.
    pub(super) async fn start(
        world: &World,
        seed: u64,
        clients: u32,
        meter: &Arc<Meter>,
        recorder: &Arc<Recorder>,
        user: Option<Arc<User>>,
    ) -> Result<Load> {
        let from = world.masters.store_at(world.masters.endpoints())?.barrier().await;
        let from = from.context("the first barrier")?;
        let mut load = Load {
            clients: JoinSet::new(),
            watchers: JoinSet::new(),
            compactors: JoinSet::new(),
            stop_clients: CancellationToken::new(),
            stop_watchers: CancellationToken::new(),
        };
        let mix = Mix { pace: CALL_EVERY, ..Mix::draw(seed) };
        for n in 0..clients {
            let (kv, stop) = (store(world, meter)?, load.stop_clients.clone());
            let (mix, recorder) = (mix.clone(), recorder.clone());
            load.clients.spawn(async move {
                traffic::store::client_of(n, seed, &mix, kv, recorder, stop).await;
            });
        }
        for n in 0..clients.div_ceil(2) {
            let (api, stop) = (api(world, meter)?, load.stop_clients.clone());
            load.clients.spawn(traffic::api::client(FIRST_API_CLIENT + n, seed, api, recorder.clone(), stop));
        }
        for n in 0..EVICTORS {
            let (api, stop) = (api(world, meter)?, load.stop_clients.clone());
            load.clients.spawn(traffic::api::evictions(FIRST_EVICTOR + n, seed, api, recorder.clone(), stop));
        }
        if let Some(user) = user {
            let stop = load.stop_clients.clone();
            load.clients.spawn(async move { user.work(&stop).await });
        }
        for (n, (name, kv)) in (0..).zip(each(world)?) {
            let (stop, recorder) = (load.stop_clients.clone(), recorder.clone());
            load.clients.spawn(traffic::store::resident(n, seed, name, kv.clone(), recorder.clone(), stop));
            let stop = load.stop_watchers.clone();
            load.watchers.spawn(traffic::store::watchers(n, seed, from, kv, recorder, stop));
        }
        let (kv, stop) = (world.masters.store_at(world.masters.endpoints())?, load.stop_watchers.clone());
        load.compactors.spawn(traffic::store::compactors(kv, recorder.clone(), stop));
        for n in 1..=API_WATCHERS {
            let (api, stop) = (api(world, meter)?, load.stop_watchers.clone());
            load.watchers.spawn(traffic::api::watchers(FIRST_API_WATCHER * n, api, recorder.clone(), stop));
        }
        Ok(load)
    }

    /// Ends the clients; what they have under way ends with an answer, or without one.
    pub(super) async fn stop_clients(&mut self) -> Result<()> {
        self.stop_clients.cancel();
        let ended = timeout(LAST_CALLS, async { while self.clients.join_next().await.is_some() {} });
        ended.await.context("a client did not come to an end")
    }

    /// Reads everything, from the cluster and from each member, and lets watchers come to the end.
    pub(super) async fn finish(
        &mut self,
        world: &World,
        api: &Client,
        recorder: &Arc<Recorder>,
    ) -> Result<()> {
        let any = world.masters.store_at(world.masters.endpoints())?;
        let looked = traffic::store::look(any, &each(world)?, recorder).await;
        looked.map_err(anyhow::Error::msg).context("the last look at the store")?;
        let looked = traffic::api::look(api.clone(), recorder).await;
        looked.map_err(anyhow::Error::msg).context("the last look at the API")?;
        // They end by themselves at the last writes.
        let drained =
            timeout(DRAIN_TIMEOUT, async { while self.watchers.join_next().await.is_some() {} }).await;
        self.stop_watchers.cancel();
        let ended = timeout(LAST_CALLS, async {
            while self.watchers.join_next().await.is_some() {}
            while self.compactors.join_next().await.is_some() {}
        });
        ended.await.context("a watcher did not come to an end")?;
        drained.context("a watcher did not reach the end")
    }
}

/// The store through each of the masters alone.
fn each(world: &World) -> Result<Vec<(String, Arc<dyn Kv>)>> {
    let masters = world.masters.all.iter().zip(world.masters.endpoints());
    masters
        .map(|(master, endpoint)| Ok((master.name.clone(), world.masters.store_at(vec![endpoint])?)))
        .collect()
}

/// Waits until `writes` more are acknowledged.
pub(super) async fn progress(meter: &Meter, writes: usize, within: Duration) -> Result<()> {
    let (before, deadline) = (meter.now(), Instant::now() + within);
    while meter.acknowledged_since(before) < writes {
        if Instant::now() > deadline {
            bail!("fewer than {writes} writes were acknowledged in {} s", within.as_secs());
        }
        sleep(POLL).await;
    }
    Ok(())
}
