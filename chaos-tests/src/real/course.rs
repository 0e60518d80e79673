//! The course of a run, inside its own namespaces: set up, calm, faults, healing, checks, report.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use trireme_chaos_report::{Promise, What};

use super::archive::Archive;
use super::balancers::{self, Balancers};
use super::cgroups::Groups;
use super::elections::Elections;
use super::inflict::{self, Begun, World};
use super::kubectl::User;
use super::load::{self, Load};
use super::masters::{self, Masters};
use super::meter::Meter;
use super::network::{Network, VIRTUAL_ADDRESS};
use super::plan::{Kind, Plan, Step};
use super::probe::{self, Probed};
use super::process::Service;
use super::summary::{Dealt, Inflicted, Summary};
use super::{Options, whole};
use crate::history::{History, Recorder};
use crate::report::survived;
use crate::{check, report};

/// From the end of a fault until all masters are well and writes are acknowledged.
pub(super) const HEAL_TIMEOUT: Duration = Duration::from_secs(60);
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Before the first fault: what the other figures are compared with.
const CALM: Duration = Duration::from_secs(6);
/// For somebody to lead beside a fault that is at work.
const BESIDE: Duration = Duration::from_secs(2);
/// Writes of the store that must be acknowledged for a cluster to be healed, and of the API, whose
/// clients are slower.
const PROGRESS_WRITES: usize = 20;
const PROGRESS_API_WRITES: usize = 5;
const NODES: &str = "2";
/// Before the data of all masters is put back.
const LOST_WRITES: usize = 200;

pub(super) async fn run(options: &Options, seed: u64, dir: &Path, run: u32) -> Result<Summary> {
    let stop = stopped();
    let groups = Groups::new(run);
    let probed = probe::probe(&dir.join("probe"), &groups, options.older.as_deref())
        .await
        .context("find out what this machine can do")?;
    let kinds = if options.faults.is_empty() { Kind::all() } else { options.faults.clone() };
    let missing = probed.missing(&kinds);
    let mut skipped: Vec<(String, String)> =
        probed.lacking().into_iter().map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect();
    skipped.extend(missing.iter().map(|missing| (format!("fault {}", missing.kind), missing.reason.clone())));
    for (name, reason) in &skipped {
        println!("skipped: {name}: {reason}");
    }
    let kinds: Vec<Kind> =
        kinds.into_iter().filter(|kind| !missing.iter().any(|missing| missing.kind == *kind)).collect();
    anyhow::ensure!(!kinds.is_empty(), "none of the faults asked for can be had on this machine");

    let recorder = Arc::new(Recorder::default());
    let mut course = Course {
        options: options.clone(),
        seed,
        stop,
        meter: Arc::new(Meter::new()),
        recorder: recorder.clone(),
        elections: Arc::default(),
        inflicted: Vec::new(),
        user: None,
        ended: None,
        states: probed.has("etcdctl").then(States::default),
        ending: Vec::new(),
    };
    let outcome = match course.drive(dir, groups, &probed, &kinds).await {
        // Of the cluster it says nothing.
        Err(error) if error.is::<Harness>() => return Err(error),
        outcome => outcome,
    };
    let mut history = recorder.with(std::mem::take).await;
    if history.operations.is_empty() {
        // Nothing was promised to anybody: this is no verdict.
        outcome?;
        anyhow::bail!("no client came to a call");
    }
    history.operations.sort_by_key(|operation| operation.begin);
    let mut summary = course.summary(&history, skipped);
    summary.promises.append(&mut course.ending);
    if let Some(States { compared, differ }) = course.states.take() {
        let promise = Promise::new("all masters have the same state by its hash", differ);
        summary.promises.push(Promise { looked_at: Some(compared), ..promise });
    }
    let heal = format!("everything heals without a hand, each time within {} s", HEAL_TIMEOUT.as_secs());
    // One that was taken back as soon as it was done had no time to.
    if !summary.interrupted {
        summary.promises.push(Promise::new("every fault took hold", summary.without_hold()));
    }
    let ended = outcome.err().map(|error| format!("{error:#}"));
    summary.promises.push(Promise::new(&heal, ended.into_iter().collect()));
    if let Some(report) = &options.report {
        std::fs::write(report, summary.report().page())
            .with_context(|| format!("write {}", report.display()))?;
        println!("report: {}", report.display());
    }
    if let (Some(file), true) = (&options.record, summary.passed()) {
        let minutes = summary.lasted.as_secs_f64() / 60.0;
        let run = survived::Run::Real { seed, minutes, faults: summary.report().survived() };
        survived::record(file, &report::commit_and_changes(), &run)?;
    }
    if !summary.passed() {
        let path = dir.join("history.json");
        let file = std::fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
        serde_json::to_writer(std::io::BufWriter::new(file), &history).context("write the history")?;
    }
    Ok(summary)
}

/// Behind an error: what failed is this program, or the machine it runs on.
#[derive(Debug, thiserror::Error)]
#[error("the harness could not do its part")]
struct Harness;

/// Cancelled by Ctrl-C, and by the end of who started this.
fn stopped() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let mut byte = [0];
        let mut input = tokio::io::stdin();
        let ended =
            async { while matches!(tokio::io::AsyncReadExt::read(&mut input, &mut byte).await, Ok(1..)) {} };
        tokio::select! { _ = tokio::signal::ctrl_c() => {}, () = ended => {} }
        eprintln!("interrupted: everything is taken back, and judged; again to leave at once");
        told.cancel();
        let _ = tokio::signal::ctrl_c().await;
        // With the first process of the namespaces everything in them ends.
        std::process::exit(130);
    });
    stop
}

/// Comparisons of the masters' states, after each fault and in the end.
#[derive(Default)]
struct States {
    compared: u64,
    differ: Vec<String>,
}

struct Course {
    options: Options,
    seed: u64,
    stop: CancellationToken,
    meter: Arc<Meter>,
    recorder: Arc<Recorder>,
    elections: Arc<Elections>,
    inflicted: Vec<Inflicted>,
    user: Option<Arc<User>>,
    /// When clients ended: what follows is looked at, and no time without writes.
    ended: Option<Duration>,
    /// What the masters' hashes say, where there is an `etcdctl` to compare them.
    states: Option<States>,
    /// What was looked at in the end, beside what clients were told.
    ending: Vec<Promise>,
}

impl Course {
    async fn drive(&mut self, dir: &Path, groups: Groups, probed: &Probed, kinds: &[Kind]) -> Result<()> {
        let begin = Instant::now();
        let count = self.options.masters;
        let hosts: Vec<String> = masters::hosts(count).into_iter().chain(balancers::hosts(probed)).collect();
        let network = Network::new(&hosts, dir).await.context("hosts and a switch")?;
        let masters = Masters::start(dir, count, &groups, probed, self.options.older.as_deref()).await?;
        let balancers = Balancers::start(dir, masters.all.len(), probed).await?;
        let world = Arc::new(World { network, masters, balancers, groups });
        world.masters.wait_healed(START_TIMEOUT).await.context("start")?;
        world.balancers.holder(&world.network, START_TIMEOUT).await.context("start")?;
        let api = load::api(&world, &self.meter)?;
        whole::create_replica_set(&api, START_TIMEOUT).await.context("start")?;
        let nodes = nodes(dir, &world)?;
        println!("{count} masters are up after {:.1} s", begin.elapsed().as_secs_f64());
        // What came before is not of the run: its times count from here.
        self.meter = Arc::new(Meter::new());
        let api = load::api(&world, &self.meter)?;
        if probed.has("kubectl") {
            self.user = Some(Arc::new(User::new(&world.masters.kubeconfig(), self.recorder.clone())));
        }
        let watching = CancellationToken::new();
        let (looking, meter) = (self.elections.clone(), self.meter.clone());
        let watcher = tokio::spawn(looking.watch(world.clone(), meter, watching.clone()));
        // With the data of all put back, it would be ahead of them.
        let archive = match self.options.rolled_back {
            true => None,
            false => Some(Archive::start(&world, dir).await.context("start a backup")?),
        };
        let mut done = self.under_load(&world, &api, kinds).await;
        if let (Some(archive), Ok(())) = (archive, &done) {
            self.ending.push(archive.judge(&world, dir).await);
            done = world.masters.wait_healed(HEAL_TIMEOUT).await;
        }
        watching.cancel();
        let _ = watcher.await;
        nodes.stop().await?;
        world.balancers.stop().await?;
        let stopped = world.masters.stop().await;
        let services = world.masters.all.iter().map(|master| &master.service).chain([&nodes]);
        self.ending.push(whole::nobody_panicked(services));
        done.and(stopped)
    }

    async fn under_load(
        &mut self,
        world: &World,
        api: &trireme_client::Client,
        kinds: &[Kind],
    ) -> Result<()> {
        let clients = self.options.clients;
        let mut load =
            Load::start(world, self.seed, clients, &self.meter, &self.recorder, self.user.clone()).await?;
        tokio::select! { () = self.stop.cancelled() => {}, () = tokio::time::sleep(CALM) => {} }
        let faulted = self.faults(world, kinds).await;
        if self.options.rolled_back {
            inflict::copy_all(world).await?;
            // What is to be lost.
            load::progress(&self.meter, What::StoreWrite, LOST_WRITES, HEAL_TIMEOUT).await?;
        }
        let well = self.heal(world).await;
        load.stop_clients().await?;
        self.ended = Some(self.meter.now());
        if self.options.rolled_back {
            inflict::put_all_back(world).await?;
        }
        faulted?;
        well?;
        // What was put back may lack what was wanted last, which nobody wants again.
        if !self.options.rolled_back {
            self.ending.push(load.settle(api).await);
        }
        load.finish(world, api).await?;
        self.compare_states(world).await;
        whole::whole_again(api).await?;
        match &self.user {
            Some(user) => user.in_peace().await,
            None => Ok(()),
        }
    }

    async fn faults(&mut self, world: &World, kinds: &[Kind]) -> Result<()> {
        let mut plan = Plan::new(self.seed, kinds);
        let end = self.meter.now() + Duration::from_secs_f64(self.options.minutes * 60.0);
        while self.meter.now() < end && !self.stop.is_cancelled() {
            let step = plan.next();
            tokio::select! { () = self.stop.cancelled() => break, () = tokio::time::sleep(step.pause) => {} }
            self.step(world, &step).await?;
        }
        Ok(())
    }

    async fn step(&mut self, world: &World, step: &Step) -> Result<()> {
        let number = self.inflicted.len() + 1;
        let began = self.meter.now();
        let (mut begun, mut failed) = (Vec::new(), None);
        for fault in &step.faults {
            let leader =
                match world.masters.leader(if begun.is_empty() { HEAL_TIMEOUT } else { BESIDE }).await {
                    Ok(leader) => leader,
                    // The fault beside it is to blame, and lasts no longer for that.
                    Err(error) if !begun.is_empty() => {
                        println!("      {} was left out: {error:#}", fault.kind);
                        break;
                    }
                    Err(error) => return Err(error.context(format!("before fault {number}, {}", fault.kind))),
                };
            match inflict::begin(world, fault, leader).await {
                Ok(fault_begun) => begun.push((fault.kind, fault_begun)),
                Err(error) => {
                    failed = Some(error.context(format!("fault {number}, {}", fault.kind)));
                    break;
                }
            }
        }
        if failed.is_none() {
            tokio::select! { () = self.stop.cancelled() => {}, () = tokio::time::sleep(step.lasts) => {} }
        }
        let mut what = Vec::new();
        for (kind, Begun { words, active, evidence }) in begun.into_iter().rev() {
            let effect = evidence.effect(world).await;
            if let Err(error) = inflict::end(world, active).await {
                failed.get_or_insert(error.context(format!("take fault {number} back")));
            }
            match effect {
                Ok(effect) => what.insert(0, Dealt::new(kind, words, effect)),
                Err(error) => {
                    failed.get_or_insert(error.context(format!("see what fault {number}, {kind}, does")));
                }
            }
        }
        if let Some(error) = failed {
            return Err(error.context(Harness));
        }
        let ended = self.meter.now();
        let words: Vec<String> =
            what.iter().map(|dealt| format!("{} of {}", dealt.kind, dealt.whom)).collect();
        self.inflicted.push(Inflicted { what, began, ended, healed: None });
        let well = self.heal(world).await;
        let now = self.meter.now();
        println!(
            "  {number:>2} at {:>5.1} s: {}, for {:.1} s{}",
            began.as_secs_f64(),
            words.join(" and "),
            (ended - began).as_secs_f64(),
            if well.is_ok() {
                format!(", healed after {:.1} s", (now - ended).as_secs_f64())
            } else {
                String::new()
            }
        );
        well.with_context(|| format!("after fault {number}, {}", words.join(" and ")))?;
        self.compare_states(world).await;
        if let Some(last) = self.inflicted.last_mut() {
            last.healed = Some(now);
        }
        Ok(())
    }

    async fn compare_states(&mut self, world: &World) {
        if let Some(states) = &mut self.states {
            states.compared += 1;
            states.differ.extend(whole::same_state(world).await);
        }
    }

    async fn heal(&self, world: &World) -> Result<()> {
        let begin = Instant::now();
        world.masters.wait_healed(HEAL_TIMEOUT).await?;
        world.balancers.holder(&world.network, HEAL_TIMEOUT.saturating_sub(begin.elapsed())).await?;
        for (what, writes) in [(What::StoreWrite, PROGRESS_WRITES), (What::ApiWrite, PROGRESS_API_WRITES)] {
            let within = HEAL_TIMEOUT.saturating_sub(begin.elapsed());
            load::progress(&self.meter, what, writes, within).await?;
        }
        Ok(())
    }

    fn summary(&self, history: &History, skipped: Vec<(String, String)>) -> Summary {
        let mut promises: Vec<Promise> = check::all(history)
            .into_iter()
            .map(|checked| Promise {
                name: checked.name.to_owned(),
                violations: checked.violations,
                looked_at: Some(checked.looked_at),
                undecided: checked.undecided,
            })
            .collect();
        promises.push(Promise::new("one leader per term", self.elections.violations()));
        let faults: Vec<String> = self.options.faults.iter().map(Kind::to_string).collect();
        let faults =
            if faults.is_empty() { String::new() } else { format!(" --faults {}", faults.join(",")) };
        let older = self.options.older.as_ref();
        let older = older.map_or(String::new(), |older| format!(" --older {}", older.display()));
        Summary {
            seed: self.seed,
            commit: report::commit(),
            repeat: format!(
                "trireme-chaos real --seed {} --minutes {} --masters {} --clients {}{faults}{older}",
                self.seed, self.options.minutes, self.options.masters, self.options.clients
            ),
            machine: machine(),
            masters: usize::from(self.options.masters),
            lasted: self.ended.unwrap_or_else(|| self.meter.now()),
            samples: self.meter.samples(),
            inflicted: self.inflicted.clone(),
            elections: self.elections.all(),
            promises,
            skipped,
            counts: history.tally().to_string(),
            kubectl: self.user.as_ref().map(|user| user.tally.lock().clone()),
            interrupted: self.stop.is_cancelled(),
        }
    }
}

/// Nodes that play pods, among the clients.
fn nodes(dir: &Path, world: &World) -> Result<Service> {
    let binary = crate::cluster::binary()?;
    let (pki, data) = (world.masters.pki().to_owned(), dir.join("nodes"));
    Ok(Service::start("nodes", dir.join("nodes.log"), move || {
        let mut command = tokio::process::Command::new(&binary);
        command
            .args(["agent", "--server", &format!("https://{VIRTUAL_ADDRESS}:6443"), "--hollow", NODES])
            .arg("--pki-dir")
            .arg(&pki)
            .arg("--data-dir")
            .arg(&data);
        command
    }))
}

fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("Linux {}, {cores} cores", kernel.trim())
}
