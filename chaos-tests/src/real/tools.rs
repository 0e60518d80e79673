//! Programs of the system, run with a deadline; what they said is in the error.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// `mkfs` and `nft` on a machine whose cores are busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// Standard output of a program that succeeds.
pub(super) async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    output(command, &format!("{program} {}", arguments.join(" ")), DEADLINE).await
}

/// The same in the network namespace of a host.
pub(super) async fn run_in(namespace: &str, arguments: &[&str]) -> Result<String> {
    let net = format!("--net={}", namespace_path(namespace));
    run("nsenter", &[&[net.as_str(), "--"], arguments].concat()).await
}

pub(super) fn namespace_path(namespace: &str) -> String {
    format!("/run/netns/{namespace}")
}

pub(super) async fn output(mut command: Command, what: &str, deadline: Duration) -> Result<String> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for the harness: what takes a fault back must not be cut off by it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| what.to_owned())?;
    let output = tokio::time::timeout(deadline, child.wait_with_output())
        .await
        .with_context(|| format!("{what}: no end after {} s", deadline.as_secs()))?
        .with_context(|| what.to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{what}: {} ({})", said.trim(), output.status)
}

/// Where a program is, with the folders that only root's `PATH` has.
pub(super) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

pub(super) fn need(program: &str, package: &str) -> Result<(), String> {
    match find(program) {
        Some(_) => Ok(()),
        None => Err(format!("there is no {program} (Debian's package {package})")),
    }
}

/// The state of a process or thread by its `stat` file: `T` is stopped, `t` is stopped by who traces it.
pub(super) fn state(stat: &str) -> Option<char> {
    let stat = std::fs::read_to_string(stat).ok()?;
    // The name before it is in brackets, and may have brackets.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A value into a file of the kernel's, such as those of a cgroup.
pub(super) fn put(path: impl AsRef<Path>, value: impl AsRef<OsStr>) -> Result<()> {
    let path = path.as_ref();
    let value = value.as_ref();
    std::fs::write(path, value.as_encoded_bytes())
        .with_context(|| format!("write {} into {}", value.display(), path.display()))
}
