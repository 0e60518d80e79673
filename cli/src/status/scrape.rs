//! What a member's `/metrics` say that its status does not.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A check of the disk that has not come to an end for this long, beyond twice what the last took, is
/// late: something keeps it from reading.
const LATE_AFTER_S: f64 = 120.0;

/// From a scrape. What the member does not tell is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counted {
    pub(super) log_bytes: u64,
    pub(super) feature_level: u64,
    /// Whether its disk takes writes.
    pub(super) has_room: bool,
    pub(super) proposals_waiting: u64,
    pub(super) watches: u64,
    pub(super) slow_requests: u64,
    pub(super) leader_changes: u64,
    pub(super) resident_bytes: u64,
    pub(super) disk_check: DiskCheck,
}

/// How the reading of everything on the disk stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiskCheck {
    pub(super) running: bool,
    /// Of the last sound one; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_seconds_ago: Option<f64>,
    pub(super) took_seconds: f64,
    pub(super) bytes: u64,
    pub(super) damaged: u64,
    /// Neither late nor damaged.
    pub(super) current: bool,
}

impl Counted {
    pub(super) fn of(text: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        Self::at(text, now)
    }

    fn at(text: &str, now: f64) -> Self {
        // Summed where there are several of a name.
        let value = |series: &str| -> f64 {
            let of = |line: &str| {
                let rest = line.strip_prefix(series)?;
                let value = rest
                    .strip_prefix(' ')
                    .or_else(|| rest.strip_prefix('{')?.split_once("} ").map(|(_, v)| v))?;
                value.trim().parse::<f64>().ok()
            };
            text.lines().filter_map(of).sum()
        };
        let started = value("process_start_time_seconds");
        let ended = value("trireme_store_disk_check_last_end_timestamp_seconds");
        let took_seconds = value("trireme_store_disk_check_last_duration_seconds");
        let damaged = value("trireme_store_disk_checks_total{result=\"damaged\"}") as u64;
        let since = now - if ended > 0.0 { ended } else { started };
        Self {
            log_bytes: value("trireme_store_log_bytes") as u64,
            feature_level: value("trireme_store_feature_level") as u64,
            has_room: value("trireme_store_has_room") > 0.0,
            proposals_waiting: value("trireme_store_proposals_waiting") as u64,
            watches: value("etcd_debugging_mvcc_watcher_total") as u64,
            slow_requests: value("trireme_store_slow_requests_total") as u64,
            leader_changes: value("etcd_server_leader_changes_seen_total") as u64,
            resident_bytes: value("process_resident_memory_bytes") as u64,
            disk_check: DiskCheck {
                running: value("trireme_store_disk_check_running") > 0.0,
                ended_seconds_ago: (ended > 0.0).then_some((now - ended).max(0.0)),
                took_seconds,
                bytes: value("trireme_store_disk_check_last_bytes") as u64,
                damaged,
                current: damaged == 0 && since <= LATE_AFTER_S + 2.0 * took_seconds,
            },
        }
    }
}

impl fmt::Display for DiskCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.damaged, self.ended_seconds_ago) {
            (1.., _) => f.write_str("DAMAGED"),
            (0, Some(ago)) if self.current => write!(f, "{ago:.0} s ago"),
            (0, Some(ago)) => write!(f, "LATE, {ago:.0} s ago"),
            (0, None) if self.current => f.write_str("first"),
            (0, None) => f.write_str("LATE, none yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# TYPE trireme_store_log_bytes gauge\ntrireme_store_log_bytes 1024\n\
        trireme_store_log_bytes_more 9\nprocess_start_time_seconds 1000\n\
        trireme_store_slow_requests_total{kind=\"write\"} 2\n\
        trireme_store_slow_requests_total{kind=\"read\"} 3\n\
        trireme_store_disk_checks_total{result=\"sound\"} 7\n";

    #[test]
    fn a_check_is_current_late_or_found_damage() {
        let at = |more: &str, now| Counted::at(&format!("{SCRAPE}{more}"), now);
        let first = at("", 1010.0);
        assert_eq!((first.log_bytes, first.slow_requests), (1024, 5));
        assert_eq!(first.disk_check.to_string(), "first");
        assert_eq!(at("", 1200.0).disk_check.to_string(), "LATE, none yet");
        let ended = "trireme_store_disk_check_last_end_timestamp_seconds 1100\n\
            trireme_store_disk_check_last_duration_seconds 100\n";
        assert_eq!(at(ended, 1105.0).disk_check.to_string(), "5 s ago");
        assert!(at(ended, 1419.0).disk_check.current);
        assert_eq!(at(ended, 1500.0).disk_check.to_string(), "LATE, 400 s ago");
        let damaged = format!("{ended}trireme_store_disk_checks_total{{result=\"damaged\"}} 1\n");
        assert_eq!(at(&damaged, 1105.0).disk_check.to_string(), "DAMAGED");
    }
}
