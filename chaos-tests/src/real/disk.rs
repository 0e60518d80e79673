//! A disk of its own for each master: an ext4 file system in a file, or where a loop device cannot be
//! had, one in memory. It can be filled, and the first kind can fail.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::FallocateFlags;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::tools::{run, state};

/// A log at rest is 256 MiB and a segment, the state comes to as much, and a member that is built anew
/// keeps its damaged copy beside it. What is not written takes no room.
const DISK_BYTES: u64 = 2 << 30;
const BALLAST: &str = "ballast";
const PROBE: &str = "probe";
/// What a full disk has left: less than the next segment of the log.
const LEFT_BYTES: u64 = 12 << 20;
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// The thread that writes and syncs the raft log, as the kernel shows it.
const LOG_THREAD: &str = "raft-log";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ext4 on a loop device.
    Loop,
    /// In memory: it can be full, and does not fail.
    Memory,
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub kind: Kind,
    image: PathBuf,
    /// Where it is mounted, in the run's own mount namespace.
    pub dir: PathBuf,
}

impl Disk {
    pub(super) async fn new(kind: Kind, dir: PathBuf) -> Result<Disk> {
        let disk = Disk { kind, image: dir.with_extension("img"), dir };
        std::fs::create_dir_all(&disk.dir).with_context(|| format!("make {}", disk.dir.display()))?;
        if kind == Kind::Loop {
            let image =
                File::create(&disk.image).with_context(|| format!("make {}", disk.image.display()))?;
            image.set_len(DISK_BYTES).context("size of a disk")?;
            run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&disk.image)]).await?;
        }
        disk.mount().await?;
        Ok(disk)
    }

    async fn mount(&self) -> Result<()> {
        let dir = text(&self.dir);
        match self.kind {
            Kind::Loop => run("mount", &["-t", "ext4", "-o", "loop", text(&self.image), dir]).await?,
            Kind::Memory => {
                run("mount", &["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs", dir]).await?
            }
        };
        Ok(())
    }

    /// Takes what room there is but for a little.
    pub(super) fn fill(&self) -> Result<u64> {
        let bytes = self.free()?.saturating_sub(LEFT_BYTES);
        ensure!(bytes > 0, "{} is full already", self.dir.display());
        let ballast = File::create(self.dir.join(BALLAST)).context("make the ballast")?;
        let length = i64::try_from(bytes).context("size of the ballast")?;
        nix::fcntl::fallocate(&ballast, FallocateFlags::empty(), 0, length).context("fill the disk")?;
        let free = self.free()?;
        ensure!(free < 2 * LEFT_BYTES, "{} bytes are free on a disk that was filled", free);
        Ok(bytes)
    }

    fn free(&self) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.dir).context("room on the disk")?;
        #[allow(clippy::unnecessary_cast)] // their width is the platform's
        Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
    }

    pub(super) fn empty(&self) -> Result<()> {
        std::fs::remove_file(self.dir.join(BALLAST)).context("remove the ballast")
    }

    /// What the kernel does when a disk fails under a file system: from now on it is read-only.
    pub(super) async fn fail(&self) -> Result<()> {
        run("mount", &["-o", "remount,abort", text(&self.dir)]).await?;
        ensure!(File::create(self.dir.join(PROBE)).is_err(), "{} can be written", self.dir.display());
        Ok(())
    }

    /// After a failure, with nobody at work on it: checked, and mounted again.
    pub(super) async fn mend(&self) -> Result<()> {
        run("umount", &[text(&self.dir)]).await?;
        self.mount().await
    }

    pub(super) async fn unmount(&self) -> Result<()> {
        run("umount", &["--lazy", text(&self.dir)]).await.map(|_| ())
    }
}

/// What happens to syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syncs {
    Fail,
    /// Each takes so much longer.
    Slow(Duration),
    /// They do not return.
    Hang,
}

const HANGS: Duration = Duration::from_secs(3_600);

/// strace at work on the thread that syncs a master's log. The syncs are as they were when it has
/// ended.
pub(super) struct Injected {
    strace: Child,
    pub met: Met,
}

/// The syncs that strace has met.
#[derive(Clone, Debug)]
pub(super) struct Met {
    count: Arc<AtomicU64>,
    /// The traced thread's `stat`.
    stat: String,
}

impl Met {
    /// Those that have returned.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether one is held by strace.
    pub(super) fn hangs(&self) -> bool {
        state(&self.stat) == Some('t')
    }
}

impl Injected {
    pub(super) async fn new(pid: Pid, syncs: Syncs) -> Result<Injected> {
        let injected = match syncs {
            Syncs::Fail => "error=EIO".to_owned(),
            Syncs::Slow(delay) => format!("delay_enter={}", delay.as_micros()),
            Syncs::Hang => format!("delay_enter={}", HANGS.as_micros()),
        };
        let thread = log_thread(pid)?;
        let mut strace = Command::new("strace")
            .args(["-e", "trace=fsync,fdatasync", "-e", &format!("inject=fsync,fdatasync:{injected}"), "-p"])
            .arg(&thread)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("run strace")?;
        let mut lines = BufReader::new(strace.stderr.take().context("output of strace")?).lines();
        let first = tokio::time::timeout(ATTACH_TIMEOUT, lines.next_line()).await.context("strace")??;
        let first = first.unwrap_or_default();
        ensure!(first.contains("attached"), "strace: {}", first.trim());
        let met = Met { count: Arc::default(), stat: format!("/proc/{pid}/task/{thread}/stat") };
        let count = met.count.clone();
        // Read on, or it would wait for its reader.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("(INJECTED)") || line.contains("(DELAYED)") {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Injected { strace, met })
    }

    pub(super) async fn end(mut self) -> Result<()> {
        self.strace.kill().await.context("end strace")
    }
}

fn log_thread(pid: Pid) -> Result<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).context("threads of a master")?;
    let found = tasks.flatten().find(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == LOG_THREAD)
    });
    let found = found.with_context(|| format!("process {pid} has no thread {LOG_THREAD}"))?;
    Ok(found.file_name().to_string_lossy().into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
