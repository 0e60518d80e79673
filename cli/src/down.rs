//! `trireme down`: stops a cluster that `trireme up` started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::ConfigContext;
use crate::up::{LOCK_FILE, absolute};

/// More than every process needs to stop in order, one group after the other.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folder of the cluster's state
    #[arg(long, default_value = ".trireme")]
    dir: PathBuf,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let dir = absolute(&options.dir)?;
    let path = dir.join(LOCK_FILE);
    let file = std::fs::File::open(&path)
        .with_context(|| format!("no cluster was started in {}", dir.display()))
        .config()?;
    let Err((mut file, _)) = Flock::lock(file, FlockArg::LockSharedNonblock) else {
        println!("not running: {}", dir.display());
        return Ok(());
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let pid: i32 = text.trim().parse().with_context(|| format!("{} holds no pid", path.display()))?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("stop the supervisor, pid {pid}"))?;
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}")?);
    spinner.set_message("stopping");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let started = Instant::now();
    // Its lock is let go when it has ended, and with it all it started.
    loop {
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => break,
            Err((same, _)) => file = same,
        }
        if started.elapsed() > STOP_TIMEOUT {
            bail!("the supervisor, pid {pid}, is still stopping after {} s", STOP_TIMEOUT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    spinner.finish_and_clear();
    println!("stopped after {:.1} s; the state stays in {}", started.elapsed().as_secs_f64(), dir.display());
    Ok(())
}
