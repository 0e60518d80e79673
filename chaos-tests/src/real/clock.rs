//! Wall clocks that jump: a small library that is loaded before the C library adds an offset that it
//! reads from a file. What measures durations, the monotonic clock, stays as it is. libfaketime would
//! do, but ends a program whose allocator asks for the time while it starts, as the binary's does.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::tools::{output, run};
use crate::cluster::binary;

const SOURCE: &str = include_str!("clock.c");
/// A program's clock is moved by so much to see whether it can be.
const PROBE_S: i64 = 3_600;
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The library, compiled into `dir`, if a program's clock moves by it and the binary bears it.
pub(super) async fn library(dir: &Path) -> Result<PathBuf> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, SOURCE).with_context(|| format!("write {}", source.display()))?;
    let (from, to) = (source.to_string_lossy(), library.to_string_lossy());
    run("cc", &["-O2", "-shared", "-fPIC", "-o", &to, &from]).await?;
    let clock = Clock::new(library.clone(), dir, "probe")?;
    clock.set(PROBE_S)?;
    let mut date = Command::new("date");
    date.arg("+%s").envs(clock.environment());
    let told: i64 = output(date, "date", PROBE_TIMEOUT).await?.trim().parse().context("what date says")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the time")?.as_secs();
    let ahead = told - i64::try_from(now).context("the time")?;
    ensure!((ahead - PROBE_S).abs() < PROBE_S / 2, "date was {ahead} s ahead and not {PROBE_S}");
    let mut version = Command::new(binary()?);
    version.arg("--version").envs(clock.environment());
    output(version, "trireme --version", PROBE_TIMEOUT).await?;
    Ok(library)
}

#[derive(Clone, Debug)]
pub(super) struct Clock {
    library: PathBuf,
    /// The offset and the count, of eight bytes each, mapped by the program.
    offset: PathBuf,
}

impl Clock {
    /// A clock that is right, kept in `dir` under the host's name.
    pub(super) fn new(library: PathBuf, dir: &Path, host: &str) -> Result<Clock> {
        let offset = dir.join(format!("{host}.clock"));
        std::fs::write(&offset, [0; 16]).context("make an offset")?;
        Ok(Clock { library, offset })
    }

    /// From now on it is so many seconds ahead of this machine's, or behind it.
    pub(super) fn set(&self, seconds: i64) -> Result<()> {
        // In place: the program has mapped this very file.
        let mut file = OpenOptions::new().write(true).open(&self.offset).context("open an offset")?;
        file.write_all(&seconds.to_ne_bytes()).context("write an offset")
    }

    /// How often programs were told a time that was off.
    pub(super) fn told(&self) -> Result<u64> {
        let bytes = std::fs::read(&self.offset).context("read an offset")?;
        let count =
            bytes.get(8..16).and_then(|bytes| bytes.try_into().ok()).context("an offset without a count")?;
        Ok(u64::from_ne_bytes(count))
    }

    /// What the program's environment needs.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![("LD_PRELOAD".into(), text(&self.library)), ("TRIREME_CHAOS_CLOCK".into(), text(&self.offset))]
    }
}
