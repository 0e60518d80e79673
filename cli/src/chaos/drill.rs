//! The restore drill: a backup becomes a cluster of one master in a temporary folder on this machine,
//! which is started and compared with the one that runs, as its operator would do it with
//! `trireme backup save`, `trireme restore` and `trireme up`.
//!
//! Nothing is done to the cluster that runs but reading.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use trireme_chaos_report::Note;
use trireme_client::Kubeconfig;

use super::board::{Board, connect};
use super::compare::{self, Difference};
use super::show::Show;
use crate::exit::ConfigContext;
use crate::lifetime::SUPERVISED_ENV;
use crate::reach::Reach;
use crate::server::private_dir;
use crate::up::{KUBECONFIG_FILE, READY_FILE, absolute};

/// For each of saving and restoring, whatever the size.
const STEP_MAX: Duration = Duration::from_secs(3_600);
const START_MAX: Duration = Duration::from_secs(180);
const END_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// A block of ports is looked for among these, each `PORTS` long.
const PORTS_FROM: u16 = 20_000;
const PORTS_TRIED: u16 = 100;
const PORTS: u16 = 20;

#[derive(Args, Clone, Debug)]
pub(super) struct Source {
    /// Of the restore drill: the backup to restore, as `trireme restore --from` takes it [default: one is
    /// saved now, from the masters' stores]
    #[arg(long, value_name = "WHERE")]
    from: Option<String>,
    /// File with the backup's key, mode 0600
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "key_command")]
    key_file: Option<PathBuf>,
    /// Shell command that prints the backup's key
    #[arg(long, value_name = "COMMAND", requires = "from")]
    key_command: Option<String>,
    /// File of AWS_…=value lines, mode 0600 [default: the environment]
    #[arg(long, value_name = "FILE", requires = "from")]
    credentials_file: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

impl Source {
    /// Where the backup comes from, in words; why there is none, if so.
    pub(super) fn words(&self) -> Result<String> {
        match &self.from {
            Some(from) => Ok(format!("the newest state in {from}")),
            None => {
                self.reach.reach().context(
                    "the masters' stores are needed to save a backup, or --from a backup that there is",
                )?;
                Ok("a backup that is saved now".to_owned())
            }
        }
    }

    /// As arguments, but for a command that may hold a secret.
    pub(super) fn repeat(&self) -> String {
        let mut line = self.from.as_ref().map_or_else(String::new, |from| format!(" --from {from}"));
        for (flag, file) in [("--key-file", &self.key_file), ("--credentials-file", &self.credentials_file)] {
            if let Some(file) = file {
                line += &format!(" {flag} {}", file.display());
            }
        }
        if self.key_command.is_some() {
            line += " --key-command …";
        }
        for argument in self.reach.arguments().unwrap_or_default() {
            line += &format!(" {}", argument.to_string_lossy());
        }
        line
    }

    fn restore_arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments = Vec::new();
        for (flag, file) in [("--key-file", &self.key_file), ("--credentials-file", &self.credentials_file)] {
            if let Some(file) = file {
                arguments.extend([flag.into(), absolute(file)?.into_os_string()]);
            }
        }
        if let Some(command) = &self.key_command {
            arguments.extend(["--key-command".into(), command.into()]);
        }
        Ok(arguments)
    }
}

/// What is about to be drilled.
pub(super) struct Drill {
    source: Source,
    scratch: Scratch,
}

/// A folder of this process alone; gone with it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Masters that were told to end a moment ago still write.
        let until = Instant::now() + END_MAX;
        while std::fs::remove_dir_all(&self.0).is_err() && self.0.exists() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }
}

/// What came of it.
pub(super) struct Compared {
    revision: i64,
    objects: usize,
    pub differences: Vec<String>,
    /// Kinds that could not be compared, and why.
    left_out: Vec<(String, String)>,
    took: Vec<(&'static str, Duration)>,
}

impl Compared {
    pub(super) fn promise(&self) -> String {
        format!(
            "what was restored, {} objects at revision {}, is what the cluster had at that revision",
            self.objects, self.revision
        )
    }

    pub(super) fn note(&self) -> Note {
        let mut rows: Vec<(String, String)> = self
            .took
            .iter()
            .map(|(what, took)| ((*what).to_owned(), format!("{:.1} s", took.as_secs_f64())))
            .collect();
        rows.push(("objects".into(), self.objects.to_string()));
        rows.extend(self.left_out.iter().map(|(kind, why)| (format!("{kind} not compared"), why.clone())));
        Note { title: "The drill".into(), rows, without_rows: String::new() }
    }
}

impl Drill {
    pub(super) fn new(source: Source) -> Result<Drill> {
        let dir = std::env::temp_dir().join(format!("trireme-drill-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("create {}", dir.display())).config()?;
        let scratch = Scratch(dir);
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o700))?;
        private_dir(&scratch.0)?;
        Ok(Drill { source, scratch })
    }

    /// All of it; `None` where it was told to stop.
    pub(super) async fn play(
        self,
        board: &Board,
        show: &Show,
        stop: &CancellationToken,
    ) -> Result<Option<Compared>> {
        // What runs for it is ended when this is dropped.
        stop.run_until_cancelled(self.play_on(board, show)).await.transpose()
    }

    async fn play_on(&self, board: &Board, show: &Show) -> Result<Compared> {
        let mut took = Vec::new();
        let from = match &self.source.from {
            Some(from) => from.into(),
            None => {
                show.part("saving a backup");
                let began = Instant::now();
                let file = self.scratch.0.join("backup").into_os_string();
                let mut arguments = vec!["backup".into(), "save".into(), file.clone()];
                arguments.extend(self.source.reach.arguments()?);
                run(&arguments).await.context("save a backup")?;
                took.push(("saved in", began.elapsed()));
                file
            }
        };
        show.part("restoring it as a cluster of one master, on loopback");
        let began = Instant::now();
        let dir = self.scratch.0.join("cluster");
        let port = free_ports()?.to_string();
        let mut arguments: Vec<OsString> = vec!["restore".into(), "--from".into(), from];
        arguments.extend(self.source.restore_arguments()?);
        arguments.extend(["--dir".into(), dir.clone().into_os_string()]);
        arguments.extend(["--masters", "1", "--port", &port].map(OsString::from));
        let said = run(&arguments).await.context("restore it")?;
        let (revision, restored) =
            revisions(&said).with_context(|| format!("what a restore says was not understood: {said}"))?;
        took.push(("restored in", began.elapsed()));
        show.part("starting it");
        let began = Instant::now();
        let mut cluster = Cluster::start(&dir).await?;
        took.push(("started in", began.elapsed()));
        show.part(&format!("comparing every object of revision {revision}"));
        let began = Instant::now();
        let config = Kubeconfig::load(&dir.join(KUBECONFIG_FILE), None)?;
        // The objects are of that revision; the state is one above, and what comes before is compacted.
        let there = (connect(&config)?, restored + 1);
        let compared = compare::compare((board.client(), revision), there).await;
        took.push(("compared in", began.elapsed()));
        show.part("stopping and removing it");
        cluster.stop().await;
        let Difference { objects, differences, left_out } = compared?;
        Ok(Compared { revision, objects, differences, left_out, took })
    }
}

/// Runs this program to its end; what it prints.
async fn run(arguments: &[OsString]) -> Result<String> {
    let program = std::env::current_exe().context("find this program")?;
    let running = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(STEP_MAX, running).await.context("it takes too long")??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.trim().trim_start_matches("trireme: "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The revision of which the backup is, and the one that every restored object has, as `trireme restore`
/// says them.
fn revisions(said: &str) -> Option<(i64, i64)> {
    let number = |after: &str| -> Option<i64> {
        let rest = &said[said.find(after)? + after.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    Some((number("taken: revision ")?, number("every object now has revision ")?))
}

/// The first of a few ports that nobody listens on.
fn free_ports() -> Result<u16> {
    let first = std::process::id() as u16 % PORTS_TRIED;
    for n in 0..PORTS_TRIED {
        let start = PORTS_FROM + (first + n) % PORTS_TRIED * PORTS;
        if (start..start + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(start);
        }
    }
    bail!("{PORTS} free ports in a row are needed for the restored cluster")
}

/// The restored one, while it runs. It ends with this process, however that ends.
struct Cluster(Child);

impl Cluster {
    async fn start(dir: &Path) -> Result<Cluster> {
        let program = std::env::current_exe().context("find this program")?;
        let log = dir.join("drill.log");
        let out = std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = Command::new(program)
            .args(["up", "--nodes", "0", "--dir"])
            .arg(dir)
            .env(SUPERVISED_ENV, "1")
            .stdin(Stdio::piped())
            .stdout(out.try_clone().context("log")?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .context("start the restored cluster")?;
        let mut cluster = Cluster(child);
        let deadline = Instant::now() + START_MAX;
        while !dir.join(READY_FILE).exists() {
            let ended = cluster.0.try_wait().context("wait for the restored cluster")?.is_some();
            if ended || Instant::now() > deadline {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("the restored cluster did not start: {}", said.lines().last().unwrap_or_default());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(cluster)
    }

    async fn stop(&mut self) {
        drop(self.0.stdin.take());
        if tokio::time::timeout(END_MAX, self.0.wait()).await.is_err() {
            let _ = self.0.kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_says_is_understood() {
        let said = "cluster t-1: 80 keys\n  taken: revision 412 of a state of 2026-11-20T10:42:00Z; every object \
                    now has revision 1000000413, and clients' watches begin anew\n";
        assert_eq!(revisions(said), Some((412, 1_000_000_413)));
        assert_eq!(revisions("taken: revision x"), None);
    }
}
