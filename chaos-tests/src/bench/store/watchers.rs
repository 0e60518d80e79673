//! From a put to its event, at every watcher of one prefix.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::messages::{WatchCreateRequest, WatchRequest};
use super::side::{CONNECTIONS_MAX, Side};
use super::{Figure, Percentiles};

/// Watches on one stream.
const PER_STREAM: usize = 100;
/// Events in all, which bounds the puts: between 40, and 400 of which four are above p99.
const EVENTS: usize = 400_000;
const PUTS: (usize, usize) = (40, 400);
/// In which as many puts as there can be are made.
const TIME: Duration = Duration::from_secs(10);
/// Until the last event must have come.
const PATIENCE: Duration = Duration::from_secs(60);

/// `watchers` watch the same prefix; each put goes to all of them. Those that one stream holds watch
/// through each member in turn: an event does not take the same way everywhere.
pub(super) async fn measure(side: &Side, watchers: usize) -> Result<Vec<Figure>> {
    let puts = (EVENTS / watchers.max(1)).clamp(PUTS.0, PUTS.1);
    let turns = if watchers.div_ceil(PER_STREAM) < side.members() { side.members() } else { 1 };
    let (mut latencies, mut cpu) = (Vec::new(), Duration::ZERO);
    for turn in 0..turns {
        let (seen, used) = watched(side, watchers, turn, puts.div_ceil(turns), TIME / puts as u32).await?;
        latencies.extend(seen);
        cpu += used;
    }
    let puts = puts.div_ceil(turns) * turns;
    let cpu_ms = cpu.as_secs_f64() * 1e3 / puts as f64;
    let failed = (watchers * puts).saturating_sub(latencies.len()) as u64;
    let latencies = Percentiles::of(latencies);
    println!(
        "  {:>7}: {watchers:>5} watchers: put to event p50 {:.2} ms, p99 {:.2} ms, {cpu_ms:.2} CPU ms per put, {failed} events missing",
        side.name,
        latencies.at(0.5),
        latencies.at(0.99)
    );
    let figure = |name: &str, value| Figure { name: format!("{watchers} watchers: {name}"), value, failed };
    Ok(vec![
        figure("put to event p50 ms", latencies.at(0.5)),
        figure("put to event p99 ms", latencies.at(0.99)),
        figure("CPU ms of all members per put", cpu_ms),
    ])
}

/// From each of `puts` to each of its events, and what the members used; the first stream is one of
/// member `first`.
async fn watched(
    side: &Side,
    watchers: usize,
    first: usize,
    puts: usize,
    pause: Duration,
) -> Result<(Vec<Duration>, Duration)> {
    let prefix = format!("/watched/{watchers}/{first}/");
    let begin = Instant::now();
    let streams = watchers.div_ceil(PER_STREAM);
    let mut connections = Vec::new();
    for n in 0..streams.min(CONNECTIONS_MAX) {
        connections.push(side.connect_to(first + n).await?);
    }
    let (ready, mut waiting) = mpsc::channel(streams);
    let mut tasks = JoinSet::new();
    for stream in 0..streams {
        let mut client = connections[stream % connections.len()].clone();
        let (create, requests) = mpsc::channel(PER_STREAM);
        let count = PER_STREAM.min(watchers - stream * PER_STREAM);
        let (prefix, ready) = (prefix.clone(), ready.clone());
        tasks.spawn(async move {
            let mut end = prefix.clone().into_bytes();
            *end.last_mut().expect("a prefix") += 1;
            for _ in 0..count {
                let watch = WatchCreateRequest { key: prefix.clone().into_bytes(), range_end: end.clone() };
                create.send(WatchRequest { create: Some(watch) }).await?;
            }
            let mut events = client.watch(requests).await?;
            let (mut created, mut latencies) = (0, Vec::with_capacity(count * puts));
            while latencies.len() < count * puts {
                let Some(response) = events.message().await? else { break };
                ensure!(!response.canceled, "a watch was cancelled");
                created += usize::from(response.created);
                if response.created && created == count {
                    ready.send(()).await?;
                }
                let now = begin.elapsed();
                for event in &response.events {
                    let value = &event.kv.as_ref().context("an event without a key")?.value;
                    let sent = u64::from_be_bytes(value[..8].try_into()?);
                    latencies.push(now.saturating_sub(Duration::from_nanos(sent)));
                }
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    for _ in 0..streams {
        tokio::time::timeout(PATIENCE, waiting.recv()).await.context("the watches did not begin")?;
    }
    let usage = side.usage();
    let cpu = usage.cpu();
    let mut writer = side.connect(1).await?.remove(0);
    for n in 0..puts {
        let value = (begin.elapsed().as_nanos() as u64).to_be_bytes();
        writer.put(format!("{prefix}{n}").into_bytes(), value.to_vec()).await?;
        tokio::time::sleep(pause).await;
    }
    let mut latencies = Vec::new();
    let all = async {
        while let Some(result) = tasks.join_next().await {
            latencies.extend(result.context("a watcher panicked")??);
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(PATIENCE, all).await.context("events are missing")??;
    Ok((latencies, usage.cpu().saturating_sub(cpu)))
}
