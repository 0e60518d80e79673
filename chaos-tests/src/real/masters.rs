//! The masters: the release binary on hosts of its own, as an operator sets it up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use trireme_store::{Kv, Status};

use super::cgroups::{Controller, Groups};
use super::clock::Clock;
use super::disk::{Disk, Kind};
use super::network::{VIRTUAL_ADDRESS, address};
use super::probe::Probed;
use super::process::Service;
use super::tools::{namespace_path, run};
use crate::cluster::binary;

const API_PORT: u16 = 6443;
const STORE_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
/// Under load something is always about to be applied.
const LAG_ENTRIES: u64 = 300;

pub(super) struct Master {
    pub host: String,
    pub name: String,
    pub service: Service,
    pub disk: Disk,
    pub clock: Option<Clock>,
    /// It runs the older of two releases.
    pub is_older: Arc<AtomicBool>,
    /// These two; the same where there is one.
    newer: PathBuf,
    older: PathBuf,
    /// A connection of its own, for its status alone.
    status: Arc<dyn Kv>,
}

pub(super) struct Masters {
    pub all: Vec<Master>,
    pki: PathBuf,
}

fn host(n: u8) -> String {
    format!("m{n}")
}

/// Names of the hosts of so many masters.
pub(super) fn hosts(count: u8) -> Vec<String> {
    (1..=count).map(host).collect()
}

impl Master {
    /// What it is started as.
    pub(super) fn program(&self) -> &Path {
        if self.is_older.load(Ordering::Relaxed) { &self.older } else { &self.newer }
    }
}

impl Masters {
    /// Starts them; they need not be well yet.
    /// Where there is an `older` release, they begin with that.
    pub(super) async fn start(
        dir: &Path,
        count: u8,
        groups: &Groups,
        probed: &Probed,
        older: Option<&Path>,
    ) -> Result<Masters> {
        let binary = binary()?;
        let pki = dir.join("pki");
        let server = format!("https://{VIRTUAL_ADDRESS}:{API_PORT}");
        let folder = pki.to_string_lossy().into_owned();
        let program = binary.to_string_lossy().into_owned();
        run(&program, &["pki", "--dir", &folder, "--server", &server])
            .await
            .context("make the authorities")?;
        let members: Vec<_> =
            (1..=count).map(|n| format!("master-{n}={}:{PEER_PORT}", address(&host(n)))).collect();
        let mut all = Vec::new();
        for n in 1..=count {
            let (host, name) = (host(n), format!("master-{n}"));
            let kind = if probed.has("loop") { Kind::Loop } else { Kind::Memory };
            let disk = Disk::new(kind, dir.join(&host)).await?;
            let clock = match &probed.clock {
                Some(library) => Some(Clock::new(library.clone(), dir, &host)?),
                None => None,
            };
            let mut folders = Vec::new();
            for (controller, name) in
                [(Controller::Freezer, "freezer"), (Controller::Memory, "memory"), (Controller::Cpu, "cpu")]
            {
                if probed.has(name) {
                    folders.push(groups.make(controller, &host)?.to_string_lossy().into_owned());
                }
            }
            let is_older = Arc::new(AtomicBool::new(older.is_some()));
            let older = older.map_or_else(|| binary.clone(), Path::to_owned);
            let start = Start {
                binary: binary.clone(),
                older: older.clone(),
                is_older: is_older.clone(),
                host: host.clone(),
                name: name.clone(),
                data: disk.dir.join("data"),
                pki: pki.clone(),
                members: members.join(","),
                groups: folders.join(" "),
                environment: clock.as_ref().map(Clock::environment).unwrap_or_default(),
            };
            let service = Service::start(&name, dir.join(format!("{name}.log")), move || start.command());
            let store = format!("{}:{STORE_PORT}", address(&host));
            let status = crate::remote::connect(&pki, "store-ca.crt", "store-client", vec![store])?;
            let newer = binary.clone();
            all.push(Master { host, name, service, disk, clock, is_older, newer, older, status });
        }
        Ok(Masters { all, pki })
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.pki.join("admin.kubeconfig")
    }

    pub(super) fn pki(&self) -> &Path {
        &self.pki
    }

    /// `host:port` of the stores' client faces.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.all.iter().map(|master| format!("{}:{STORE_PORT}", address(&master.host))).collect()
    }

    /// A client of the store through these masters, with connections of its own.
    pub(super) fn store_at(&self, endpoints: Vec<String>) -> Result<Arc<dyn Kv>> {
        crate::remote::connect(&self.pki, "store-ca.crt", "store-client", endpoints)
    }

    /// What each says of itself; `None` of those that do not answer.
    pub(super) async fn status(&self) -> Vec<(&str, Option<Status>)> {
        let answers = self.all.iter().map(|master| async {
            let answer = tokio::time::timeout(STATUS_TIMEOUT, master.status.status()).await;
            (master.name.as_str(), answer.ok().and_then(Result::ok))
        });
        futures::future::join_all(answers).await
    }

    /// Place in `all` of the master that leads, waiting until one does.
    pub(super) async fn leader(&self, within: Duration) -> Result<usize> {
        let deadline = Instant::now() + within;
        loop {
            let said = self.status().await;
            // Of two that say so the one of the later term leads.
            let leads = |status: &Status| status.leader_id != 0 && status.leader_id == status.member_id;
            let found = said
                .iter()
                .enumerate()
                .filter_map(|(n, (_, status))| Some((status.as_ref().filter(|s| leads(s))?.term, n)))
                .max();
            if let Some((_, n)) = found {
                return Ok(n);
            }
            ensure!(Instant::now() < deadline, "no leader within {} s", within.as_secs());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until every master answers, votes, follows one leader and has applied what it has.
    pub(super) async fn wait_healed(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            match self.problem().await {
                None => return Ok(()),
                Some(problem) if Instant::now() >= deadline => {
                    bail!("not healed after {} s: {problem}", within.as_secs())
                }
                Some(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn problem(&self) -> Option<String> {
        for master in &self.all {
            if let Some(said) = master.service.given_up() {
                return Some(format!("{} is not started again: {said}", master.name));
            }
        }
        let mut leaders = BTreeSet::new();
        let said = self.status().await;
        let most = said.iter().filter_map(|(_, status)| Some(status.as_ref()?.last_log_index)).max();
        let Some(most) = most else { return Some("no master answers".to_owned()) };
        for (name, status) in said {
            let Some(status) = status else { return Some(format!("{name} does not answer")) };
            if status.is_learner {
                return Some(format!("{name} learns"));
            }
            if status.applied_index + LAG_ENTRIES < most {
                return Some(format!("{name} has applied {} of {most}", status.applied_index));
            }
            leaders.insert(status.leader_id);
        }
        (leaders.len() != 1 || leaders.contains(&0)).then(|| format!("leaders: {leaders:?}"))
    }

    /// Ends all of them at once, in order.
    pub(super) async fn stop(&self) -> Result<()> {
        let ends = futures::future::join_all(self.all.iter().map(|master| master.service.stop())).await;
        ends.into_iter().collect::<Result<Vec<_>>>()?;
        for master in &self.all {
            master.disk.unmount().await?;
        }
        Ok(())
    }
}

/// How one master is started, time and again.
struct Start {
    binary: PathBuf,
    older: PathBuf,
    is_older: Arc<AtomicBool>,
    host: String,
    name: String,
    data: PathBuf,
    pki: PathBuf,
    members: String,
    groups: String,
    environment: Vec<(String, String)>,
}

/// Into its groups first, so that every thread is in them, and on its host; then it is the program.
const ENTER: &str = r#"for group in $TRIREME_CHAOS_GROUPS; do echo $$ > "$group/cgroup.procs" || exit 1; done
unset TRIREME_CHAOS_GROUPS
exec nsenter "$@""#;

impl Start {
    fn command(&self) -> Command {
        let address = address(&self.host);
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER, "sh", &format!("--net={}", namespace_path(&self.host)), "--", "env"])
            .args(self.environment.iter().map(|(name, value)| format!("{name}={value}")))
            .arg(if self.is_older.load(Ordering::Relaxed) { &self.older } else { &self.binary })
            .args(["server", "--name", &self.name, "--data-dir"])
            .arg(&self.data)
            .arg("--pki-dir")
            .arg(&self.pki)
            .args(["--advertise-address", &address, "--api-san", VIRTUAL_ADDRESS])
            .args(["--peer-listen", &format!("{address}:{PEER_PORT}")])
            .args(["--client-listen", &format!("{address}:{STORE_PORT}")])
            .args(["--api-listen", &format!("0.0.0.0:{API_PORT}")])
            .args(["--initial-cluster", &self.members])
            .env("TRIREME_CHAOS_GROUPS", &self.groups);
        command
    }
}
