//! Around a run: its namespaces, and what must not be left on the machine.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{Options, cgroups};

const PREFIX: &str = "trireme-chaos-real-";
/// Namespaces of the run's own; with the process in the middle everything in them ends.
const UNSHARE: [&str; 5] = ["--mount", "--net", "--pid", "--fork", "--mount-proc"];

/// Why no run can be had here: it takes the right to make namespaces, which root has, and on many
/// machines every user.
pub fn unavailable() -> Option<String> {
    for (program, package) in [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")] {
        if let Err(reason) = super::tools::need(program, package) {
            return Some(reason);
        }
    }
    if let Err(reason) = super::tools::need("haproxy", "haproxy") {
        return Some(reason);
    }
    // The mount below is what a run does first.
    let tried = unshare().args(["sh", "-c", "mount -t tmpfs tmpfs /run"]).stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("it needs root, or the right to make namespaces: {}", said.trim()))
        }
        Err(error) => Some(format!("unshare: {error}")),
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(UNSHARE).arg("--kill-child");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

/// Makes the namespaces and runs in them; removes what killed runs left, and what this one leaves.
pub(super) fn run(options: &Options) -> Result<bool> {
    if let Some(reason) = unavailable() {
        bail!("no run can be had here: {reason}");
    }
    sweep();
    let run = std::process::id();
    let dir = match &options.dir {
        Some(dir) => own(dir)?,
        None => make(&std::env::temp_dir().join(format!("{PREFIX}{run}")))?,
    };
    let seed = options.seed.unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
    });
    println!("seed {seed}: {} minutes of faults on {} masters", options.minutes, options.masters);
    let passed = inside(options, seed, &dir, run);
    cgroups::remove(run);
    match (&passed, &options.dir) {
        (Ok(true), Some(_)) => {}
        (_, Some(_)) => println!("logs and history are in {}", dir.display()),
        (Ok(true), None) => {
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        (_, None) => {
            let kept = std::env::temp_dir().join(format!("trireme-chaos-failed-{seed}-{run}"));
            std::fs::rename(&dir, &kept).with_context(|| format!("keep {}", dir.display()))?;
            println!("logs and history are kept in {}", kept.display());
        }
    }
    passed
}

/// The harness once more, as the first process of the namespaces.
fn inside(options: &Options, seed: u64, dir: &Path, run: u32) -> Result<bool> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = unshare();
    // Its own, so that hosts' names stand nowhere else.
    command.args(["sh", "-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]).arg(program);
    command.args(["real", "--inside", &run.to_string(), "--seed", &seed.to_string(), "--dir"]).arg(dir);
    command.args(["--minutes", &options.minutes.to_string(), "--masters", &options.masters.to_string()]);
    command.args(["--clients", &options.clients.to_string()]);
    if !options.faults.is_empty() {
        let names: Vec<String> = options.faults.iter().map(ToString::to_string).collect();
        command.args(["--faults", &names.join(",")]);
    }
    if let Some(report) = &options.report {
        command.arg("--report").arg(std::path::absolute(report).context("--report")?);
    }
    for (name, file) in [("--record", &options.record), ("--older", &options.older)] {
        if let Some(file) = file {
            command.arg(name).arg(std::path::absolute(file).context(name)?);
        }
    }
    if options.rolled_back {
        command.arg("--rolled-back");
    }
    let mut child = command
        // The end of this pipe, which comes with the end of this process, ends the run.
        .stdin(Stdio::piped())
        .spawn()
        .context("run unshare")?;
    let end = child.stdin.take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let waited = tokio::task::spawn_blocking(move || child.wait());
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::pin!(waited);
        let mut end = end;
        loop {
            tokio::select! {
                status = &mut waited => return status.context("wait for the run")?.context("wait for the run"),
                // The terminal tells Ctrl-C to the run as well; the others are told here.
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => drop(end.take()),
            }
        }
    })?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(true),
        (Some(1), _) => Ok(false),
        (Some(code), _) => bail!("the run ended with code {code}"),
        (None, signal) => bail!("the run was ended by signal {}", signal.unwrap_or_default()),
    }
}

fn make(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("resolve {}", dir.display()))
}

fn own(dir: &Path) -> Result<PathBuf> {
    let dir = make(dir)?;
    let empty = std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?.next().is_none();
    ensure!(empty, "--dir {}: a folder that is new or empty is needed", dir.display());
    Ok(dir)
}

/// Removes what runs left that were killed. Their namespaces went with them.
fn sweep() {
    let dead = |run: u32| !Path::new("/proc").join(run.to_string()).exists();
    cgroups::runs().into_iter().filter(|run| dead(*run)).for_each(cgroups::remove);
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if run.is_some_and(dead) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
