//! Who works in a world: clients and watchers of the store and, where there is a control plane, of the
//! API; and the last look, when all has healed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use trireme_client::Client;
use trireme_store::{DeleteRequest, KeyRange, Kv, Op, PutRequest, RangeRequest, Revision, TxnRequest};

use super::cluster::{CLIENTS, HOSTS, NODES, Sim};
use super::host::name;
use super::network::Host;
use super::run::HEAL;
use crate::history::Recorder;
use crate::traffic::api::SETTLE;
use crate::traffic::store::Mix;
use crate::traffic::{Ports, Stop, Traffic};

const WRITERS: usize = 4;
/// Of them, those from this number on take a write that stands still to another member.
const REPEATING_FROM: usize = 2;
/// Clients that lead one after the other.
const LEADERS: usize = 2;
const API_WRITERS: usize = 2;
const EVICTORS: usize = 2;
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
    stop: Stop,
    /// Clients have ended (1), watchers have reached the end (2).
    stage: Arc<AtomicUsize>,
    /// Who is asked at the end what it holds.
    held_by: Arc<Mutex<Vec<Host>>>,
    /// What is not as the operator wants it, as last seen.
    wrong: Arc<Mutex<Vec<String>>>,
    /// Who did not answer the last look.
    unanswered: Arc<Mutex<Option<String>>>,
}

impl Load {
    pub(super) fn start(sim: &mut Sim, seed: u64, recorder: &Arc<Recorder>) -> Load {
        let load = Load {
            recorder: recorder.clone(),
            stop: Stop::default(),
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

    /// What clients and watchers do, and at the end the last looks and writes.
    fn traffic(&self, sim: &Sim, seed: u64) -> impl Future<Output = ()> + Send + 'static {
        let (recorder, stop, stage) = (self.recorder.clone(), self.stop.clone(), self.stage.clone());
        let (held_by, wrong, unanswered) =
            (self.held_by.clone(), self.wrong.clone(), self.unanswered.clone());
        let members: Vec<_> = (0..HOSTS).map(|n| (name(n), sim.client_of(n..n + 1, 0))).collect();
        let clients = |count: usize| (0..count).map(|n| sim.client(n)).collect();
        let writer = |n| if n < REPEATING_FROM { sim.client(n) } else { sim.repeating_client(n) };
        let admin = |at| Client::new(sim.api(CLIENTS, at, ADMIN.0, ADMIN.1));
        let mut ports = Ports {
            store: (0..WRITERS).map(writer).collect(),
            leaders: clients(LEADERS),
            watchers: clients(sim.founders),
            residents: members[..sim.founders].to_vec(),
            ..Ports::default()
        };
        let api = sim.keys.is_some().then(|| admin(0));
        if api.is_some() {
            ports.compactors = Some(sim.client(0));
            ports.api = (0..API_WRITERS).map(admin).collect();
            ports.evictors = (0..EVICTORS).map(admin).collect();
            ports.api_watchers = vec![admin(1)];
            ports.operator = Some(admin(2));
        }
        let (any, prober, filler) = (sim.client(0), sim.quick_client(1), sim.quick_client(2));
        let told = sim.load.clone();
        async move {
            let mut traffic = Traffic::start(seed, &Mix::draw(seed), Revision(0), ports, &recorder, &stop);
            traffic.clients.spawn(probe(prober, told.clone(), stop.clients.clone()));
            traffic.clients.spawn(fill(filler, told, stop.clients));
            traffic.clients_end().await;
            if let Some(api) = &api {
                traffic.settle(api, &wrong).await;
            }
            stage.store(1, Ordering::Relaxed);
            let asked = held_by.lock().clone();
            let members: Vec<_> = asked.into_iter().map(|host| members[host].clone()).collect();
            let looked = traffic.look(any, &members, api).await;
            *unanswered.lock() = looked.err();
            traffic.watchers_end().await;
            stage.store(2, Ordering::Relaxed);
        }
    }

    /// Ends all, and looks.
    pub(super) fn finish(&self, sim: &mut Sim) -> Result<()> {
        *self.held_by.lock() = sim.present();
        self.stop.clients.cancel();
        let (stage, wrong) = (self.stage.clone(), self.wrong.clone());
        let ended = sim.wait("clients to end", HEAL + SETTLE, move |_| stage.load(Ordering::Relaxed) >= 1);
        let wrong = std::mem::take(&mut *wrong.lock());
        ensure!(wrong.is_empty(), "{} s after all has healed: {}", SETTLE.as_secs(), wrong.join("; "));
        ended?;
        let stage = self.stage.clone();
        let ended = sim.wait("watchers to reach the end", HEAL, move |_| stage.load(Ordering::Relaxed) >= 2);
        if let Some(why) = self.unanswered.lock().take() {
            bail!("the last look: {why}");
        }
        ended?;
        let looked = futures::executor::block_on(self.recorder.with(|history| history.looked.len()));
        ensure!(looked == sim.present().len(), "{looked} of the members were looked at");
        self.stop.watchers.cancel();
        Ok(())
    }
}
