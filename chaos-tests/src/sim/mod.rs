//! Simulated worlds: members of the store on a simulated network, disk and clock, in one thread, as a
//! function of a seed.
//!
//! ```text
//!   seed ─► plan of faults ─┐
//!                           ▼
//!   clients ──► network ──► members (raft and store as they are) ──► logs and states that can be lost
//!      │                        clock and chance: interposed
//!      └──► history ──► checkers
//! ```
//!
//! **What is real**: raft, the log's format and recovery, the store, and the messages between members
//! as gRPC encodes them. **What is simulated**: time, the network below HTTP/2, disks, processes. What
//! is left out: TLS, HTTP/2, the etcd face, RocksDB, damage of the state (its tables' checksums are
//! RocksDB's).

mod cluster;
mod control;
mod faults;
mod fuse;
mod host;
mod interposed;
mod kv;
mod load;
mod network;
mod plan;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod promises;
mod remote;
mod room;
mod run;
mod shrink;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use parking_lot::Mutex;

use crate::check::VIOLATIONS_SHOWN_MAX;
use crate::report::{commit, commit_and_changes, survived};
pub use run::Verdict;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The one world to run
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// The worlds to run: FIRST..END
    #[arg(long, value_parser = range)]
    pub seeds: Option<Range<u64>>,
    /// Simulated minutes of each
    #[arg(long, default_value_t = 5)]
    pub minutes: u64,
    /// A whole control plane: API servers, controllers, schedulers and hollow nodes, too
    #[arg(long)]
    pub control_plane: bool,
    /// Kinds of faults to leave out
    #[arg(long, value_delimiter = ',', value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(plan::KINDS))]
    pub without: Vec<String>,
    /// The first fault of the plan that is inflicted
    #[arg(long)]
    pub from_step: Option<usize>,
    /// The last one
    #[arg(long)]
    pub to_step: Option<usize>,
    /// Run each twice, and fail where the two differ
    #[arg(long)]
    pub twice: bool,
    /// Print what is done to the world, and when
    #[arg(long)]
    pub verbose: bool,
    /// Have disks forget what they said is synced, which must be found
    #[arg(long, hide = true)]
    pub lying_disks: bool,
    /// Worlds at a time [default: the machine's cores]
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Write what was survived into the row of this commit of the table in FILE, such as docs/survived.md
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write everything that clients of the one world were told into FILE, as JSON
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub history: Option<PathBuf>,
    /// Do not look for a smaller way to a failure
    #[arg(long)]
    pub no_shrink: bool,
    /// Run the world in this process, and print its verdict as JSON
    #[arg(long, hide = true, requires = "seed")]
    pub in_this_process: bool,
    /// Bug to plant
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    pub plant: Option<String>,
}

impl Options {
    /// What a world's process, or a user who repeats it, is told.
    fn of_world(&self, seed: u64) -> Vec<String> {
        let mut args = vec!["--seed".to_owned(), seed.to_string()];
        args.extend(["--minutes".to_owned(), self.minutes.to_string()]);
        args.extend(self.control_plane.then(|| "--control-plane".to_owned()));
        if !self.without.is_empty() {
            args.extend(["--without".to_owned(), self.without.join(",")]);
        }
        for (name, step) in [("--from-step", self.from_step), ("--to-step", self.to_step)] {
            args.extend(step.map(|step| format!("{name}={step}")));
        }
        args.extend(self.lying_disks.then(|| "--lying-disks".to_owned()));
        args.extend(self.twice.then(|| "--twice".to_owned()));
        #[cfg(feature = "planted-bugs")]
        args.extend(self.plant.iter().map(|bug| format!("--plant={bug}")));
        args
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parse = |number: &str| number.parse::<u64>().map_err(|error| format!("{number:?}: {error}"));
    let (first, end) = text.split_once("..").ok_or("FIRST..END is wanted, such as 1..20")?;
    let range = parse(first)?..parse(end)?;
    if range.is_empty() { Err(format!("{text} has no seed in it")) } else { Ok(range) }
}

/// Runs worlds; whether all of them kept every promise.
pub fn run(options: &Options) -> Result<bool> {
    if let (true, Some(seed)) = (options.in_this_process, options.seed) {
        let options = options.clone();
        limit_cpu(options.minutes)?;
        #[cfg(feature = "planted-bugs")]
        planted::plant(options.plant.as_deref())?;
        // Its name is drawn here: on the world's thread it would be another world's of the same seed.
        let folder = tempfile::tempdir().context("temporary folder")?;
        let path = folder.path().to_owned();
        // On a thread of its own: this one has drawn already what its maps are ordered by.
        let world = std::thread::spawn(move || run::world(seed, &options, &path));
        let verdict =
            world.join().map_err(|_| anyhow::anyhow!("the world of seed {seed} ended by a panic"))??;
        println!("{}", serde_json::to_string(&verdict)?);
        return Ok(true);
    }
    let seeds = match (options.seed, &options.seeds) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => seeds.clone(),
        (None, None) => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let seed = since.unwrap_or_default().as_secs();
            seed..seed + 1
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (todo, total) = (Mutex::new(seeds.clone()), Mutex::new(Total::default()));
    std::thread::scope(|scope| {
        let work = || {
            while let Some(seed) = { todo.lock().next() } {
                let verdict = verdict(seed, options);
                total.lock().add(seed, options, verdict);
            }
        };
        for _ in 0..options.jobs.unwrap_or(cores).max(1) {
            scope.spawn(work);
        }
    });
    let total = total.into_inner();
    println!("{total}");
    if let Some(file) = &options.record {
        let run = survived::Run::Simulated {
            control_plane: options.control_plane,
            seeds: total.seeds(&seeds),
            hours: total.simulated.as_secs_f64() / 3600.0,
            per_core_hour: total.per_core_hour(),
            faults: total.faults.values().sum(),
        };
        survived::record(file, &commit_and_changes(), &run)?;
    }
    for seed in &total.failed {
        let least = if options.no_shrink { options.clone() } else { shrink::shrink(*seed, options) };
        println!(
            "FAILED at commit {}; repeat with\n  target/release/trireme-chaos sim {} --verbose",
            commit(),
            least.of_world(*seed).join(" ")
        );
    }
    Ok(total.failed.is_empty())
}

/// What a world came to; with `--twice` only if it comes to the same again.
fn verdict(seed: u64, options: &Options) -> Result<Verdict> {
    let verdict = in_a_process(seed, options)?;
    if options.twice {
        let again = in_a_process(seed, options)?.trace;
        ensure!(again == verdict.trace, "two runs differ: their traces are {} and {again}", verdict.trace);
    }
    Ok(verdict)
}

/// A world has a process of its own: what tokio counts in a process would show.
fn in_a_process(seed: u64, options: &Options) -> Result<Verdict> {
    let mut world = Command::new(std::env::current_exe().context("this program's path")?);
    world.arg("sim").args(options.of_world(seed)).arg("--in-this-process");
    world.args(options.verbose.then_some("--verbose"));
    if let Some(history) = &options.history {
        world.arg("--history").arg(history);
    }
    let mut world = world.stdout(Stdio::piped()).spawn().context("start a process for a world")?;
    // One that waits for ever without using a core; the others end at the limit of their CPU time.
    let time = Duration::from_secs(WORLD_WAITS_MAX_S * options.minutes.max(1));
    let deadline = std::time::Instant::now() + time;
    let mut out = world.stdout.take().context("what a world's process says")?;
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut said).map(|_| said)
    });
    let status = loop {
        if let Some(status) = world.try_wait()? {
            break status;
        }
        if std::time::Instant::now() > deadline {
            world.kill()?;
            world.wait()?;
            return Err(WorldEnded::Endless(format!("killed after {} s", time.as_secs())).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    match status.signal() {
        Some(signal) if signal == Signal::SIGXCPU as i32 => {
            return Err(WorldEnded::Endless("it used too much of a core".into()).into());
        }
        Some(signal) if signal == Signal::SIGABRT as i32 => return Err(WorldEnded::Aborted.into()),
        _ => {}
    }
    ensure!(status.success(), "its process ended with {status}");
    let said = reader.join().map_err(|_| anyhow::anyhow!("what a world's process says was not read"))??;
    serde_json::from_slice(&said).context("what a world's process says")
}

/// What a simulated minute may take of a core: many times what it does take.
const WORLD_CPU_MAX_S: u64 = 120;
/// What it may take on a machine that does much else.
const WORLD_WAITS_MAX_S: u64 = 1200;

/// How a world ends that comes to no verdict, by what is in it.
#[derive(Debug, thiserror::Error)]
enum WorldEnded {
    #[error("it does not end: {0}")]
    Endless(String),
    #[error("it ended by a panic or an assertion")]
    Aborted,
}

/// A world that hangs is a failure of the code in it, or of the simulation, and not of a machine that
/// is busy: its process ends when it has used so much of a core.
fn limit_cpu(minutes: u64) -> Result<()> {
    let seconds = WORLD_CPU_MAX_S * minutes.max(1);
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 5).context("limit the CPU time of a world")
}

/// Of the worlds that kept every promise, and which did not.
#[derive(Default)]
struct Total {
    simulated: Duration,
    took: Duration,
    faults: BTreeMap<String, usize>,
    failed: Vec<u64>,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = |time: Duration| time.as_secs_f64() / 3600.0;
        let faults: Vec<_> = self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        write!(
            f,
            "survived: {:.2} simulated hours in {:.3} hours of a core, {:.0} in each; {} faults: {}",
            hours(self.simulated),
            hours(self.took),
            self.per_core_hour(),
            self.faults.values().sum::<usize>(),
            faults.join(", ")
        )
    }
}

impl Total {
    fn per_core_hour(&self) -> f64 {
        self.simulated.as_secs_f64() / self.took.as_secs_f64().max(1e-9)
    }

    fn seeds(&self, seeds: &Range<u64>) -> String {
        let failed = match self.failed.len() {
            0 => String::new(),
            count => format!(" ({count} failed)"),
        };
        format!("{}..{}{failed}", seeds.start, seeds.end)
    }

    fn add(&mut self, seed: u64, options: &Options, verdict: Result<Verdict>) {
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => {
                println!("seed {seed}: {error:#}");
                self.failed.push(seed);
                return;
            }
        };
        let twice = if options.twice { ", twice the same" } else { "" };
        println!("seed {seed}: {verdict}{twice}");
        for (name, violations) in &verdict.violations {
            println!("  FAIL {name}");
            for violation in violations.iter().take(VIOLATIONS_SHOWN_MAX) {
                println!("       {violation}");
            }
        }
        if !verdict.violations.is_empty() {
            self.failed.push(seed);
            return;
        }
        self.simulated += verdict.simulated;
        self.took += verdict.took;
        for (kind, count) in verdict.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}
