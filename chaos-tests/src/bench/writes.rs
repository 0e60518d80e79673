//! Writes acknowledged per second: keys of 256 bytes, values of 1 KiB, each synced on a quorum.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::etcd_client::EtcdClient;
use super::usage::Usage;

const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
/// Connections that clients share, as a fleet of API servers would have.
const CONNECTIONS_MAX: usize = 16;
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) struct Figures {
    pub per_second: f64,
    pub cpu_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    pub failed: u64,
}

impl Figures {
    pub(super) fn json(&self) -> Value {
        json!({
            "per_second": self.per_second, "cpu_ms_per_write": self.cpu_ms,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "failed": self.failed,
        })
    }
}

pub(super) async fn measure(
    clients: usize,
    time: Duration,
    usage: &Usage,
    connect: impl AsyncFn(usize) -> Result<EtcdClient>,
) -> Result<Figures> {
    let mut connections = Vec::new();
    for n in 0..clients.min(CONNECTIONS_MAX) {
        connections.push(connect(n).await?);
    }
    run(clients, WARM_UP, &connections).await?;
    let (cpu, begin) = (usage.cpu(), Instant::now());
    let (mut latencies, failed) = run(clients, time, &connections).await?;
    let (took, cpu) = (begin.elapsed(), usage.cpu().saturating_sub(cpu));
    ensure!(!latencies.is_empty(), "no write was acknowledged with {clients} clients");
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    let count = latencies.len() as f64;
    let figures = Figures {
        per_second: count / took.as_secs_f64(),
        cpu_ms: cpu.as_secs_f64() * 1e3 / count,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        failed,
    };
    println!(
        "  {clients:>4} clients: {:>8.0} writes/s, {:.3} CPU ms, p50 {:.2} ms, p99 {:.2} ms, {failed} failed",
        figures.per_second, figures.cpu_ms, figures.p50_ms, figures.p99_ms
    );
    Ok(figures)
}

async fn run(clients: usize, time: Duration, connections: &[EtcdClient]) -> Result<(Vec<Duration>, u64)> {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + time;
    for client in 0..clients {
        let mut kv = connections[client % connections.len()].clone();
        tasks.spawn(async move {
            let (mut latencies, mut failed) = (Vec::new(), 0);
            let value = vec![b'v'; VALUE_BYTES];
            for n in 0_u64.. {
                if Instant::now() >= end {
                    break;
                }
                let key = format!("/bench/{client:06}/{n:<width$}", width = KEY_BYTES - 14);
                let begin = Instant::now();
                match kv.put(key.into_bytes(), value.clone()).await {
                    Ok(_) => latencies.push(begin.elapsed()),
                    Err(_) => {
                        failed += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            (latencies, failed)
        });
    }
    let (mut all, mut failures) = (Vec::new(), 0);
    while let Some(result) = tasks.join_next().await {
        let (latencies, failed) = result.context("a client panicked")?;
        all.extend(latencies);
        failures += failed;
    }
    Ok((all, failures))
}
