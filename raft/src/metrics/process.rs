//! What every Prometheus client tells of its process, from `/proc`.

use std::fs;
use std::sync::OnceLock;

use super::text::Text;

/// Linux counts a process's time in hundredths of a second for programs, whatever the kernel's own
/// tick is.
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields of `/proc/self/stat` after the command's name, which may hold spaces.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

/// Writes the `process_*` families; what cannot be read is left out.
pub(super) fn render(text: &mut Text) {
    if let Some(fields) = stat() {
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let cpu = (ticks(USER_TICKS) + ticks(SYSTEM_TICKS)) / TICKS_PER_SECOND;
        text.family("process_cpu_seconds_total", "counter", "Total user and system CPU time in seconds.");
        text.sample("process_cpu_seconds_total", &[], cpu);
        static BOOTED: OnceLock<Option<f64>> = OnceLock::new();
        if let Some(booted) = BOOTED.get_or_init(boot_time) {
            let started = booted + ticks(START_TICKS) / TICKS_PER_SECOND;
            text.gauge("process_start_time_seconds", "Start of the process, in Unix time.", started);
        }
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for (field, name, help) in [
            ("VmRSS:", "process_resident_memory_bytes", "Resident memory in bytes."),
            ("VmSize:", "process_virtual_memory_bytes", "Virtual memory in bytes."),
        ] {
            let kib = status.lines().find_map(|line| line.strip_prefix(field));
            if let Some(kib) = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) {
                text.gauge(name, help, kib * 1024);
            }
        }
    }
    let used = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    let limit = fs::read_to_string("/proc/self/limits").ok().and_then(|limits| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    // etcd tells them under names of its own as well.
    for (value, name, help) in [
        (used.map(|n| n as u64), "process_open_fds", "Open file descriptors."),
        (limit, "process_max_fds", "File descriptors that may be open."),
        (used.map(|n| n as u64), "os_fd_used", "Open file descriptors."),
        (limit, "os_fd_limit", "File descriptors that may be open."),
    ] {
        if let Some(value) = value {
            text.gauge(name, help, value);
        }
    }
}

fn stat() -> Option<Vec<String>> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    Some(after.split_whitespace().map(str::to_owned).collect())
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
