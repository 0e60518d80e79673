//! What the amount of data costs: memory, calls while a compaction runs, calls among more keys.

use std::time::{Duration, Instant};

use anyhow::Result;
use tonic::Status;

use super::client::Client;
use super::load::{Caller, fill, run};
use super::messages::RangeRequest;
use super::side::Side;
use super::{Figure, Percentiles};

const MIB: f64 = 1048576.0;
const MEMORY_KEYS: usize = 100_000;
const MEMORY_VALUE_BYTES: usize = 1024;
/// Until what a load has left behind is written and given back.
const SETTLE: Duration = Duration::from_secs(10);

/// Resident memory with a hundred thousand keys of 1 KiB.
pub(super) async fn memory(side: &Side) -> Result<Vec<Figure>> {
    fill(side, MEMORY_KEYS, |n| (format!("/memory/{n:08}").into_bytes(), vec![b'v'; MEMORY_VALUE_BYTES]))
        .await?;
    tokio::time::sleep(SETTLE).await;
    let value = side.resident()? as f64 / MIB;
    println!("  {:>7}: {MEMORY_KEYS} keys of 1 KiB: {value:.0} MiB resident", side.name);
    Ok(vec![Figure { name: "100,000 keys of 1 KiB: resident MiB".into(), value, failed: 0 }])
}

/// Writes that leave the machine idle in between, so that waiting shows.
struct Paced {
    client: Client,
    id: usize,
}

const PACED_CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(20);
const VERSION_BYTES: usize = 8192;

impl Caller for Paced {
    async fn call(&mut self, n: u64) -> Result<(), Status> {
        let key = format!("/paced/{}/{}", self.id, n % 100).into_bytes();
        self.client.put(key, vec![b'p'; 256]).await.map(|_| ())
    }
}

async fn paced(side: &Side, time: Duration) -> Result<(Percentiles, u64)> {
    let clients = side.connect(PACED_CLIENTS).await?;
    let callers = clients.into_iter().enumerate().map(|(id, client)| Paced { client, id }).collect();
    let (_, seen) = run(callers, 0, time, PACE).await?;
    Ok((Percentiles::of(seen.latencies), seen.failed))
}

/// Latency of paced writes, idle and while half of `gib` of versions is compacted away.
pub(super) async fn compaction(side: &Side, gib: f64, time: Duration) -> Result<Vec<Figure>> {
    let keys = (gib * 1024.0 * MIB / 2.0 / VERSION_BYTES as f64) as usize;
    let mut newest = 0;
    for version in 0..2_u8 {
        newest = fill(side, keys, move |n| {
            let mut value = vec![version; VERSION_BYTES];
            value[..8].copy_from_slice(&n.to_be_bytes());
            (format!("/compacted/{n:08}").into_bytes(), value)
        })
        .await?;
    }
    tokio::time::sleep(SETTLE).await;
    let (idle, failed_idle) = paced(side, time).await?;
    side.connect(1).await?.remove(0).compact(newest).await?;
    let (busy, failed_busy) = paced(side, time).await?;
    let failed = failed_idle + failed_busy;
    let ratio = busy.at(0.99) / idle.at(0.99);
    println!(
        "  {:>7}: {gib} GiB: p99 {:.2} ms idle, {:.2} ms while compacting, {failed} failed",
        side.name,
        idle.at(0.99),
        busy.at(0.99)
    );
    let figure = |name: &str, value| Figure { name: format!("{gib} GiB of versions: {name}"), value, failed };
    Ok(vec![
        figure("p99 ms idle", idle.at(0.99)),
        figure("p99 ms while compacting", busy.at(0.99)),
        figure("p99 compacting by idle", ratio),
    ])
}

/// One client's calls among `keys` keys of 256 bytes; `had` of them are there already.
pub(super) async fn growth(side: &Side, had: usize, keys: usize, time: Duration) -> Result<Vec<Figure>> {
    let begin = Instant::now();
    fill(side, keys - had, move |n| (grown_key(had + n), vec![b'v'; 256])).await?;
    let rate = (keys - had) as f64 / begin.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let client = side.connect(1).await?.remove(0);
    let mut values = vec![("keys filled per second", rate)];
    for (name, kind) in
        [("put p50 ms", Kind::Put), ("get p50 ms", Kind::Get), ("page of 500 p50 ms", Kind::Page)]
    {
        let caller = Among { client: client.clone(), keys, kind };
        let (_, seen) = run(vec![caller], 0, time, Duration::ZERO).await?;
        anyhow::ensure!(seen.failed == 0, "{} calls failed among {keys} keys", seen.failed);
        values.push((name, Percentiles::of(seen.latencies).at(0.5)));
    }
    values.push(("resident MiB", side.resident()? as f64 / MIB));
    let shown: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    println!("  {:>7}: {keys} keys: {}", side.name, shown.join(", "));
    let figure =
        |(name, value): (&str, f64)| Figure { name: format!("{keys} keys: {name}"), value, failed: 0 };
    Ok(values.into_iter().map(figure).collect())
}

fn grown_key(n: usize) -> Vec<u8> {
    format!("/grown/{n:010}").into_bytes()
}

enum Kind {
    Put,
    Get,
    Page,
}

struct Among {
    client: Client,
    keys: usize,
    kind: Kind,
}

impl Caller for Among {
    async fn call(&mut self, n: u64) -> Result<(), Status> {
        let at = (n as usize).wrapping_mul(7_368_787) % self.keys;
        let request = match self.kind {
            Kind::Put => return self.client.put(grown_key(at), vec![b'w'; 256]).await.map(|_| ()),
            Kind::Get => RangeRequest { key: grown_key(at), ..RangeRequest::default() },
            Kind::Page => RangeRequest {
                key: grown_key(at),
                range_end: b"/grown0".to_vec(),
                limit: 500,
                ..RangeRequest::default()
            },
        };
        let found = self.client.range(request).await?;
        if found.kvs.is_empty() { Err(Status::not_found("no key")) } else { Ok(()) }
    }
}
