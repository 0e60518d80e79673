//! Who works in a world: clients and watchers of the store and, where there is a control plane, of the
//! API; and the last look, when all has healed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_client::Client;
use trireme_store::{DeleteRequest, KeyRange, Kv, Op, PutRequest, RangeRequest, Revision, TxnRequest};

use super::cluster::{CLIENTS, HOSTS, NODES, Sim};
use super::control::settled::unsettled;
use super::control::{self, Wanted};
use super::host::name;
use super::network::Host;
use super::run::HEAL;
use crate::history::Recorder;
use crate::traffic;

const WRITERS: u32 = 4;
/// Clients that lead one after the other.
const LEADERS: u32 = 2;
/// Clients of the API count on from here, so that no two clients have a number.
const FIRST_API_CLIENT: u32 = 100;
const FIRST_API_WATCHER: u32 = 1_000;
const API_WRITERS: u32 = 2;
const FIRST_EVICTOR: u32 = 200;
const EVICTORS: u32 = 2;
/// What the operator wants must be there within this after all has healed: a node that was silent is
/// waited for, and its pods with it.
const SETTLE: Duration = Duration::from_secs(120);
const ADMIN: (&str, &[&str]) = ("admin", &["system:masters"]);

/// Asked for while disks may be full; it is never there, so that nothing changes.
const NO_KEY: &str = "/nobody/has/this";
const BETWEEN_PROBES: Duration = Duration::from_millis(400);
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Written while disks may be full, so that they are: beside the keys of the traffic.
const BALLAST_KEY: &str = "/ballast";
const BALLAST_BYTES: usize = 16 << 10;
const BETWEEN_BALLAST: Duration = Duration::from_millis(20);
/// Once there is no room, it is enough to ask now and then.
const AGAIN: Duration = Duration::from_millis(300);

/// What clients tell of themselves while they work.
#[derive(Default)]
pub(super) struct Told {
    /// Answers that said that there is no room.
    pub no_space: Arc<AtomicU64>,
    /// Whether disks are to be filled, and reads and deletes to be tried.
    probes: AtomicBool,
    /// Those that were done, both of them.
    probed: AtomicU64,
}

impl Told {
    pub(super) fn done(&self) -> u64 {
        self.probed.load(Ordering::Relaxed)
    }

    /// Has disks filled and reads and deletes tried, or not any more.
    pub(super) fn probe(&self, probes: bool) {
        self.probes.store(probes, Ordering::Relaxed);
    }
}

/// Reads, and deletes what is not there, while it is to: whether that goes on is looked at from outside.
async fn probe(kv: Arc<dyn Kv>, told: Arc<Told>, stop: CancellationToken) {
    let delete = || TxnRequest {
        success: vec![Op::Delete(DeleteRequest { range: KeyRange::key(NO_KEY), prev_kv: false })],
        ..TxnRequest::default()
    };
    while !stop.is_cancelled() {
        tokio::time::sleep(BETWEEN_PROBES).await;
        if !told.probes.load(Ordering::Relaxed) {
            continue;
        }
        let both = async {
            kv.range(RangeRequest::new(KeyRange::key(NO_KEY))).await?;
            kv.txn(delete()).await
        };
        if matches!(tokio::time::timeout(PROBE_MAX, both).await, Ok(Ok(_))) {
            told.probed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Uses up what room there is while it is to, as who fills a disk goes on doing.
async fn fill(kv: Arc<dyn Kv>, told: Arc<Told>, stop: CancellationToken) {
    let put = || {
        let put = Op::Put(PutRequest::new(BALLAST_KEY, vec![b'x'; BALLAST_BYTES]));
        TxnRequest { success: vec![put], ..TxnRequest::default() }
    };
    while !stop.is_cancelled() {
        if !told.probes.load(Ordering::Relaxed) {
            tokio::time::sleep(BETWEEN_PROBES).await;
            continue;
        }
        let written = tokio::time::timeout(PROBE_MAX, kv.txn(put())).await;
        tokio::time::sleep(if matches!(written, Ok(Ok(_))) { BETWEEN_BALLAST } else { AGAIN }).await;
    }
}

/// The load of a world while it runs.
pub(super) struct Load {
    recorder: Arc<Recorder>,
    stop_clients: CancellationToken,
    stop_watchers: CancellationToken,
    /// Clients have ended (1), watchers have reached the end (2).
    stage: Arc<AtomicUsize>,
    /// Who is asked at the end what it holds.
    held_by: Arc<Mutex<Vec<Host>>>,
    /// What is not as the operator wants it, as last seen.
    wrong: Arc<Mutex<Vec<String>>>,
    /// Who did not answer the last look.
    unanswered: Arc<Mutex<Vec<String>>>,
}

impl Load {
    pub(super) fn start(sim: &mut Sim, seed: u64, recorder: &Arc<Recorder>) -> Load {
        let load = Load {
            recorder: recorder.clone(),
            stop_clients: CancellationToken::new(),
            stop_watchers: CancellationToken::new(),
            stage: Arc::default(),
            held_by: Arc::default(),
            wrong: Arc::default(),
            unanswered: Arc::default(),
        };
        let traffic = load.traffic(sim, seed);
        sim.world.start(CLIENTS, traffic);
        if sim.keys.is_some() {
            NODES.for_each(|host| sim.start_nodes(host));
        }
        load
    }

    /// What clients and watchers do, and at the end the last write and looks.
    fn traffic(&self, sim: &Sim, seed: u64) -> impl Future<Output = ()> + Send + 'static {
        let (recorder, stage, held_by) = (self.recorder.clone(), self.stage.clone(), self.held_by.clone());
        let (stop_clients, stop_watchers) = (self.stop_clients.clone(), self.stop_watchers.clone());
        let mut writing = JoinSet::new();
        let mut starts: Vec<futures::future::BoxFuture<'static, ()>> = Vec::new();
        for n in 0..WRITERS {
            let (kv, recorder, stop) = (sim.client(n as usize), recorder.clone(), stop_clients.clone());
            starts.push(Box::pin(traffic::store::client(n, seed, kv, recorder, stop)));
        }
        let mut watches: Vec<futures::future::BoxFuture<'static, ()>> = Vec::new();
        for n in 0..sim.founders as u32 {
            let (kv, recorder, stop) = (sim.client(n as usize), recorder.clone(), stop_watchers.clone());
            watches.push(Box::pin(traffic::store::watchers(n, seed, Revision(0), kv, recorder, stop)));
        }
        let admin = |at| Client::new(sim.api(CLIENTS, at, ADMIN.0, ADMIN.1));
        let api = sim.keys.is_some().then(|| admin(0));
        let wanted = Wanted::default();
        if sim.keys.is_some() {
            for n in 0..API_WRITERS {
                let (api, recorder, stop) = (admin(n as usize), recorder.clone(), stop_clients.clone());
                starts.push(Box::pin(traffic::api::client(FIRST_API_CLIENT + n, seed, api, recorder, stop)));
            }
            for n in 0..EVICTORS {
                let (api, recorder, stop) = (admin(n as usize), recorder.clone(), stop_clients.clone());
                starts.push(Box::pin(traffic::api::evictions(FIRST_EVICTOR + n, seed, api, recorder, stop)));
            }
            let (recorder, stop) = (recorder.clone(), stop_watchers.clone());
            watches.push(Box::pin(traffic::api::watchers(FIRST_API_WATCHER, admin(1), recorder, stop)));
            let stop = stop_clients.clone();
            starts.push(Box::pin(control::operator(seed, admin(2), wanted.clone(), stop)));
        }
        for n in 0..LEADERS {
            let (kv, recorder, stop) = (sim.client(n as usize), recorder.clone(), stop_clients.clone());
            starts.push(Box::pin(traffic::store::leader(n, seed, kv, recorder, stop)));
        }
        let any = sim.client(0);
        starts.push(Box::pin(probe(sim.quick_client(1), sim.load.clone(), stop_clients.clone())));
        starts.push(Box::pin(fill(sim.quick_client(2), sim.load.clone(), stop_clients.clone())));
        let members: Vec<_> = (0..HOSTS).map(|n| (name(n), sim.client_of(n..n + 1, 0))).collect();
        for (n, (name, kv)) in (0..).zip(&members).take(sim.founders) {
            let (name, kv) = (name.clone(), kv.clone());
            let (recorder, stop) = (recorder.clone(), stop_clients.clone());
            starts.push(Box::pin(traffic::store::resident(n, seed, name, kv, recorder, stop)));
        }
        let (wrong, unanswered) = (self.wrong.clone(), self.unanswered.clone());
        let compacting = sim.keys.is_some().then(|| sim.client(0));
        async move {
            let mut watching = JoinSet::new();
            let (mut noting, noted) = (JoinSet::new(), CancellationToken::new());
            if let Some(kv) = compacting {
                noting.spawn(traffic::store::compactors(kv, recorder.clone(), noted.clone()));
            }
            watches.into_iter().for_each(|watch| drop(watching.spawn(watch)));
            starts.into_iter().for_each(|client| drop(writing.spawn(client)));
            writing.join_all().await;
            if let Some(api) = &api {
                let wanted = wanted.lock().clone();
                settle(api, &wanted, &wrong).await;
            }
            stage.store(1, Ordering::Relaxed);
            let asked = held_by.lock().clone();
            let members: Vec<_> = asked.into_iter().map(|host| members[host].clone()).collect();
            let looked = traffic::store::look(any, &members, &recorder).await;
            unanswered.lock().extend(looked.err());
            if let Some(api) = api {
                let looked = traffic::api::look(api, &recorder).await;
                unanswered.lock().extend(looked.err());
            }
            watching.join_all().await;
            noted.cancel();
            noting.join_all().await;
            stage.store(2, Ordering::Relaxed);
        }
    }

    /// Ends all, and looks.
    pub(super) fn finish(&self, sim: &mut Sim) -> Result<()> {
        *self.held_by.lock() = sim.present();
        self.stop_clients.cancel();
        let (stage, wrong) = (self.stage.clone(), self.wrong.clone());
        let ended = sim.wait("clients to end", HEAL + SETTLE, move |_| stage.load(Ordering::Relaxed) >= 1);
        let wrong = std::mem::take(&mut *wrong.lock());
        ensure!(wrong.is_empty(), "{} s after all has healed: {}", SETTLE.as_secs(), wrong.join("; "));
        ended?;
        let stage = self.stage.clone();
        let ended = sim.wait("watchers to reach the end", HEAL, move |_| stage.load(Ordering::Relaxed) >= 2);
        let unanswered = std::mem::take(&mut *self.unanswered.lock());
        ensure!(unanswered.is_empty(), "the last look: {}", unanswered.join("; "));
        ended?;
        let looked = futures::executor::block_on(self.recorder.with(|history| history.looked.len()));
        ensure!(looked == sim.present().len(), "{looked} of the members were looked at");
        self.stop_watchers.cancel();
        Ok(())
    }
}

/// Looks until all is as the operator wants it, or the time is up.
async fn settle(api: &Client, wanted: &BTreeMap<String, u64>, wrong: &Mutex<Vec<String>>) {
    let until = tokio::time::Instant::now() + SETTLE;
    while tokio::time::Instant::now() < until {
        let found = match unsettled(api, wanted).await {
            Ok(found) => found,
            Err(error) => vec![error.to_string()],
        };
        *wrong.lock() = found;
        if wrong.lock().is_empty() {
            return;
        }
        tokio::time::sleep(traffic::PAUSE).await;
    }
}
