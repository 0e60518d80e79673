//! From `kill -9` of the leader to the next write that is acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

use super::table::Table;
use super::usage;
use crate::cluster::Cluster;

const GIVE_UP: Duration = Duration::from_secs(30);
const TRY_EVERY: Duration = Duration::from_millis(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_secs(1);

pub(super) async fn measure(cluster: &Cluster, kills: u32, table: &mut Table) -> Result<Value> {
    let mut gaps = Vec::new();
    for n in 0..kills {
        cluster.wait_healed().await?;
        tokio::time::sleep(SETTLE).await;
        let leader = cluster.leader().await?;
        // A client of the survivors, connected beforehand as an API server would be.
        let survivors =
            cluster.masters().into_iter().filter(|m| m.name != leader).map(|m| m.client).collect();
        let kv = cluster.store_at(survivors)?;
        put(&kv, n).await.context("a write before the kill")?;
        let pid = cluster.pid(&leader)?;
        let begin = Instant::now();
        cluster.kill(pid)?;
        loop {
            if let Ok(Ok(())) = tokio::time::timeout(ANSWER_TIMEOUT, put(&kv, n)).await {
                break;
            }
            if begin.elapsed() > GIVE_UP {
                bail!("no write was acknowledged within {GIVE_UP:?} of killing {leader}");
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        let gap = begin.elapsed();
        println!("  kill {:>2} of {kills}: {leader}, {} ms", n + 1, gap.as_millis());
        gaps.push(gap.as_secs_f64() * 1e3);
    }
    if gaps.is_empty() {
        return Ok(Value::Null);
    }
    gaps.sort_by(f64::total_cmp);
    let (median, worst) = (gaps[(gaps.len() - 1) / 2], gaps[gaps.len() - 1]);
    let load = format!("load average {}", usage::load_average());
    table.figure("failover, median ms", format!("{median:.0}"), &load);
    table.figure("failover, worst ms", format!("{worst:.0}"), &load);
    Ok(json!({ "kills": kills, "median_ms": median, "worst_ms": worst, "all_ms": gaps, "load": load }))
}

async fn put(kv: &Arc<dyn Kv>, n: u32) -> Result<(), trireme_store::Error> {
    let put = PutRequest::new("/bench/failover", n.to_string());
    kv.txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() }).await.map(|_| ())
}
