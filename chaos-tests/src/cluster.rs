//! A cluster of real processes, started with `trireme up` as a user would.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use trireme_client::{Client, Kubeconfig};
use trireme_store::Kv;

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// As `trireme up` lays out its ports.
const PORTS_PER_PROCESS: u16 = 10;
const PORTS: u16 = 100;

/// The first port of a block that nobody listens on; below those that the kernel gives out.
pub fn free_ports() -> Result<u16> {
    let blocks = 200;
    let first = std::process::id() % blocks;
    (0..blocks)
        .map(|n| 10_000 + ((first + n) % blocks) as u16 * PORTS)
        .find(|&start| (start..start + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .with_context(|| format!("no block of {PORTS} free ports on 127.0.0.1"))
}

pub struct Master {
    pub name: String,
    /// `host:port` of the store's client face.
    pub client: String,
}

/// Stops its processes when dropped.
pub struct Cluster {
    pub dir: PathBuf,
    pub port: u16,
    masters: u16,
    supervisor: Option<Child>,
    /// From the start of the command to its word that all is ready.
    pub started_in: Duration,
}

/// The `trireme` binary: `$TRIREME_BIN`, or the one beside this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRIREME_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe().context("find this program")?;
    // Tests run from `deps`, one folder below the binaries.
    for folder in here.ancestors().skip(1).take(2) {
        let path = folder.join("trireme");
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!(
        "no trireme binary beside {}: build it with `cargo build --release --package trireme`",
        here.display()
    );
}

impl Cluster {
    /// Starts `masters` masters and `nodes` hollow nodes, or resumes what lies in `dir`.
    pub async fn start(dir: &Path, port: u16, masters: u16, nodes: u32) -> Result<Cluster> {
        let begin = Instant::now();
        let mut supervisor = Command::new(binary()?)
            .arg("up")
            .arg("--dir")
            .arg(dir)
            .args(["--port", &port.to_string()])
            .args(["--masters", &masters.to_string()])
            .args(["--nodes", &nodes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run trireme up")?;
        let stdout = supervisor.stdout.take().context("stdout of trireme up")?;
        let stderr = supervisor.stderr.take().context("stderr of trireme up")?;
        let said = Arc::new(std::sync::Mutex::new(String::new()));
        let log = said.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::debug!("up: {line}");
                let mut said = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with("export KUBECONFIG=") {
                    return Ok(true);
                }
            }
            Ok::<_, anyhow::Error>(false)
        };
        let ready = tokio::time::timeout(START_TIMEOUT, ready).await.unwrap_or(Ok(false))?;
        if !ready {
            let said = said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            bail!("the cluster did not come up:\n{said}");
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let started_in = begin.elapsed();
        Ok(Cluster { dir: dir.to_owned(), port, masters, supervisor: Some(supervisor), started_in })
    }

    pub fn masters(&self) -> Vec<Master> {
        (1..=self.masters)
            .map(|n| Master {
                name: format!("master-{n}"),
                client: format!("127.0.0.1:{}", self.port + n * PORTS_PER_PROCESS + 1),
            })
            .collect()
    }

    /// The API through the balancer, as the administrator.
    pub fn api(&self) -> Result<Client> {
        let config = Kubeconfig::load(&self.dir.join("admin.kubeconfig"), None)?;
        Ok(Client::new(config.transport("trireme-chaos")?))
    }

    /// The store through all of its masters.
    pub fn store(&self) -> Result<Arc<dyn Kv>> {
        let endpoints = self.masters().into_iter().map(|m| m.client).collect();
        self.store_at(endpoints)
    }

    /// The store through these `host:port` alone.
    pub fn store_at(&self, endpoints: Vec<String>) -> Result<Arc<dyn Kv>> {
        crate::remote::connect(&self.dir.join("pki"), "store-ca.crt", "store-client", endpoints)
    }

    pub fn pid(&self, process: &str) -> Result<Pid> {
        let path = self.dir.join(process).join("pid");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Pid::from_raw(text.trim().parse().with_context(|| format!("{} holds no pid", path.display()))?))
    }

    /// `kill -9`; a process that is gone already is as good.
    pub fn kill(&self, pid: Pid) -> Result<()> {
        match kill(pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(anyhow!("kill {pid}: {errno}")),
        }
    }

    /// Stands still for `time`, then goes on.
    pub async fn freeze(&self, pid: Pid, time: Duration) -> Result<()> {
        kill(pid, Signal::SIGSTOP).with_context(|| format!("stop {pid}"))?;
        tokio::time::sleep(time).await;
        let _ = kill(pid, Signal::SIGCONT);
        Ok(())
    }

    /// The master that leads, waiting until one does.
    pub async fn leader(&self) -> Result<String> {
        let deadline = Instant::now() + HEAL_TIMEOUT;
        let mut last = String::from("no member answered");
        while Instant::now() < deadline {
            for master in self.masters() {
                let status = async {
                    Ok::<_, anyhow::Error>(self.store_at(vec![master.client.clone()])?.status().await?)
                };
                match tokio::time::timeout(Duration::from_secs(2), status).await {
                    Ok(Ok(status)) if status.leader_id == status.member_id && status.leader_id != 0 => {
                        return Ok(master.name);
                    }
                    Ok(Ok(status)) => last = format!("{} follows {}", master.name, status.leader_id),
                    Ok(Err(error)) => last = format!("{}: {error:#}", master.name),
                    Err(_) => last = format!("{} does not answer", master.name),
                }
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("no leader after {} s: {last}", HEAL_TIMEOUT.as_secs())
    }

    /// Waits until every master answers, follows one leader, and has applied what it has.
    pub async fn wait_healed(&self) -> Result<()> {
        self.wait_within(0).await
    }

    /// The same under load, where something is always about to be applied: all but `entries`.
    pub async fn wait_within(&self, entries: u64) -> Result<()> {
        let deadline = Instant::now() + HEAL_TIMEOUT;
        loop {
            let problem = match self.healed(entries).await {
                Ok(None) => return Ok(()),
                Ok(Some(problem)) => problem,
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= deadline {
                bail!("not healed after {} s: {problem}", HEAL_TIMEOUT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn healed(&self, entries: u64) -> Result<Option<String>> {
        let mut leaders = std::collections::BTreeSet::new();
        for master in self.masters() {
            let status =
                async { Ok::<_, anyhow::Error>(self.store_at(vec![master.client.clone()])?.status().await?) };
            let status = tokio::time::timeout(Duration::from_secs(2), status)
                .await
                .map_err(|_| anyhow!("{} does not answer", master.name))?
                .with_context(|| master.name.clone())?;
            if status.applied_index + entries < status.last_log_index {
                return Ok(Some(format!("{} is behind", master.name)));
            }
            leaders.insert(status.leader_id);
        }
        Ok((leaders.len() != 1 || leaders.contains(&0)).then(|| format!("leaders: {leaders:?}")))
    }

    /// Stops everything in order.
    pub async fn stop(mut self) -> Result<()> {
        let Some(mut supervisor) = self.supervisor.take() else { return Ok(()) };
        if let Some(pid) = supervisor.id() {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM).context("stop trireme up")?;
        }
        tokio::time::timeout(STOP_TIMEOUT, supervisor.wait()).await.context("trireme up did not stop")??;
        Ok(())
    }
}
