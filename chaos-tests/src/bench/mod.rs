//! `make bench`: ratios against Debian's etcd as three members on the same machine, measured in one
//! run with one client, and what a user waits for. Figures of different runs or machines do not
//! compare; ratios and CPU time per call move least.

mod api_calls;
mod etcd;
mod etcd_client;
mod failover;
mod footprint;
mod table;
mod usage;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::cluster::{Cluster, free_ports};
use etcd_client::EtcdClient;
use table::Table;
use usage::Usage;

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
    /// Parts to measure: writes, api, failover, footprint [default: all]
    #[arg(long, value_delimiter = ',')]
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

/// Measures, prints a table, writes the figures.
pub async fn run(options: &Options) -> Result<()> {
    let parts = ["writes", "api", "failover", "footprint"];
    for part in &options.only {
        anyhow::ensure!(parts.contains(&part.as_str()), "--only {part}: one of {}", parts.join(", "));
    }
    let mut figures = json!({ "load_before": usage::load_average(), "cores": usage::cores() });
    let mut table = Table::default();
    let time = Duration::from_secs(options.seconds);
    println!("load average before: {}", usage::load_average());
    if options.wants("writes") {
        figures["writes"] = measure_writes(options, &mut table).await?;
    }
    if options.wants("api") || options.wants("failover") || options.wants("footprint") {
        let folder = tempfile::tempdir().context("temporary folder")?;
        let cluster = Cluster::start(&folder.path().join("cluster"), free_ports()?, 3, 0).await?;
        if options.wants("footprint") {
            figures["footprint"] = footprint::measure(&cluster, &mut table).await?;
        }
        if options.wants("api") {
            figures["api"] = api_calls::measure(&cluster, time, &mut table).await?;
        }
        if options.wants("failover") {
            figures["failover"] = failover::measure(&cluster, options.kills, &mut table).await?;
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

/// etcd first, then Trireme, one at a time: both have the machine for themselves.
async fn measure_writes(options: &Options, table: &mut Table) -> Result<Value> {
    let folder = tempfile::tempdir().context("temporary folder")?;
    let time = Duration::from_secs(options.seconds);
    let mut results = Vec::new();
    {
        let etcd = etcd::Etcd::start(folder.path(), free_ports()?).await?;
        let usage = Usage::of(etcd.pids());
        for &clients in &options.clients {
            results.push(
                writes::measure(clients, time, &usage, async |n| etcd.connect(n).await)
                    .await
                    .context("etcd")?,
            );
        }
        etcd.stop().await?;
    }
    let cluster = Cluster::start(&folder.path().join("cluster"), free_ports()?, 3, 0).await?;
    let mut pids = Vec::new();
    for master in cluster.masters() {
        pids.push(cluster.pid(&master.name)?);
    }
    let usage = Usage::of(pids);
    let endpoints: Vec<String> = cluster.masters().into_iter().map(|m| m.client).collect();
    let mut figures = Vec::new();
    for (n, clients) in options.clients.iter().copied().enumerate() {
        let pki = cluster.dir.join("pki");
        let connect = async |i: usize| {
            EtcdClient::connect(&pki, "store-ca.crt", "store-client", &endpoints[i % endpoints.len()]).await
        };
        let ours = writes::measure(clients, time, &usage, connect).await.context("trireme")?;
        let theirs = &results[n];
        let bound = if clients == 1 {
            "a sync on the leader and on a follower, and the way between them"
        } else {
            "the cores, which members and client share"
        };
        table.ratio(
            &format!("writes per second, {clients} clients"),
            ours.per_second,
            theirs.per_second,
            ours.failed + theirs.failed,
            bound,
        );
        table.ratio(
            &format!("CPU ms per write, {clients} clients"),
            ours.cpu_ms,
            theirs.cpu_ms,
            ours.failed + theirs.failed,
            "all members; idle work of the API server and controllers is in ours",
        );
        figures.push(json!({ "clients": clients, "trireme": ours.json(), "etcd": theirs.json() }));
    }
    cluster.stop().await?;
    Ok(Value::Array(figures))
}
