//! One world: traffic, faults, healing, checks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use trireme_raft::Tls;
use xxhash_rust::xxh3::xxh3_64;

use super::cluster::Sim;
use super::control::Keys;
use super::load::Load;
use super::plan::Plan;
use super::{Options, interposed};
use crate::check;
use crate::history::{History, Recorder, Tally};

const START: Duration = Duration::from_secs(30);
/// After the last fault all must be well within this.
pub(super) const HEAL: Duration = Duration::from_secs(60);
pub(super) const HEALS: &str = "the world heals";
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
    doubts: Doubts,
    members: usize,
    /// Of the plan, whether they were done or left out.
    pub steps: usize,
    pub faults: BTreeMap<String, usize>,
    tally: Tally,
    messages: u64,
}

/// Of which promises the world says nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Doubts {
    nothing_to_judge: Vec<String>,
    undecided: Vec<String>,
}

impl fmt::Display for Doubts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A world of the store has nothing of the API: there are many of these.
        match self.nothing_to_judge.len() {
            0 => {}
            few @ 1..=3 => write!(f, "; {few} with nothing to judge: {}", self.nothing_to_judge.join(", "))?,
            many => write!(f, "; {many} with nothing to judge")?,
        }
        if self.undecided.is_empty() { Ok(()) } else { write!(f, "; {}", self.undecided.join("; ")) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        write!(
            f,
            "{} members, {:.0} s, {}; {}, {} messages{}; trace {}: {}",
            self.members,
            self.simulated.as_secs_f64(),
            faults.join(", "),
            self.tally,
            self.messages,
            self.doubts,
            self.trace,
            if self.violations.is_empty() { "ok" } else { "FAILED" }
        )
    }
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
    let keys = options.control_plane.then(Keys::new).transpose()?;
    let recorder = Arc::new(Recorder::default());
    let mut sim = Sim::new(seed, folder, certificates()?, keys, recorder.clone(), options.clone());
    let outcome = sim.play(seed, Duration::from_secs(options.minutes * 60), &recorder);
    let ended = outcome.err().map(|error| format!("{error:#}"));
    let history = futures::executor::block_on(recorder.with(std::mem::take));
    if let Some(file) = &options.history {
        let file = std::fs::File::create(file).with_context(|| format!("--history {}", file.display()))?;
        serde_json::to_writer(std::io::BufWriter::new(file), &history).context("write the history")?;
    }
    let checked = check::all(&history);
    let nothing = checked.iter().filter(|checked| checked.looked_at == 0).map(|checked| checked.name);
    let undecided = checked.iter().filter(|checked| !checked.undecided.is_empty());
    let doubts = Doubts {
        nothing_to_judge: nothing.map(str::to_owned).collect(),
        undecided: undecided.map(|checked| format!("{}: {}", checked.name, checked.undecided)).collect(),
    };
    let mut violations: Vec<(String, Vec<String>)> = checked
        .into_iter()
        .map(|checked| (checked.name.to_owned(), checked.violations))
        .filter(|(_, wrong)| !wrong.is_empty())
        .collect();
    for (promise, broken) in std::mem::take(&mut sim.promises.broken) {
        violations.push((promise.to_owned(), broken));
    }
    violations.extend(ended.map(|why| (HEALS.to_owned(), vec![why])));
    Ok(Verdict {
        simulated: sim.world.now(),
        took: processor_time()?,
        trace: format!("{:016x}", trace(&history)?),
        violations,
        doubts,
        members: sim.founders,
        steps: sim.steps,
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

fn trace(history: &History) -> Result<u64> {
    // Serialised, since that has an order and nothing that differs from run to run.
    Ok(xxh3_64(&serde_json::to_vec(history).context("the history as JSON")?))
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

impl Sim {
    /// Everything, from the first start to the last look.
    fn play(&mut self, seed: u64, time: Duration, recorder: &Arc<Recorder>) -> Result<()> {
        for host in self.present() {
            self.start(host);
        }
        self.wait("a leader", START, |sim| sim.leader().is_some())?;
        let load = Load::start(self, seed, recorder);
        let mut plan = Plan::new(seed, &self.options.without, self.keys.is_some());
        while self.world.now() < time {
            let Some(step) = plan.next() else {
                self.pass(time.saturating_sub(self.world.now()))?;
                break;
            };
            self.pass(step.pause)?;
            self.steps += 1;
            let (first, last) = (self.options.from_step, self.options.to_step);
            if first.is_none_or(|first| self.steps >= first) && last.is_none_or(|last| self.steps <= last) {
                self.inflict(step, !plan.overlaps)?;
            }
            if !plan.overlaps && !step.fault.is_of_nodes() {
                self.pass(step.lasts)?;
            }
        }
        self.look_at_logs()?;
        self.heal();
        self.wait("every member to follow one leader and to have what it has", HEAL, Sim::is_level)?;
        self.pass(AFTER)?;
        load.finish(self)?;
        // The state itself, of which clients see a part: compared where all have applied as much. A
        // control plane never rests.
        if self.keys.is_none() {
            self.wait("all members to stand at one index", HEAL, |sim| {
                sim.states().is_some_and(|states| states.iter().all(|(index, _)| *index == states[0].0))
            })?;
        }
        self.pass(Duration::from_millis(100))
    }
}
