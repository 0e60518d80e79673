//! Groups of processes that can be frozen and limited: one per master, in the hierarchy of either
//! version that the machine has. These outlive a run that is killed, so they carry its number.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tools::put;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "trireme-chaos-";
const PERIOD_US: u32 = 100_000;
const REMOVAL_TRIES: u32 = 50;

/// What can be done to a group. Version 1 has a hierarchy for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Freezer,
    Memory,
    Cpu,
}

pub(super) const ALL: [Controller; 3] = [Controller::Freezer, Controller::Memory, Controller::Cpu];

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Freezer => "freezer",
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
        }
    }

    fn version_1(self) -> Option<PathBuf> {
        let root = Path::new(ROOT).join(self.name());
        root.join("cgroup.procs").exists().then_some(root)
    }

    /// Where its groups are made.
    fn root(self) -> Result<PathBuf> {
        if let Some(root) = self.version_1() {
            return Ok(root);
        }
        let root = Path::new(ROOT);
        let Ok(has) = std::fs::read_to_string(root.join("cgroup.controllers")) else {
            bail!("no cgroups of either version in {ROOT}");
        };
        if self != Controller::Freezer && !has.split_whitespace().any(|name| name == self.name()) {
            bail!("no cgroup controller {} in {ROOT}", self.name());
        }
        Ok(root.to_owned())
    }
}

/// The groups of one run.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    run: u32,
}

impl Groups {
    pub(super) fn new(run: u32) -> Groups {
        Groups { run }
    }

    fn dir(&self, controller: Controller, host: &str) -> Result<PathBuf> {
        Ok(controller.root()?.join(format!("{PREFIX}{}", self.run)).join(host))
    }

    /// Makes the group, and says why not where that cannot be.
    pub(super) fn make(&self, controller: Controller, host: &str) -> Result<PathBuf> {
        let dir = self.dir(controller, host)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        if controller.version_1().is_none() && controller != Controller::Freezer {
            for above in dir.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
                put(above.join("cgroup.subtree_control"), format!("+{}", controller.name()))?;
            }
        }
        Ok(dir)
    }

    pub(super) fn freeze(&self, host: &str, frozen: bool) -> Result<()> {
        let dir = self.dir(Controller::Freezer, host)?;
        match (Controller::Freezer.version_1(), frozen) {
            (Some(_), true) => put(dir.join("freezer.state"), "FROZEN"),
            (Some(_), false) => put(dir.join("freezer.state"), "THAWED"),
            (None, frozen) => put(dir.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
        }
    }

    pub(super) fn is_frozen(&self, host: &str) -> Result<bool> {
        let dir = self.dir(Controller::Freezer, host)?;
        if Controller::Freezer.version_1().is_some() {
            return Ok(read(dir.join("freezer.state"))?.trim() == "FROZEN");
        }
        Ok(entry(dir.join("cgroup.events"), "frozen")? == 1)
    }

    /// How many times its processes have had to wait for their share of a core.
    pub(super) fn throttled(&self, host: &str) -> Result<u64> {
        entry(self.dir(Controller::Cpu, host)?.join("cpu.stat"), "nr_throttled")
    }

    /// How many times its processes were not given memory at once.
    pub(super) fn memory_refused(&self, host: &str) -> Result<u64> {
        let dir = self.dir(Controller::Memory, host)?;
        if Controller::Memory.version_1().is_some() {
            return number(dir.join("memory.failcnt"));
        }
        entry(dir.join("memory.events"), "max")
    }

    /// So many percent of one core.
    pub(super) fn limit_cpu(&self, host: &str, percent: Option<u32>) -> Result<()> {
        let dir = self.dir(Controller::Cpu, host)?;
        let quota = percent.map(|percent| PERIOD_US / 100 * percent);
        if Controller::Cpu.version_1().is_some() {
            put(dir.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            return put(dir.join("cpu.cfs_quota_us"), quota.map_or("-1".into(), |quota| quota.to_string()));
        }
        let quota = quota.map_or("max".into(), |quota| quota.to_string());
        put(dir.join("cpu.max"), format!("{quota} {PERIOD_US}"))
    }

    pub(super) fn memory_used(&self, host: &str) -> Result<u64> {
        let dir = self.dir(Controller::Memory, host)?;
        let first = Controller::Memory.version_1().is_some();
        number(dir.join(if first { "memory.usage_in_bytes" } else { "memory.current" }))
    }

    pub(super) fn limit_memory(&self, host: &str, bytes: Option<u64>) -> Result<()> {
        let dir = self.dir(Controller::Memory, host)?;
        if Controller::Memory.version_1().is_some() {
            let limit = bytes.map_or("-1".into(), |bytes| bytes.to_string());
            return put(dir.join("memory.limit_in_bytes"), limit);
        }
        put(dir.join("memory.max"), bytes.map_or("max".into(), |bytes| bytes.to_string()))
    }
}

fn read(path: PathBuf) -> Result<String> {
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn number(path: PathBuf) -> Result<u64> {
    let text = read(path.clone())?;
    text.trim().parse().with_context(|| format!("{} has no number", path.display()))
}

/// The number behind `name` in a file with a name and a number on each line.
fn entry(path: PathBuf, name: &str) -> Result<u64> {
    let text = read(path.clone())?;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    found.with_context(|| format!("{} has no {name}", path.display()))
}

/// Removes the groups of one run, with the processes that are left in them; says what stays.
pub(super) fn remove(run: u32) {
    for controller in ALL {
        let Ok(root) = controller.root() else { continue };
        let dir = root.join(format!("{PREFIX}{run}"));
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                empty(&entry.path());
            }
        }
        if dir.exists() {
            empty(&dir);
        }
    }
}

fn empty(dir: &Path) {
    for _ in 0..REMOVAL_TRIES {
        if std::fs::remove_dir(dir).is_ok() {
            return;
        }
        let _ = put(dir.join("freezer.state"), "THAWED");
        // Its processes are of this run alone: it was made for them.
        let processes = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    eprintln!("{} could not be removed", dir.display());
}

/// Numbers of the runs whose groups are there.
pub(super) fn runs() -> Vec<u32> {
    let mut runs: Vec<u32> = ALL
        .into_iter()
        .filter_map(|controller| controller.root().ok())
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok())
        .collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}
