//! A master starts again in its own place: the same program, arguments and process id, without a
//! supervisor's help.
//!
//! `exec` ends all threads where they stand and closes every socket, file and lock: to the other
//! members, to clients and to its own disk that is a SIGKILL.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lifetime::End;

/// Milliseconds for which the process that starts does nothing first.
const STAY_DOWN_ENV: &str = "TRIREME_STAY_DOWN_MS";

/// The program that runs, if it is still where it was started from: another one there would be
/// another version, or nothing.
fn program() -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let path = std::env::current_exe().context("find this program")?;
    let running = std::fs::metadata("/proc/self/exe").context("look at this program")?;
    match std::fs::metadata(&path) {
        Ok(there) if (there.dev(), there.ino()) == (running.dev(), running.ino()) => Ok(path),
        _ => bail!("{} was replaced or removed since it was started: start it anew first", path.display()),
    }
}

/// Why this process cannot start again by itself, if so.
pub(crate) fn obstacle() -> Option<String> {
    program().err().map(|error| format!("{error:#}"))
}

/// Ends what this process does, at once and wherever it is, and begins anew after `down`. Returns only
/// where that cannot be.
pub(crate) fn start_over(down: Duration) -> anyhow::Error {
    let program = match program() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = std::env::args_os();
    let name: OsString = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
    let mut command = Command::new(&program);
    command.arg0(name).args(arguments).env_remove(STAY_DOWN_ENV);
    if !down.is_zero() {
        command.env(STAY_DOWN_ENV, down.as_millis().to_string());
    }
    anyhow::Error::new(command.exec()).context(format!("run {}", program.display()))
}

/// Does nothing for as long as the process before this one said; whether it was told to end meanwhile.
pub(crate) async fn stay_down(end: &End) -> bool {
    let text = std::env::var(STAY_DOWN_ENV).unwrap_or_default();
    let Ok(ms) = text.parse::<u64>() else { return false };
    let down = Duration::from_millis(ms).min(trireme_raft::FAULT_LASTS_MAX);
    tracing::warn!(
        down_ms = down.as_millis() as u64,
        "this master stays down for a while: it was ordered to"
    );
    end.stop.run_until_cancelled(tokio::time::sleep(down)).await.is_none()
}
