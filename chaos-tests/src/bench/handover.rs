//! What a client sees of a planned stop of the leader: it writes on through the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

use super::table::Table;
use super::usage;
use crate::cluster::Cluster;

const SETTLE: Duration = Duration::from_secs(1);
/// Writing before the leader is asked to stop, for the gap that there is without.
const BEFORE: Duration = Duration::from_millis(500);
/// And after: a stop has its time.
const AFTER: Duration = Duration::from_secs(2);

/// The longest times between two acknowledged writes of one client, and how many writes failed.
pub(super) async fn measure(cluster: &Cluster, stops: u32, table: &mut Table) -> Result<Value> {
    let (mut gaps, mut usual, mut failed) = (Vec::new(), Vec::new(), 0);
    for n in 0..stops {
        cluster.wait_healed().await?;
        tokio::time::sleep(SETTLE).await;
        let leader = cluster.leader().await?;
        let others = cluster.masters().into_iter().filter(|m| m.name != leader).map(|m| m.client).collect();
        let kv = cluster.store_at(others)?;
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write_on(kv, stop.clone()));
        tokio::time::sleep(BEFORE).await;
        let asked = Instant::now();
        kill(cluster.pid(&leader)?, Signal::SIGTERM).with_context(|| format!("stop {leader}"))?;
        tokio::time::sleep(AFTER).await;
        stop.store(true, Ordering::Relaxed);
        let seen = writer.await.context("the writer panicked")?;
        let gap = seen.longest(|end| end >= asked);
        usual.push(seen.longest(|end| end < asked));
        failed += seen.failed;
        println!("  stop {:>2} of {stops}: {leader}, {gap:.1} ms, {} failed", n + 1, seen.failed);
        gaps.push(gap);
    }
    if gaps.is_empty() {
        return Ok(Value::Null);
    }
    gaps.sort_by(f64::total_cmp);
    usual.sort_by(f64::total_cmp);
    let middle = |all: &[f64]| all[(all.len() - 1) / 2];
    let (median, worst, without) = (middle(&gaps), gaps[gaps.len() - 1], middle(&usual));
    let note = format!(
        "{without:.1} without a stop; {failed} writes failed; load average {}",
        usage::load_average()
    );
    table.figure("planned stop of the leader, write gap, median ms", format!("{median:.1}"), &note);
    table.figure("planned stop of the leader, write gap, worst ms", format!("{worst:.1}"), &note);
    Ok(json!({
        "stops": stops, "median_ms": median, "worst_ms": worst, "without_ms": without, "failed": failed, "all_ms": gaps,
    }))
}

struct Seen {
    begun: Instant,
    acknowledged: Vec<Instant>,
    failed: u64,
}

impl Seen {
    /// Milliseconds of the longest pause whose end `counts`.
    fn longest(&self, counts: impl Fn(Instant) -> bool) -> f64 {
        let mut before = self.begun;
        let mut longest = Duration::ZERO;
        for &at in &self.acknowledged {
            if counts(at) {
                longest = longest.max(at - before);
            }
            before = at;
        }
        longest.as_secs_f64() * 1e3
    }
}

/// One write after the other; none is tried again.
async fn write_on(kv: Arc<dyn Kv>, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen { begun: Instant::now(), acknowledged: Vec::new(), failed: 0 };
    while !stop.load(Ordering::Relaxed) {
        let put = PutRequest::new("/bench/handover", seen.acknowledged.len().to_string());
        match kv.txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() }).await {
            Ok(_) => seen.acknowledged.push(Instant::now()),
            Err(_) => seen.failed += 1,
        }
    }
    seen
}
