//! From `kill -9` of the leader to the next write that is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

use super::table::Table;
use super::usage;
use crate::cluster::Cluster;

const GIVE_UP: Duration = Duration::from_secs(30);
const TRY_EVERY: Duration = Duration::from_millis(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries that a master may be behind when the next kill comes: under load there are always some.
const LAG_MAX: u64 = 2000;
const SETTLE: Duration = Duration::from_secs(1);

/// Kills the leader `kills` times on an idle cluster, and as often while `clients` write as fast as
/// they can through all masters.
pub(super) async fn measure(
    cluster: &Cluster,
    kills: u32,
    clients: usize,
    table: &mut Table,
) -> Result<Value> {
    if kills == 0 {
        return Ok(Value::Null);
    }
    let idle = kill_leaders(cluster, kills).await?;
    let load = Load::start(cluster, clients)?;
    let busy = kill_leaders(cluster, kills).await;
    let written = load.stop().await;
    let (idle, busy) =
        (figures(idle, "", table), figures(busy?, &format!(" beside {clients} writers"), table));
    Ok(json!({ "kills": kills, "idle": idle, "clients": clients, "written": written, "loaded": busy }))
}

fn figures(mut gaps: Vec<f64>, beside: &str, table: &mut Table) -> Value {
    gaps.sort_by(f64::total_cmp);
    let (median, worst) = (gaps[(gaps.len() - 1) / 2], gaps[gaps.len() - 1]);
    let load = format!("load average {}", usage::load_average());
    table.figure(&format!("failover{beside}, median ms"), format!("{median:.0}"), &load);
    table.figure(&format!("failover{beside}, worst ms"), format!("{worst:.0}"), &load);
    json!({ "median_ms": median, "worst_ms": worst, "all_ms": gaps, "load": load })
}

/// Milliseconds from each kill to the next acknowledged write of one client.
async fn kill_leaders(cluster: &Cluster, kills: u32) -> Result<Vec<f64>> {
    let mut gaps = Vec::new();
    for n in 0..kills {
        cluster.wait_within(LAG_MAX).await?;
        tokio::time::sleep(SETTLE).await;
        let leader = cluster.leader().await?;
        // A client of the survivors, connected beforehand as an API server would be.
        let survivors =
            cluster.masters().into_iter().filter(|m| m.name != leader).map(|m| m.client).collect();
        let kv = cluster.store_at(survivors)?;
        put(&kv, "/bench/failover", n).await.context("a write before the kill")?;
        let pid = cluster.pid(&leader)?;
        let begin = Instant::now();
        cluster.kill(pid)?;
        loop {
            if let Ok(Ok(())) = tokio::time::timeout(ANSWER_TIMEOUT, put(&kv, "/bench/failover", n)).await {
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
    Ok(gaps)
}

/// Clients that write without a pause.
struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<u64>,
}

impl Load {
    fn start(cluster: &Cluster, clients: usize) -> Result<Load> {
        let (stop, kv) = (Arc::new(AtomicBool::new(false)), cluster.store()?);
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let (stop, kv) = (stop.clone(), kv.clone());
            tasks.spawn(async move {
                let mut written = 0;
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match put(&kv, &format!("/bench/load/{client}"), n).await {
                        Ok(()) => written += 1,
                        Err(_) => tokio::time::sleep(TRY_EVERY).await,
                    }
                }
                written
            });
        }
        Ok(Load { stop, clients: tasks })
    }

    /// How many writes were acknowledged.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().sum()
    }
}

async fn put(kv: &Arc<dyn Kv>, key: &str, n: u32) -> Result<(), trireme_store::Error> {
    let put = PutRequest::new(key.to_owned(), n.to_string());
    kv.txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() }).await.map(|_| ())
}
