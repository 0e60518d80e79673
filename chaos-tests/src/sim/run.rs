//! One world: members, clients, faults, healing, checks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_raft::log::SimDir;
use trireme_raft::{Limits, PeerPort, Replica, ReplicaConfig, Role, Tls};
use trireme_store::engine::{Engine, Model};
use trireme_store::{Kv, Revision};
use xxhash_rust::xxh3::Xxh3;

use super::kv::{SimKv, Slot};
use super::network::{FAIR, Host, Incoming, Socket};
use super::plan::{Fault, Plan, Step, Whom};
use super::world::World;
use super::{Options, interposed};
use crate::history::{History, Recorder, Tally};
use crate::{check, traffic};

const CLIENTS: u32 = 4;
/// A killed process is started again after this, as its supervisor would.
const RESTART: Duration = Duration::from_millis(500);
const START: Duration = Duration::from_secs(30);
/// After the last fault all must be well within this.
const HEAL: Duration = Duration::from_secs(30);
/// How much a lying disk may lose.
const LIE_MS: u128 = 100;
/// Clients go on for this long after.
const AFTER: Duration = Duration::from_secs(3);

/// How a world ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub simulated: Duration,
    /// Of a core.
    pub took: Duration,
    /// A hash of everything that clients were told, and in which order.
    pub trace: String,
    pub violations: Vec<(String, Vec<String>)>,
    members: usize,
    faults: BTreeMap<String, usize>,
    tally: Tally,
    messages: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        write!(
            f,
            "{} members, {:.0} s, {}; {}, {} messages; trace {}: {}",
            self.members,
            self.simulated.as_secs_f64(),
            faults.join(", "),
            self.tally,
            self.messages,
            self.trace,
            if self.violations.is_empty() { "ok" } else { "FAILED" }
        )
    }
}

/// A member's disks, and what it is at present.
struct Member {
    config: ReplicaConfig,
    log: Arc<Mutex<SimDir>>,
    state: Arc<Model>,
    slot: Slot,
    /// Why it does not run, if it said so.
    refused: Arc<Mutex<Option<String>>>,
    restart_at: Option<Duration>,
    /// What a lying disk really has: a log of some time ago.
    believed: Option<SimDir>,
}

struct Sim {
    options: Options,
    world: World,
    members: Vec<Member>,
    addresses: Arc<BTreeMap<String, Host>>,
    random: StdRng,
    /// What clients wait between calls.
    think: Duration,
    /// What was inflicted, and how often.
    faults: BTreeMap<String, usize>,
}

/// Runs the world of `seed` on this thread.
pub(super) fn world(seed: u64, options: &Options, folder: &Path) -> Result<Verdict> {
    // Before anything draws a number or makes a map: a thread remembers what it began with.
    interposed::begin(seed);
    // tokio would go on without the task, and the member look alive: a real one aborts, too.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        std::process::abort();
    }));
    let tls = certificates()?;
    let mut random = StdRng::seed_from_u64(seed);
    let count = if random.random_bool(0.7) { 3 } else { 5 };
    let mut sim = Sim::new(seed, count, folder, tls, random, options.clone());
    let recorder = Arc::new(Recorder::alone());
    let outcome = sim.play(seed, Duration::from_secs(options.minutes * 60), &recorder);
    let ended = outcome.err().map(|error| format!("{error:#}"));
    let history = futures::executor::block_on(recorder.with(std::mem::take));
    let mut violations: Vec<(String, Vec<String>)> = check::ALL
        .iter()
        .map(|(name, checker)| ((*name).to_owned(), checker(&history)))
        .filter(|(_, wrong)| !wrong.is_empty())
        .collect();
    violations.extend(ended.map(|why| ("the world heals".to_owned(), vec![why])));
    let fatal = std::mem::take(&mut *sim.world.fatal.lock());
    if !fatal.is_empty() {
        let said = fatal.into_iter().map(|(host, why)| format!("member {host}: {why}")).collect();
        violations.push(("no member says that it cannot go on".to_owned(), said));
    }
    Ok(Verdict {
        simulated: sim.world.now(),
        took: processor_time()?,
        trace: format!("{:016x}", trace(&history)),
        violations,
        members: count,
        faults: std::mem::take(&mut sim.faults),
        tally: history.tally(),
        messages: sim.world.network.delivered(),
    })
}

/// What this process took of the cores, by the system's clock.
fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs();
    Ok(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

fn trace(history: &History) -> u64 {
    let mut hash = Xxh3::new();
    // Serialised, since that has an order and nothing that differs from run to run.
    if let Ok(bytes) = serde_json::to_vec(history) {
        hash.update(&bytes);
    }
    hash.digest()
}

/// What a replica's configuration wants, and no simulated connection uses.
fn certificates() -> Result<Tls> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])?.self_signed(&key)?;
    let pem = certificate.pem().into_bytes();
    let certificates = trireme_raft::Certificates {
        ca_pem: pem.clone(),
        cert_pem: pem,
        key_pem: key.serialize_pem().into_bytes(),
    };
    Ok(Tls::new(&certificates)?)
}

fn name(host: Host) -> String {
    format!("member-{host}")
}

fn address(host: Host) -> String {
    format!("{}:2380", name(host))
}

impl Sim {
    fn new(seed: u64, count: usize, dir: &Path, tls: Tls, mut random: StdRng, options: Options) -> Sim {
        // The last host is the clients'.
        let world = World::begin(seed, count + 1, dir);
        let initial: BTreeMap<_, _> = (0..count).map(|host| (name(host), address(host))).collect();
        let member = |host: Host| {
            let (log, state) = (Arc::new(Mutex::new(SimDir::default())), Arc::new(Model::new()));
            let engine = state.clone();
            let open_engine = Arc::new(move |_: &Path| Ok(engine.clone() as Arc<dyn Engine>));
            let data_dir = world.dir.join(name(host));
            let mut config = ReplicaConfig::new(data_dir, "sim", &name(host), tls.clone(), open_engine);
            config.peer_address = address(host);
            config.client_address = format!("{}:2379", name(host));
            config.initial_members = initial.clone();
            let files = log.clone();
            config.open_log = Arc::new(move |_| Ok(Arc::new(files.lock().clone())));
            // Small, so that segments, flushes, purges and snapshots come often.
            config.limits = Limits {
                log_segment_bytes: 256 * 1024,
                log_cache_bytes: 64 * 1024,
                log_keep_bytes: 256 * 1024,
                flush_log_bytes: 256 * 1024,
                ..Limits::default()
            };
            let fatal = world.fatal.clone();
            config.on_fatal = Arc::new(move |why| fatal.lock().push((host, why.to_owned())));
            let (slot, refused) = (Slot::default(), Arc::default());
            Member { config, log, state, slot, refused, restart_at: None, believed: None }
        };
        let members = (0..count).map(member).collect();
        let addresses = Arc::new((0..count).map(|host| (address(host), host)).collect());
        let think = Duration::from_millis([0, 5, 50, 200].choose(&mut random).copied().unwrap_or(5));
        Sim { options, world, members, addresses, random, think, faults: BTreeMap::new() }
    }

    fn say(&self, what: &str) {
        if self.options.verbose {
            eprintln!("{:>10.3} s  {what}", self.world.now().as_secs_f64());
        }
    }

    fn start(&mut self, host: Host) {
        self.say(&format!("{} starts", name(host)));
        let member = &mut self.members[host];
        member.restart_at = None;
        let (config, slot, refused) = (member.config.clone(), member.slot.clone(), member.refused.clone());
        let mut incoming = self.world.network.up(host);
        let network = self.world.network.clone();
        let answers = Arc::new(Mutex::new(None));
        let socket = Socket {
            network: network.clone(),
            host,
            addresses: self.addresses.clone(),
            answers: answers.clone(),
        };
        self.world.start(host, async move {
            let starting = async {
                match Replica::start(config, PeerPort::Simulated(Arc::new(socket))).await {
                    Ok(replica) => *slot.lock() = Some(replica),
                    Err(error) => *refused.lock() = Some(error.to_string()),
                }
            };
            // While it starts it is called, too, and does not answer yet.
            let serving = async {
                while let Some(incoming) = incoming.recv().await {
                    match incoming {
                        Incoming::Call { id, request } => {
                            let answers = answers.lock().clone();
                            match answers {
                                Some(answers) => network.handle(id, request, &answers),
                                None => network.refuse(id),
                            }
                        }
                        Incoming::Job(job) => drop(tokio::spawn(job())),
                    }
                }
            };
            tokio::join!(starting, serving);
        });
    }

    /// Ends a member; `power` says that what was not synced is at risk, and that nobody hears of it.
    fn end(&mut self, host: Host, power: bool) {
        let member = &mut self.members[host];
        *member.slot.lock() = None;
        self.world.kill(host, !power);
        let log = match &member.believed {
            Some(old) => old.clone(),
            None => member.log.lock().clone(),
        };
        let kept =
            if power { log.after_power_loss_between_pages(self.random.random()) } else { log.after_kill() };
        *member.log.lock() = kept;
        let unflushed = member.state.unflushed();
        member.state.crash(self.random.random_range(0..=unflushed));
        member.restart_at = Some(self.world.now() + RESTART);
    }

    /// Lets `time` pass; whoever ended is started again.
    fn pass(&mut self, time: Duration) -> Result<()> {
        let until = self.world.now() + time;
        while self.world.now() < until {
            self.world.step();
            if self.options.lying_disks && self.world.now().as_millis().is_multiple_of(LIE_MS) {
                for member in &mut self.members {
                    member.believed = Some(member.log.lock().after_power_loss());
                }
            }
            for host in 0..self.members.len() {
                if let Some(why) = self.members[host].refused.lock().take() {
                    bail!("{} does not start: {why}", name(host));
                }
                if self.members[host].restart_at.is_some_and(|at| at <= self.world.now()) {
                    self.start(host);
                }
            }
            ensure!(self.world.fatal.lock().is_empty(), "a member cannot go on");
        }
        Ok(())
    }

    fn leader(&self) -> Option<Host> {
        let leads = |member: &Member| {
            let slot = member.slot.lock();
            slot.as_ref().map(Replica::status).filter(|status| status.role == Role::Leader).map(|s| s.term)
        };
        (0..self.members.len())
            .filter_map(|host| Some((leads(&self.members[host])?, host)))
            .max()
            .map(|(_, host)| host)
    }

    fn find(&self, whom: Whom) -> Host {
        let count = self.members.len();
        let leader = self.leader().unwrap_or(0);
        match whom {
            Whom::Leader => leader,
            Whom::Follower(n) => (leader + 1 + n % (count - 1)) % count,
        }
    }

    /// Begins with one member, and goes on to the next after every error.
    fn client(&self, at: usize) -> Arc<dyn Kv> {
        self.client_of(0..self.members.len(), at)
    }

    fn client_of(&self, hosts: Range<Host>, at: usize) -> Arc<dyn Kv> {
        let members = hosts.map(|host| (host, self.members[host].slot.clone())).collect();
        let (network, at) = (self.world.network.clone(), AtomicUsize::new(at));
        Arc::new(SimKv { network, from: self.members.len(), members, at, think: self.think })
    }

    /// Everything, from the first start to the last look.
    fn play(&mut self, seed: u64, time: Duration, recorder: &Arc<Recorder>) -> Result<()> {
        for host in 0..self.members.len() {
            self.start(host);
        }
        self.wait("a leader", START, |sim| sim.leader().is_some())?;
        let (stop_clients, stop_watchers) = (CancellationToken::new(), CancellationToken::new());
        let ended = Arc::new(AtomicUsize::new(0));
        let traffic = self.traffic(seed, recorder, &stop_clients, &stop_watchers, &ended);
        let clients = self.members.len();
        self.world.start(clients, traffic);
        let mut plan = Plan::new(seed);
        while self.world.now() < time {
            let step = plan.next();
            self.pass(step.pause)?;
            *self.faults.entry(name_of(step.fault).to_owned()).or_default() += 1;
            self.inflict(step)?;
        }
        self.heal();
        self.wait("every member to follow one leader and to have what it has", HEAL, Sim::is_level)?;
        self.pass(AFTER)?;
        stop_clients.cancel();
        self.finish(recorder, &ended)?;
        stop_watchers.cancel();
        self.pass(Duration::from_millis(100))
    }

    /// What clients and watchers do, and at the end the last write and looks.
    fn traffic(
        &self,
        seed: u64,
        recorder: &Arc<Recorder>,
        stop_clients: &CancellationToken,
        stop_watchers: &CancellationToken,
        ended: &Arc<AtomicUsize>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let watchers: Vec<_> = (0..self.members.len()).map(|n| self.client(n)).collect();
        let clients: Vec<_> = (0..CLIENTS).map(|n| self.client(n as usize)).collect();
        let any = self.client(0);
        let (recorder, ended) = (recorder.clone(), ended.clone());
        let (stop_clients, stop_watchers) = (stop_clients.clone(), stop_watchers.clone());
        let members: Vec<_> =
            (0..self.members.len()).map(|n| (name(n), self.client_of(n..n + 1, 0))).collect();
        async move {
            let (mut writing, mut watching) = (JoinSet::new(), JoinSet::new());
            for (n, kv) in (0..).zip(watchers) {
                let (recorder, stop) = (recorder.clone(), stop_watchers.clone());
                watching.spawn(traffic::store::watchers(n, seed, Revision(0), kv, recorder, stop));
            }
            for (n, kv) in (0..).zip(clients) {
                let (recorder, stop) = (recorder.clone(), stop_clients.clone());
                writing.spawn(traffic::store::client(n, seed, kv, recorder, stop));
            }
            for (n, (name, kv)) in (0..).zip(&members) {
                let (recorder, stop) = (recorder.clone(), stop_clients.clone());
                let (name, kv) = (name.clone(), kv.clone());
                writing.spawn(traffic::store::resident(n, seed, name, kv, recorder, stop));
            }
            writing.join_all().await;
            ended.store(1, std::sync::atomic::Ordering::Relaxed);
            // Who did not answer is missing among those who were looked at.
            let _ = traffic::store::look(any, &members, &recorder).await;
            watching.join_all().await;
            ended.store(2, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn finish(&mut self, recorder: &Arc<Recorder>, ended: &Arc<AtomicUsize>) -> Result<()> {
        let reached = |ended: &AtomicUsize, stage| ended.load(std::sync::atomic::Ordering::Relaxed) >= stage;
        let (first, second) = (ended.clone(), ended.clone());
        self.wait("clients to end", HEAL, move |_| reached(&first, 1))?;
        self.wait("watchers to reach the end", HEAL, move |_| reached(&second, 2))?;
        let looked = futures::executor::block_on(recorder.with(|history| history.looked.len()));
        ensure!(looked == self.members.len(), "{looked} of the members were looked at");
        // The state itself, of which clients see a part: compared where all have applied as much.
        self.wait("all members to stand at one index", HEAL, |sim| {
            sim.states().is_some_and(|states| states.iter().all(|(index, _)| *index == states[0].0))
        })?;
        let states = self.states().unwrap_or_default();
        ensure!(states.iter().all(|state| *state == states[0]), "states differ: {states:?}");
        Ok(())
    }

    /// Index and hash of every member's state, while all run.
    fn states(&self) -> Option<Vec<(u64, u128)>> {
        let state = |member: &Member| {
            let status = member.slot.lock().as_ref()?.status();
            Some((status.applied_index, status.state_hash))
        };
        self.members.iter().map(state).collect()
    }

    fn wait(&mut self, what: &str, most: Duration, mut is: impl FnMut(&Sim) -> bool) -> Result<()> {
        let until = self.world.now() + most;
        while !is(self) {
            ensure!(self.world.now() < until, "waited {} s for {what}: {}", most.as_secs(), self.standing());
            self.pass(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn standing(&self) -> String {
        let members = self.members.iter().enumerate().map(|(host, member)| {
            let status = member.slot.lock().as_ref().map(Replica::status);
            match status {
                Some(s) => format!(
                    "{}: {} of term {}, applied {} of {}",
                    name(host),
                    s.role.as_str(),
                    s.term,
                    s.applied_index,
                    s.last_log_index
                ),
                None => format!("{}: down", name(host)),
            }
        });
        members.collect::<Vec<_>>().join("; ")
    }

    fn is_level(&self) -> bool {
        let all: Option<Vec<_>> =
            self.members.iter().map(|member| member.slot.lock().as_ref().map(Replica::status)).collect();
        all.is_some_and(|all| {
            let leaders: std::collections::BTreeSet<_> = all.iter().map(|status| status.leader).collect();
            let newest = all.iter().map(|status| status.committed_index).max().unwrap_or(0);
            // Clients go on writing: a few entries are always under way.
            leaders.len() == 1
                && !leaders.contains(&None)
                && all.iter().all(|status| status.caught_up && status.applied_index + 50 >= newest)
        })
    }

    fn heal(&mut self) {
        self.say("everything is healed");
        self.world.network.join_all();
        self.world.network.set_weather(FAIR);
        for host in 0..self.members.len() {
            self.world.slow_disk(host, Duration::ZERO);
            self.world.drift(host, 0);
            self.world.freeze(host, Duration::ZERO);
        }
    }

    fn inflict(&mut self, step: Step) -> Result<()> {
        let all: Vec<Host> = (0..self.members.len()).collect();
        self.say(&format!("{:?} for {:?}", step.fault, step.lasts));
        match step.fault {
            Fault::Kill(whom) | Fault::PowerLoss(whom) => {
                let host = self.find(whom);
                if self.world.runs(host) {
                    self.end(host, matches!(step.fault, Fault::PowerLoss(_)));
                }
            }
            Fault::PowerLossOfAll => {
                for host in all {
                    if self.world.runs(host) {
                        self.end(host, true);
                    }
                }
            }
            Fault::Freeze(whom) => {
                let host = self.find(whom);
                self.world.freeze(host, step.lasts);
            }
            Fault::Isolate(whom) | Fault::Mute(whom) | Fault::Deafen(whom) => {
                let host = self.find(whom);
                for other in all.into_iter().filter(|other| *other != host) {
                    if !matches!(step.fault, Fault::Deafen(_)) {
                        self.world.network.cut(host, other);
                    }
                    if !matches!(step.fault, Fault::Mute(_)) {
                        self.world.network.cut(other, host);
                    }
                }
            }
            Fault::Bridge => {
                let (one, other) = (self.find(Whom::Leader), self.find(Whom::Follower(0)));
                self.world.network.cut(one, other);
                self.world.network.cut(other, one);
            }
            Fault::Weather(weather) => self.world.network.set_weather(weather),
            Fault::SlowDisk(whom, most) => {
                let host = self.find(whom);
                self.world.slow_disk(host, most);
            }
            Fault::Drift(whom, ppm) => {
                let host = self.find(whom);
                self.world.drift(host, ppm);
            }
            Fault::Jump(whom, ahead_ms) => {
                let host = self.find(whom);
                self.world.jump(host, ahead_ms);
            }
            Fault::MoveLeader => {
                if let Some(host) = self.leader() {
                    let slot = self.members[host].slot.clone();
                    let job = move || -> futures::future::BoxFuture<'static, ()> {
                        Box::pin(async move {
                            let replica = slot.lock().clone();
                            if let Some(replica) = replica {
                                let _ = replica.hand_over(None).await;
                            }
                        })
                    };
                    self.world.network.ask(self.members.len(), host, job, || {});
                }
            }
        }
        self.pass(step.lasts)?;
        match step.fault {
            Fault::Isolate(_) | Fault::Mute(_) | Fault::Deafen(_) | Fault::Bridge => {
                self.world.network.join_all()
            }
            Fault::Weather(_) => self.world.network.set_weather(FAIR),
            Fault::SlowDisk(..) => {
                for host in 0..self.members.len() {
                    self.world.slow_disk(host, Duration::ZERO);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn name_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Kill(_) => "kills",
        Fault::PowerLoss(_) => "power losses",
        Fault::PowerLossOfAll => "power losses of all",
        Fault::Freeze(_) => "freezes",
        Fault::Isolate(_) => "isolations",
        Fault::Mute(_) => "mute",
        Fault::Deafen(_) => "deaf",
        Fault::Bridge => "bridges",
        Fault::Weather(_) => "storms",
        Fault::SlowDisk(..) => "slow disks",
        Fault::Drift(..) => "drifts",
        Fault::Jump(..) => "clock jumps",
        Fault::MoveLeader => "handovers",
    }
}
