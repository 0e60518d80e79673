//! Processes that are started again when they end, as a service manager does it.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::tools;

/// `RestartSec` of the shipped unit.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// `RestartPreventExitStatus` of the shipped unit: starting again would not mend it.
const CONFIG_ERROR: i32 = 78;
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

type Build = dyn Fn() -> Command + Send + Sync;

#[derive(Default)]
struct State {
    pid: Option<Pid>,
    /// So many of them have ended, in whatever way.
    ends: u64,
    /// It is to run; where not, it stays down when it ends.
    wanted: bool,
    /// It ended and said that a start would not help.
    given_up: Option<String>,
}

/// One process and its successors.
#[derive(Clone)]
pub(super) struct Service {
    pub name: String,
    pub log: PathBuf,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    end: CancellationToken,
}

impl Service {
    /// Starts it, and keeps it going until this is stopped. `build` makes the command anew each time.
    pub(super) fn start(
        name: &str,
        log: PathBuf,
        build: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Service {
        let service = Service {
            name: name.to_owned(),
            log,
            state: Arc::new(Mutex::new(State { wanted: true, ..State::default() })),
            changed: Arc::default(),
            end: CancellationToken::new(),
        };
        tokio::spawn(service.clone().keep(Box::new(build)));
        service
    }

    async fn keep(self, build: Box<Build>) {
        while !self.end.is_cancelled() {
            if !self.state.lock().wanted {
                tokio::select! { () = self.changed.notified() => {}, () = self.end.cancelled() => {} }
                continue;
            }
            match self.run_once(&build).await {
                Ok(status) if status.code() == Some(CONFIG_ERROR) => {
                    let mut state = self.state.lock();
                    state.given_up = Some(self.last_line());
                    state.wanted = false;
                }
                Ok(_) => {}
                Err(error) => {
                    let mut state = self.state.lock();
                    state.given_up = Some(format!("{error:#}"));
                    state.wanted = false;
                }
            }
            if self.state.lock().wanted {
                tokio::select! { () = tokio::time::sleep(RESTART_AFTER) => {}, () = self.end.cancelled() => {} }
            }
        }
    }

    async fn run_once(&self, build: &Build) -> Result<ExitStatus> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("open {}", self.log.display()))?;
        let mut child = build()
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("log")?)
            .stderr(log)
            // Ctrl-C is for the harness, which ends it in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("run {}", self.name))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        self.state.lock().pid = pid;
        let status = child.wait().await;
        let mut state = self.state.lock();
        state.pid = None;
        state.ends += 1;
        drop(state);
        status.with_context(|| format!("wait for {}", self.name))
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.state.lock().pid
    }

    /// How many processes have ended, this one's successors among them.
    pub(super) fn ends(&self) -> u64 {
        self.state.lock().ends
    }

    /// Whether the process is there and does nothing, as after SIGSTOP.
    pub(super) fn stands_still(&self) -> bool {
        self.pid().is_some_and(|pid| tools::state(&format!("/proc/{pid}/stat")) == Some('T'))
    }

    /// Whether the process is this program.
    pub(super) fn is(&self, program: &std::path::Path) -> bool {
        let running = self.pid().and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
        running.is_some_and(|running| program.canonicalize().is_ok_and(|program| program == running))
    }

    /// Why it will not be started again by itself.
    pub(super) fn given_up(&self) -> Option<String> {
        self.state.lock().given_up.clone()
    }

    /// A signal to the process, if there is one.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        match self.pid().map(|pid| kill(pid, signal)) {
            None | Some(Ok(()) | Err(nix::errno::Errno::ESRCH)) => Ok(()),
            Some(Err(errno)) => Err(errno).with_context(|| format!("{signal} to {}", self.name)),
        }
    }

    /// Kills it; it stays down until [`Service::up`].
    pub(super) async fn down(&self) -> Result<()> {
        self.state.lock().wanted = false;
        self.signal(Signal::SIGKILL)?;
        let deadline = Instant::now() + END_TIMEOUT;
        while self.pid().is_some() {
            ensure!(
                Instant::now() < deadline,
                "{} lives {} s after it was killed",
                self.name,
                END_TIMEOUT.as_secs()
            );
            // It may have been started while it was told to end.
            self.signal(Signal::SIGKILL)?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) fn up(&self) {
        let mut state = self.state.lock();
        state.wanted = true;
        state.given_up = None;
        drop(state);
        self.changed.notify_one();
    }

    /// Ends it for good, in order where it can.
    pub(super) async fn stop(&self) -> Result<()> {
        self.state.lock().wanted = false;
        self.end.cancel();
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + END_TIMEOUT;
        while self.pid().is_some() {
            if Instant::now() > deadline {
                return self.down().await;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) fn last_line(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }
}
