//! What processes use, read from `/proc`.

use std::time::Duration;

use nix::unistd::Pid;

/// CPU time of some processes, all their threads together.
pub(super) struct Usage {
    pids: Vec<Pid>,
}

impl Usage {
    pub(super) fn of(pids: Vec<Pid>) -> Usage {
        Usage { pids }
    }

    /// Used since the processes started. Processes that are gone count nothing.
    pub(super) fn cpu(&self) -> Duration {
        self.pids.iter().map(|pid| cpu_of(*pid).unwrap_or_default()).sum()
    }
}

fn cpu_of(pid: Pid) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold blanks: fields count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Resident bytes.
pub(super) fn resident_bytes(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

pub(super) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
