//! `make bench`: ratios against Debian's etcd as three members on the same machine, measured in one
//! run with one client, and what a user waits for. Figures of different runs or machines do not
//! compare; ratios and CPU time per call move least.

mod api_calls;
mod failover;
mod footprint;
mod handover;
mod rebuild;
mod store;
mod table;
mod usage;

pub use store::{NothingOptions, serve_nothing};

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::cluster::{Cluster, free_ports};
use table::Table;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Seconds that each figure is measured for
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Numbers of clients that writes are measured with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1000])]
    pub clients: Vec<usize>,
    /// Kills of the leader
    #[arg(long, default_value_t = 20)]
    pub kills: u32,
    /// Clients that write beside as many kills again
    #[arg(long, default_value_t = 64)]
    pub kill_clients: usize,
    /// Planned stops of the leader
    #[arg(long, default_value_t = 10)]
    pub stops: u32,
    /// Numbers of watchers of one prefix
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 10_000])]
    pub watchers: Vec<usize>,
    /// Keys in the store, for what calls cost among them; ours alone
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    pub keys: Vec<usize>,
    /// Masters that hold them
    #[arg(long, default_value_t = 3)]
    pub keys_masters: u16,
    /// Ours alone, where etcd cannot follow: it does not take 5 GiB on a small machine
    #[arg(long)]
    pub without_etcd: bool,
    /// GiB of versions, half of which are compacted away
    #[arg(long, default_value_t = 1.0)]
    pub compact_gib: f64,
    /// GiB that a member whose disk is lost gets from the others
    #[arg(long, default_value_t = 1.0)]
    pub rebuild_gib: f64,
    #[arg(long, value_delimiter = ',', value_name = "PART", help = format!("Parts to measure: {} [default: all]", PARTS.join(", ")))]
    pub only: Vec<String>,
    /// File for the figures
    #[arg(long, default_value = "target/bench.json")]
    pub out: PathBuf,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|p| p == part)
    }
}

const PARTS: [&str; 12] = [
    "memory",
    "writes",
    "reads",
    "transactions",
    "watchers",
    "compaction",
    "growth",
    "api",
    "failover",
    "handover",
    "rebuild",
    "footprint",
];

/// Measures, prints a table, writes the figures.
pub async fn run(options: &Options) -> Result<()> {
    for part in &options.only {
        anyhow::ensure!(PARTS.contains(&part.as_str()), "--only {part}: one of {}", PARTS.join(", "));
    }
    let mut figures = json!({ "load_before": usage::load_average(), "cores": usage::cores() });
    let mut table = Table::default();
    let time = Duration::from_secs(options.seconds);
    println!("load average before: {}", usage::load_average());
    figures["store"] = store::measure(options, &mut table).await?;
    if options.wants("rebuild") {
        figures["rebuild"] = rebuild::measure(options.rebuild_gib, &mut table).await?;
    }
    if ["api", "failover", "handover", "footprint"].iter().any(|part| options.wants(part)) {
        let folder = tempfile::tempdir().context("temporary folder")?;
        let cluster = Cluster::start(&folder.path().join("cluster"), free_ports()?, 3, 0).await?;
        if options.wants("footprint") {
            figures["footprint"] = footprint::measure(&cluster, &mut table).await?;
        }
        if options.wants("api") {
            figures["api"] = api_calls::measure(&cluster, time, &mut table).await?;
        }
        if options.wants("failover") {
            figures["failover"] =
                failover::measure(&cluster, options.kills, options.kill_clients, &mut table).await?;
        }
        if options.wants("handover") {
            figures["handover"] = handover::measure(&cluster, options.stops, &mut table).await?;
        }
        cluster.stop().await?;
    }
    println!("\n{table}");
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    std::fs::write(&options.out, serde_json::to_string_pretty(&figures)? + "\n")
        .with_context(|| format!("write {}", options.out.display()))?;
    println!("figures: {}", options.out.display());
    Ok(())
}
