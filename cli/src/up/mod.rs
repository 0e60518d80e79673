//! `trireme up`: a whole cluster on this machine, as separate processes on loopback.
//!
//! ```text
//!   trireme up ─┬─ server ×1|3|5    master-1 … : <dir>/master-1/{pid,log,data}
//!               ├─ apiserver ×N     apiserver-1 …
//!               ├─ balancer         one address in front of them
//!               └─ agent --hollow   the nodes
//! ```
//!
//! It starts everything at once, waits until all is ready, and then supervises until it is told to
//! stop. The state stays; the next start resumes from it.

mod display;
mod layout;
mod process;
mod ready;
mod specs;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use layout::{Layout, absolute};

use crate::exit::ConfigContext;
use crate::kubeconfig;
use crate::pki::Pki;
use display::Display;
pub(crate) use layout::Wanted;
use process::{Report, Spec};

const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Held, with the supervisor's process id in it, while a cluster runs.
pub(crate) const LOCK_FILE: &str = "up.pid";
/// There while everything is ready.
pub(crate) const READY_FILE: &str = "ready";
const DETACHED_LOG: &str = "up.log";
pub(crate) const KUBECONFIG_FILE: &str = "admin.kubeconfig";
pub(crate) const PKI_DIR: &str = "pki";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Masters: 1, 3 or 5 [default: 3, or what the directory holds]
    #[arg(long)]
    masters: Option<u16>,
    /// Hollow nodes: they run no containers [default: 2]
    #[arg(long)]
    nodes: Option<u32>,
    /// Folder of the cluster's state
    #[arg(long, default_value = ".trireme")]
    dir: PathBuf,
    /// Port of the balancer; the other processes take ports above it [default: 6443]
    #[arg(long)]
    port: Option<u16>,
    /// Further stateless API servers [default: 0]
    #[arg(long)]
    api_replicas: Option<u16>,
    /// Leave a process that dies dead
    #[arg(long)]
    no_restart: bool,
    /// Return when the cluster is ready; `trireme down` stops it
    #[arg(long)]
    detach: bool,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let dir = absolute(&options.dir)?;
    make_private_dir(&dir)?;
    crate::unfinished::refuse(&dir).config()?;
    if options.detach {
        return detach(&dir, &options).await;
    }
    let stop = crate::lifetime::watch_for_end()?.stop;
    let started = Instant::now();
    let _lock = lock(&dir)?;
    let wanted = Wanted {
        masters: options.masters,
        nodes: options.nodes,
        port: options.port,
        api_replicas: options.api_replicas,
    };
    let layout = Layout::open(&dir, wanted).config()?;
    check_ports(&layout).config()?;
    layout.keep(&dir)?;
    let pki = Pki::open_or_create(&dir.join(PKI_DIR))?;
    pki.admin().ensure()?;
    pki.store_client().ensure()?;
    let server = format!("https://{}", layout.balancer());
    kubeconfig::write(&dir.join(KUBECONFIG_FILE), &server, &pki, &pki.admin())?;

    let groups = specs::groups(&dir, &layout, !options.no_restart);
    let names: Vec<String> = groups.iter().rev().flatten().map(|spec| spec.name.clone()).collect();
    let mut display = Display::new(&names);
    let (reports, mut inbox) = mpsc::unbounded_channel();
    let mut fleet = Fleet::start(groups, &reports);
    drop(reports);

    let waited = wait_until_ready(&dir, &layout, &pki, &mut display, &mut inbox, &stop).await;
    display.finish();
    let outcome = match waited {
        Ok(Some(summary)) => {
            print!("{}", summary.text(&dir, &layout, started.elapsed()));
            std::io::stdout().flush().context("print")?;
            std::fs::write(dir.join(READY_FILE), "").context("mark the cluster ready")?;
            watch_over(&mut inbox, &stop).await;
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    let _ = std::fs::remove_file(dir.join(READY_FILE));
    if outcome.is_ok() {
        eprintln!("stopping");
    }
    fleet.stop().await;
    if outcome.is_ok() {
        eprintln!("stopped; the state stays in {}", dir.display());
    }
    outcome
}

/// Everything that runs, in groups that are stopped one after the other.
struct Fleet {
    groups: Vec<(CancellationToken, JoinSet<()>)>,
}

impl Fleet {
    fn start(groups: Vec<Vec<Spec>>, reports: &mpsc::UnboundedSender<Report>) -> Fleet {
        let groups = groups
            .into_iter()
            .map(|specs| {
                let stop = CancellationToken::new();
                let mut tasks = JoinSet::new();
                for spec in specs {
                    tasks.spawn(spec.supervise(reports.clone(), stop.clone()));
                }
                (stop, tasks)
            })
            .collect();
        Fleet { groups }
    }

    async fn stop(&mut self) {
        for (stop, tasks) in &mut self.groups {
            stop.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }
}

/// `None` when it was told to stop before everything was ready.
async fn wait_until_ready(
    dir: &Path,
    layout: &Layout,
    pki: &Pki,
    display: &mut Display,
    inbox: &mut mpsc::UnboundedReceiver<Report>,
    stop: &CancellationToken,
) -> Result<Option<ready::Summary>> {
    let (progress, mut states) = mpsc::unbounded_channel();
    let mut waiting = std::pin::pin!(ready::wait(layout, pki, progress));
    let mut deadline = std::pin::pin!(tokio::time::sleep(START_TIMEOUT));
    let logs = format!("the logs are {}/<process>/log", dir.display());
    loop {
        tokio::select! {
            summary = &mut waiting => return summary.map(Some),
            () = stop.cancelled() => return Ok(None),
            () = &mut deadline => {
                bail!("not ready after {} s; {logs}", START_TIMEOUT.as_secs());
            }
            Some((name, state, done)) = states.recv() => {
                if done { display.done(&name, &state) } else { display.state(&name, &state) }
            }
            Some(report) = inbox.recv() => match report {
                Report::Started { name, pid, .. } => display.state(&name, &format!("started, pid {pid}")),
                Report::Died { name, how, restart_after: Some(after), last_words } => {
                    let words = after.as_secs();
                    display.trouble(&name, &format!("{how} ({last_words}); starting again in {words} s"));
                }
                Report::Died { name, how, last_words, .. } => bail!("{name} {how}: {last_words}; {logs}"),
                Report::Misconfigured { name, last_words } => {
                    return Err(anyhow!("{name}: {last_words}")).config();
                }
                Report::NotStarted { name, error } => bail!("{name} could not be started: {error}"),
            },
        }
    }
}

async fn watch_over(inbox: &mut mpsc::UnboundedReceiver<Report>, stop: &CancellationToken) {
    loop {
        let report = tokio::select! {
            () = stop.cancelled() => return,
            report = inbox.recv() => report,
        };
        let Some(report) = report else {
            // Everything died and nothing is to be restarted; the person still says when to end.
            stop.cancelled().await;
            return;
        };
        let time = jiff::Timestamp::now().strftime("%H:%M:%S");
        match report {
            Report::Started { name, pid, again: true } => eprintln!("{time} {name} started again, pid {pid}"),
            Report::Started { .. } => {}
            Report::Died { name, how, restart_after: Some(after), .. } => {
                eprintln!("{time} {name} died ({how}): starting it again in {} s", after.as_secs());
            }
            Report::Died { name, how, .. } => eprintln!("{time} {name} died ({how}) and stays dead"),
            Report::Misconfigured { name, last_words } => {
                eprintln!("{time} {name} cannot run as it is configured and stays dead: {last_words}");
            }
            Report::NotStarted { name, error } => eprintln!("{time} {name} could not be started: {error}"),
        }
    }
}

fn make_private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("create {}", dir.display()))
        .config()
}

/// Holds the folder for this supervisor; its death, however sudden, lets go of it.
fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        anyhow!(
            "a cluster is running from {} (supervisor's pid {}): stop it with `trireme down --dir {}`",
            dir.display(),
            pid.trim(),
            dir.display()
        )
    })?;
    lock.set_len(0).context("write the pid")?;
    writeln!(lock, "{}", std::process::id()).context("write the pid")?;
    Ok(lock)
}

/// Says which port is taken before anything starts.
fn check_ports(layout: &Layout) -> Result<()> {
    for address in layout.addresses() {
        if let Err(error) = std::net::TcpListener::bind(&address) {
            bail!("{address}: {error}; a new cluster can have another --port, the first of those it takes");
        }
    }
    Ok(())
}

/// Runs the supervisor in the background and shows what it says until the cluster is ready.
async fn detach(dir: &Path, options: &Options) -> Result<()> {
    use std::os::unix::process::CommandExt;
    // Taken and let go: a cluster that is running is found before a log is touched.
    drop(lock(dir).config()?);
    let log_path = dir.join(DETACHED_LOG);
    let log = File::create(&log_path).with_context(|| format!("create {}", log_path.display()))?;
    let _ = std::fs::remove_file(dir.join(READY_FILE));
    let mut command = std::process::Command::new(std::env::current_exe().context("find this program")?);
    command.arg("up").arg("--dir").arg(dir);
    for (flag, value) in [
        ("--masters", options.masters.map(u32::from)),
        ("--nodes", options.nodes),
        ("--port", options.port.map(u32::from)),
        ("--api-replicas", options.api_replicas.map(u32::from)),
    ] {
        if let Some(value) = value {
            command.arg(flag).arg(value.to_string());
        }
    }
    if options.no_restart {
        command.arg("--no-restart");
    }
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().context("log")?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the supervisor")?;
    let mut shown = 0;
    loop {
        let ready = dir.join(READY_FILE).exists();
        let ended = child.try_wait().context("wait for the supervisor")?;
        let text = std::fs::read(&log_path).unwrap_or_default();
        std::io::stdout().write_all(text.get(shown..).unwrap_or_default()).context("print")?;
        shown = text.len();
        if let Some(status) = ended {
            let code = status.code().unwrap_or(1);
            let error = anyhow!("the cluster did not start; {} says why", log_path.display());
            return if code == i32::from(crate::exit::CONFIG) { Err(error).config() } else { Err(error) };
        }
        if ready {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
