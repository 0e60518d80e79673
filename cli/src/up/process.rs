//! One supervised process: its folder, its log, its end and its next start.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::lifetime::SUPERVISED_ENV;
use crate::pki::write_public;

const RESTART_AFTER: Duration = Duration::from_secs(2);
/// How long a process may take to stop in order before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A log that is larger than this when its process starts moves to `log.1`.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// What to run, and where.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub name: String,
    pub dir: PathBuf,
    pub arguments: Vec<OsString>,
    pub restart: bool,
}

/// What happened to a process, for the display and the supervisor.
#[derive(Debug)]
pub(super) enum Report {
    Started {
        name: String,
        pid: u32,
        again: bool,
    },
    /// `last_words`: the end of its log.
    Died {
        name: String,
        how: String,
        restart_after: Option<Duration>,
        last_words: String,
    },
    /// It cannot run as it was told to; it stays dead.
    Misconfigured {
        name: String,
        last_words: String,
    },
    NotStarted {
        name: String,
        error: String,
    },
}

impl Spec {
    /// Runs the process until `stop`, starting it again when it dies.
    pub(super) async fn supervise(self, reports: mpsc::UnboundedSender<Report>, stop: CancellationToken) {
        let mut again = false;
        while !stop.is_cancelled() {
            let mut child = match self.start() {
                Ok(child) => child,
                Err(error) => {
                    let error = format!("{error:#}");
                    let _ = reports.send(Report::NotStarted { name: self.name.clone(), error });
                    return;
                }
            };
            let pid = child.id().unwrap_or_default();
            // Held open while the process is to live: waiting for it would close it.
            let lifeline = child.stdin.take();
            let _ = reports.send(Report::Started { name: self.name.clone(), pid, again });
            let status = tokio::select! {
                status = child.wait() => status,
                () = stop.cancelled() => {
                    drop(lifeline);
                    end(&mut child).await;
                    let _ = std::fs::remove_file(self.dir.join("pid"));
                    return;
                }
            };
            let _ = std::fs::remove_file(self.dir.join("pid"));
            // Ctrl-C reaches the whole group: this death is part of stopping.
            if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(50))).await.is_none() {
                return;
            }
            let last_words = last_words(&self.dir.join("log"));
            let name = self.name.clone();
            if matches!(&status, Ok(status) if status.code() == Some(exit::CONFIG.into())) {
                let _ = reports.send(Report::Misconfigured { name, last_words });
                return;
            }
            let how = status.map_or_else(|error| error.to_string(), describe);
            let restart_after = self.restart.then_some(RESTART_AFTER);
            let _ = reports.send(Report::Died { name, how, restart_after, last_words });
            if !self.restart {
                return;
            }
            stop.run_until_cancelled(tokio::time::sleep(RESTART_AFTER)).await;
            again = true;
        }
    }

    fn start(&self) -> Result<Child> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("create {}", self.dir.display()))?;
        let log = open_log(&self.dir.join("log"))?;
        let errors = log.try_clone().context("log")?;
        let program = std::env::current_exe().context("find this program")?;
        let child = Command::new(&program)
            .args(&self.arguments)
            .env(SUPERVISED_ENV, "1")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            // Of its own group: Ctrl-C is for the supervisor, which stops everything in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("run {}", program.display()))?;
        let pid = child.id().unwrap_or_default();
        write_public(&self.dir.join("pid"), format!("{pid}\n").as_bytes())?;
        Ok(child)
    }
}

/// Waits for the end of a process whose lifeline was let go. By that it knows that all others end as
/// well, which a signal would not tell it.
async fn end(child: &mut Child) {
    if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal().and_then(|n| Signal::try_from(n).ok()), status.code()) {
        (Some(signal), _) => format!("killed by {signal}"),
        (None, Some(code)) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn open_log(path: &Path) -> Result<File> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
        let _ = std::fs::rename(path, path.with_extension("1"));
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// The last line that says something, which is where an error stands.
fn last_words(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    const TAIL_BYTES: u64 = 4096;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.iter().rev().find(|line| line.starts_with("trireme: ")).or(lines.last());
    last.map_or_else(String::new, |line| line.trim_start_matches("trireme: ").to_owned())
}
