//! Start-up time, resident memory of an idle master, size of the binary.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::table::Table;
use super::usage::{Usage, resident_bytes};
use crate::cluster::{Cluster, binary};

const IDLE: Duration = Duration::from_secs(10);
const MIB: f64 = 1048576.0;

pub(super) async fn measure(cluster: &Cluster, table: &mut Table) -> Result<Value> {
    let start_s = cluster.started_in.as_secs_f64();
    table.figure(
        "trireme up, three masters, s",
        format!("{start_s:.2}"),
        "from the command to ready, new state",
    );
    let mut pids = Vec::new();
    for master in cluster.masters() {
        pids.push(cluster.pid(&master.name)?);
    }
    let usage = Usage::of(pids.clone());
    let cpu = usage.cpu();
    tokio::time::sleep(IDLE).await;
    let idle_percent =
        (usage.cpu().saturating_sub(cpu)).as_secs_f64() / IDLE.as_secs_f64() * 100.0 / pids.len() as f64;
    let resident: Vec<f64> =
        pids.iter().filter_map(|pid| resident_bytes(*pid)).map(|bytes| bytes as f64 / MIB).collect();
    let most = resident.iter().copied().fold(0.0, f64::max);
    table.figure("idle master, resident MiB", format!("{most:.0}"), "the largest of three");
    table.figure("idle master, % of a core", format!("{idle_percent:.1}"), "mean of three over 10 s");
    let stripped = stripped_size()?;
    table.figure("stripped binary, MiB", format!("{:.1}", stripped as f64 / MIB), "the binary that was run");
    Ok(json!({
        "start_s": start_s, "resident_mib": resident, "idle_percent": idle_percent, "stripped_bytes": stripped,
    }))
}

fn stripped_size() -> Result<u64> {
    let folder = tempfile::tempdir().context("temporary folder")?;
    let copy = folder.path().join("trireme");
    let status = std::process::Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(binary()?)
        .status()
        .context("run strip")?;
    anyhow::ensure!(status.success(), "strip failed");
    Ok(std::fs::metadata(&copy)?.len())
}
