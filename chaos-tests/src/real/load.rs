//! Clients at work on the masters: the traffic of all worlds, on connections of its own each, and what
//! is read when all is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use trireme_chaos_report::{Promise, What};
use trireme_client::{Client, Kubeconfig};
use trireme_store::Kv;

use super::inflict::World;
use super::kubectl::User;
use super::meter::{Meter, TimedApi, TimedStore};
use crate::history::Recorder;
use crate::traffic::store::Mix;
use crate::traffic::{Ports, Stop, Traffic};

const EVICTORS: u32 = 2;
/// Between two calls of a client of the store: a history of ten minutes must be judged in seconds.
const CALL_EVERY: Duration = Duration::from_millis(30);
const API_WATCHERS: u32 = 2;
const LAST_CALLS: Duration = Duration::from_secs(60);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(super) struct Load {
    traffic: Traffic,
    stop: Stop,
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
        let mix = Mix { pace: CALL_EVERY, ..Mix::draw(seed) };
        let members = each(world)?;
        let stores = (0..clients).map(|_| store(world, meter)).collect::<Result<_>>()?;
        let apis = |count: u32| (0..count).map(|_| api(world, meter)).collect::<Result<Vec<_>>>();
        let ports = Ports {
            store: stores,
            // Whoever speaks etcd's protocol has no fences: nobody can lead.
            leaders: Vec::new(),
            watchers: members.iter().map(|(_, kv)| kv.clone()).collect(),
            residents: members,
            compactors: Some(world.masters.store_at(world.masters.endpoints())?),
            api: apis(clients.div_ceil(2))?,
            evictors: apis(EVICTORS)?,
            api_watchers: apis(API_WATCHERS)?,
            operator: Some(api(world, meter)?),
        };
        let stop = Stop::default();
        let mut traffic = Traffic::start(seed, &mix, from, ports, recorder, &stop);
        if let Some(user) = user {
            let stop = stop.clients.clone();
            traffic.clients.spawn(async move { user.work(&stop).await });
        }
        Ok(Load { traffic, stop })
    }

    /// Ends the clients; what they have under way ends with an answer, or without one.
    pub(super) async fn stop_clients(&mut self) -> Result<()> {
        self.stop.clients.cancel();
        let ended = timeout(LAST_CALLS, self.traffic.clients_end());
        ended.await.context("a client did not come to an end")
    }

    /// What the operator wants is there and nothing else: nothing is left of what was deleted, and nothing
    /// was collected whose owner lives.
    pub(super) async fn settle(&self, api: &Client) -> Promise {
        let wrong = Mutex::default();
        let wanted = self.traffic.settle(api, &wrong).await;
        let promise = Promise::new("what is wanted runs in the end, and nothing else", wrong.into_inner());
        Promise { looked_at: Some(wanted as u64), ..promise }
    }

    /// Reads everything, from the cluster and from each member, and lets watchers come to the end.
    pub(super) async fn finish(&mut self, world: &World, api: &Client) -> Result<()> {
        let any = world.masters.store_at(world.masters.endpoints())?;
        let looked = self.traffic.look(any, &each(world)?, Some(api.clone())).await;
        looked.map_err(anyhow::Error::msg).context("the last look")?;
        // They end by themselves at the last writes.
        let drained = timeout(DRAIN_TIMEOUT, self.traffic.watchers_end()).await;
        self.stop.watchers.cancel();
        let ended = timeout(LAST_CALLS, self.traffic.watchers_end());
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

/// Waits until `writes` more of this kind are acknowledged.
pub(super) async fn progress(meter: &Meter, what: What, writes: usize, within: Duration) -> Result<()> {
    let (before, deadline) = (meter.now(), Instant::now() + within);
    while meter.acknowledged_since(what, before) < writes {
        if Instant::now() > deadline {
            let whose = if what == What::ApiWrite { "API" } else { "store" };
            bail!("fewer than {writes} writes of the {whose} were acknowledged in {} s", within.as_secs());
        }
        sleep(POLL).await;
    }
    Ok(())
}
