//! Ratios against Debian's etcd: the same calls by the same client to both, one after the other, so
//! that each has the machine for itself.

mod calls;
mod client;
mod etcd;
mod load;
mod messages;
mod nothing;
mod side;
mod size;
mod watchers;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::Options;
use super::table::Table;
pub(super) use load::fill;
use nothing::Depth;
pub use nothing::{NothingOptions, serve as serve_nothing};
pub(super) use side::Side;

/// One figure of one side. Both sides give theirs in the same order.
struct Figure {
    name: String,
    value: f64,
    failed: u64,
}

/// Latencies in order.
struct Percentiles(Vec<Duration>);

impl Percentiles {
    fn of(mut latencies: Vec<Duration>) -> Percentiles {
        latencies.sort_unstable();
        Percentiles(latencies)
    }

    /// Milliseconds that `part` of all stay below; zero where there is nothing.
    fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part) as usize).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// Prints progress, adds ratios to `table`, and gives all figures.
pub(super) async fn measure(options: &Options, table: &mut Table) -> Result<Value> {
    let folder = tempfile::tempdir().context("temporary folder")?;
    let mut figures = Map::new();
    let shared = ["memory", "writes", "reads", "transactions", "watchers", "compaction"];
    if shared.iter().any(|part| options.wants(part)) {
        let mut theirs = Vec::new();
        if !options.without_etcd {
            let etcd = Side::etcd(folder.path()).await?;
            theirs = all(options, &etcd).await.context("etcd")?;
            etcd.stop().await?;
        }
        let trireme = Side::trireme(folder.path(), 3).await?;
        let ours = all(options, &trireme).await.context("trireme")?;
        trireme.stop().await?;
        for ours in ours.iter().filter(|_| options.without_etcd) {
            table.figure(&ours.name, format!("{:.3}", ours.value), bound(&ours.name));
            figures.insert(ours.name.clone(), json!({ "trireme": ours.value }));
        }
        for (ours, theirs) in ours.iter().zip(&theirs) {
            table.ratio(&ours.name, ours.value, theirs.value, ours.failed + theirs.failed, bound(&ours.name));
            figures.insert(ours.name.clone(), json!({ "trireme": ours.value, "etcd": theirs.value }));
        }
    }
    if options.wants("writes") {
        for (what, bound, depth) in [
            ("the calls alone", "one process without a store", Depth::Calls),
            ("and two of three files synced", "one process without a store", Depth::Files),
            ("and on three members", "three without raft and without a store", Depth::Members),
        ] {
            let nothing = Side::nothing(folder.path(), depth).await?;
            for &clients in &options.clients {
                for figure in calls::writes(&nothing, clients, time(options)).await? {
                    let name = format!("{what}: {}", figure.name);
                    table.figure(&name, format!("{:.3}", figure.value), bound);
                    figures.insert(name, json!(figure.value));
                }
            }
            nothing.stop().await?;
        }
    }
    if options.wants("growth") {
        let folder = tempfile::tempdir().context("temporary folder")?;
        let trireme = Side::trireme(folder.path(), options.keys_masters).await?;
        let mut had = 0;
        for &keys in &options.keys {
            anyhow::ensure!(keys > had, "--keys {keys}: in rising order");
            for figure in size::growth(&trireme, had, keys, time(options)).await? {
                table.figure(&figure.name, format!("{:.2}", figure.value), "one client");
                figures.insert(figure.name, json!({ "trireme": figure.value }));
            }
            had = keys;
        }
        trireme.stop().await?;
    }
    Ok(Value::Object(figures))
}

fn time(options: &Options) -> Duration {
    Duration::from_secs(options.seconds)
}

async fn all(options: &Options, side: &Side) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // First, while nothing else is in it.
    if options.wants("memory") {
        figures.extend(size::memory(side).await?);
    }
    if options.wants("writes") {
        for &clients in &options.clients {
            figures.extend(calls::writes(side, clients, time(options)).await?);
        }
    }
    if options.wants("reads") {
        figures.extend(calls::reads(side, &options.clients, time(options)).await?);
    }
    if options.wants("transactions") {
        for &clients in &options.clients {
            figures.extend(calls::transactions(side, clients, time(options)).await?);
        }
    }
    if options.wants("watchers") {
        for &watchers in &options.watchers {
            figures.extend(watchers::measure(side, watchers).await?);
        }
    }
    if options.wants("compaction") {
        figures.extend(size::compaction(side, options.compact_gib, time(options)).await?);
    }
    Ok(figures)
}

/// What a figure cannot pass on this machine.
fn bound(name: &str) -> &'static str {
    if name.ends_with("of the client") {
        "on the same cores"
    } else if name.contains("CPU") {
        "all members; idle work of the API server and controllers is in ours"
    } else if name.contains(", 1 clients") && !name.contains("reads") {
        "a sync on the leader and on a follower, and the way between them"
    } else if name.contains("per second") {
        "the cores, which members and client share"
    } else {
        ""
    }
}
