//! Clients that call without a pause, and what they saw.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tonic::Status;

use super::client::Client;
use super::side::Side;
use super::{Figure, Percentiles};
use crate::bench::usage::Usage;

const WARM_UP: Duration = Duration::from_secs(1);
const AFTER_FAILURE: Duration = Duration::from_millis(5);
/// Pairs in one transaction: etcd takes 128.
const BATCH: usize = 100;
const LOADERS: usize = 8;

/// One client, which makes its call `n`.
pub(super) trait Caller: Send + 'static {
    fn call(&mut self, n: u64) -> impl Future<Output = Result<(), Status>> + Send;
}

/// What `clients` of them got done in `time`, after a second of warming up, and what it cost the
/// members. `what` is in the plural and names the figures.
pub(super) async fn measure<C: Caller>(
    side: &Side,
    what: &str,
    clients: usize,
    time: Duration,
    caller: impl Fn(usize, Client) -> C,
) -> Result<Vec<Figure>> {
    let connections = side.connect(clients).await?;
    let callers =
        (0..clients).map(|id| caller(id, connections[id % connections.len()].clone())).collect::<Vec<_>>();
    let (callers, _) = run(callers, 0, WARM_UP, Duration::ZERO).await?;
    let (usage, own) = (side.usage(), Usage::of(vec![nix::unistd::getpid()]));
    let (cpu, own_cpu, begin) = (usage.cpu(), own.cpu(), Instant::now());
    let (_, seen) = run(callers, 1 << 32, time, Duration::ZERO).await?;
    let (took, cpu) = (begin.elapsed(), usage.cpu().saturating_sub(cpu));
    let own_cpu = own.cpu().saturating_sub(own_cpu);
    ensure!(!seen.latencies.is_empty(), "{}: none of the {what} was answered", side.name);
    let count = seen.latencies.len() as f64;
    let (per_second, cpu_ms) = (count / took.as_secs_f64(), cpu.as_secs_f64() * 1e3 / count);
    let client_ms = own_cpu.as_secs_f64() * 1e3 / count;
    let latencies = Percentiles::of(seen.latencies);
    println!(
        "  {:>7}: {clients:>4} clients: {per_second:>8.0} {what}/s, {cpu_ms:.3} CPU ms and {client_ms:.3} of the client, p50 {:.2} ms, p99 {:.2} ms, {} failed",
        side.name,
        latencies.at(0.5),
        latencies.at(0.99),
        seen.failed
    );
    let failed = seen.failed;
    let figure =
        |name: &str, value: f64| Figure { name: format!("{what}, {clients} clients: {name}"), value, failed };
    Ok(vec![
        figure("per second", per_second),
        figure("CPU ms of all members", cpu_ms),
        figure("CPU ms of the client", client_ms),
        figure("p50 ms", latencies.at(0.5)),
        figure("p99 ms", latencies.at(0.99)),
    ])
}

pub(super) struct Seen {
    pub latencies: Vec<Duration>,
    pub failed: u64,
}

/// Each makes its calls from number `first` on with `pause` between them, until `time` is over.
pub(super) async fn run<C: Caller>(
    callers: Vec<C>,
    first: u64,
    time: Duration,
    pause: Duration,
) -> Result<(Vec<C>, Seen)> {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + time;
    for mut caller in callers {
        tasks.spawn(async move {
            let mut seen = Seen { latencies: Vec::new(), failed: 0 };
            let mut n = first;
            while Instant::now() < end {
                let begin = Instant::now();
                match caller.call(n).await {
                    Ok(()) => seen.latencies.push(begin.elapsed()),
                    Err(_) => {
                        seen.failed += 1;
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
                n += 1;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            (caller, seen)
        });
    }
    let (mut callers, mut all) = (Vec::new(), Seen { latencies: Vec::new(), failed: 0 });
    while let Some(result) = tasks.join_next().await {
        let (caller, seen) = result.context("a client panicked")?;
        callers.push(caller);
        all.latencies.extend(seen.latencies);
        all.failed += seen.failed;
    }
    Ok((callers, all))
}

/// Writes pairs `0..count` as `pair` makes them, many in one transaction. The newest revision.
pub(in crate::bench) async fn fill(
    side: &Side,
    count: usize,
    pair: impl Fn(usize) -> (Vec<u8>, Vec<u8>) + Clone + Send + 'static,
) -> Result<i64> {
    let connections = side.connect(LOADERS).await?;
    let mut tasks = JoinSet::new();
    for (loader, mut client) in connections.into_iter().enumerate() {
        let pair = pair.clone();
        tasks.spawn(async move {
            let mut newest = 0;
            let mut from = loader * BATCH;
            while from < count {
                let pairs = (from..count.min(from + BATCH)).map(&pair).collect();
                newest = client.put_all(pairs).await?;
                from += LOADERS * BATCH;
            }
            Ok::<i64, Status>(newest)
        });
    }
    let mut newest = 0;
    while let Some(result) = tasks.join_next().await {
        newest =
            newest.max(result.context("a loader panicked")?.with_context(|| format!("fill {}", side.name))?);
    }
    Ok(newest)
}
