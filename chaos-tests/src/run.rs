//! One run: traffic, faults, healing, checks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_api::Object;
use trireme_api::tree::Value;
use trireme_client::resource::{PODS, REPLICA_SETS};
use trireme_client::{Client, DeleteOptions, ListParams};

use crate::cluster::{Cluster, free_ports};
use crate::history::{History, Recorder};
use crate::report::Report;
use crate::{check, faults, traffic};

/// Clients of the API count on from here, so that no two clients have a number.
const FIRST_API_CLIENT: u32 = 100;
const FIRST_STORE_WATCHER: u32 = 0;
const FIRST_API_WATCHER: u32 = 1_000;
/// Writes that must be acknowledged between two faults: a cluster that never works proves nothing.
const PROGRESS_WRITES: usize = 20;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const NODES: u32 = 2;
const REPLICAS: usize = 3;
const REPLICA_SET: &str = "chaos-set";

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Decides which faults come, when, and what clients do [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Faults inflicted
    #[arg(long, default_value_t = 8)]
    pub faults: usize,
    /// Clients of the store, and as many of the API
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub clients: u32,
    /// Masters: 3 or 5
    #[arg(long, default_value_t = 3)]
    pub masters: u16,
    /// The balancer's port, the first of those that the cluster takes [default: free ones]
    #[arg(long)]
    pub port: Option<u16>,
    /// Where the cluster and the history go; kept after a failure [default: a temporary folder]
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Runs and reports; an error is a failure of the harness itself.
pub async fn run(options: &Options) -> Result<Report> {
    let seed = options.seed.unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
    });
    println!("seed {seed}: {} faults on {} masters", options.faults, options.masters);
    let temporary =
        tempfile::Builder::new().prefix("trireme-chaos-").tempdir().context("temporary folder")?;
    let dir = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let recorder = Arc::new(Recorder::default());
    let outcome = drive(seed, options, &dir.join("cluster"), &recorder).await;
    let mut history = recorder.with(std::mem::take).await;
    history.operations.sort_by_key(|operation| operation.begin);
    let mut report = Report::new(seed, options, &history);
    for (name, checker) in check::ALL {
        report.checked(name, checker(&history));
    }
    match outcome {
        Ok(()) => report.checked("the cluster heals and the ReplicaSet is whole", Vec::new()),
        Err(error) => {
            report.checked("the cluster heals and the ReplicaSet is whole", vec![format!("{error:#}")]);
        }
    }
    if !report.passed() {
        let kept = if options.dir.is_some() { dir } else { temporary.keep() };
        write_history(&kept, &history)?;
        report.kept(&kept);
    }
    Ok(report)
}

fn write_history(dir: &Path, history: &History) -> Result<()> {
    let path = dir.join("history.json");
    let file = std::fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    serde_json::to_writer(std::io::BufWriter::new(file), history).context("write the history")
}

async fn drive(seed: u64, options: &Options, dir: &Path, recorder: &Arc<Recorder>) -> Result<()> {
    let port = options.port.map_or_else(free_ports, Ok)?;
    let cluster = Cluster::start(dir, port, options.masters, NODES).await?;
    println!("up after {:.1} s", cluster.started_in.as_secs_f64());
    let result = drive_cluster(seed, options, &cluster, recorder).await;
    let stopped = cluster.stop().await;
    result.and(stopped)
}

async fn drive_cluster(
    seed: u64,
    options: &Options,
    cluster: &Cluster,
    recorder: &Arc<Recorder>,
) -> Result<()> {
    let store = cluster.store()?;
    let api = cluster.api()?;
    create_replica_set(&api).await?;
    let from = store.barrier().await.context("the first barrier")?;

    let stop_clients = CancellationToken::new();
    let stop_watchers = CancellationToken::new();
    let (mut clients, mut store_watchers, mut watchers) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for n in 0..options.clients {
        // Connections of their own: a fault must not hit all clients alike.
        let kv = cluster.store()?;
        let stop = stop_clients.clone();
        clients.spawn(traffic::store::client(n, seed, kv, recorder.clone(), stop));
        let (id, stop) = (FIRST_API_CLIENT + n, stop_clients.clone());
        clients.spawn(traffic::api::client(id, seed, cluster.api()?, recorder.clone(), stop));
    }
    for (n, master) in cluster.masters().into_iter().enumerate() {
        let n = u32::try_from(n)?;
        let kv = cluster.store_at(vec![master.client])?;
        let stop = stop_watchers.clone();
        let (stays, name) = (stop_clients.clone(), master.name);
        clients.spawn(traffic::store::resident(n, seed, name, kv.clone(), recorder.clone(), stays));
        let id = FIRST_STORE_WATCHER + n;
        store_watchers.spawn(traffic::store::watchers(id, seed, from, kv, recorder.clone(), stop));
        let id = FIRST_API_WATCHER * (n + 1);
        watchers.spawn(traffic::api::watchers(id, cluster.api()?, recorder.clone(), stop_watchers.clone()));
    }

    let faulted = inflict_all(seed, options.faults, cluster, recorder).await;
    let healed = match faulted {
        Ok(()) => wait_for_progress(recorder).await,
        Err(error) => Err(error),
    };
    stop_clients.cancel();
    while clients.join_next().await.is_some() {}
    healed?;

    cluster.wait_healed().await?;
    finish(cluster, &api, recorder).await?;
    // Store watchers end by themselves at the end key; API watchers get a moment to catch up.
    let drained = timeout(HEAL_TIMEOUT, async { while store_watchers.join_next().await.is_some() {} }).await;
    sleep(Duration::from_secs(1)).await;
    stop_watchers.cancel();
    while watchers.join_next().await.is_some() {}
    drained.context("a store watcher did not reach the end")?;
    whole_again(&api).await
}

async fn inflict_all(seed: u64, count: usize, cluster: &Cluster, recorder: &Recorder) -> Result<()> {
    for (n, (pause, fault)) in faults::plan(seed, count).into_iter().enumerate() {
        wait_for_progress(recorder).await.with_context(|| format!("before fault {}", n + 1))?;
        sleep(pause).await;
        let whom = faults::inflict(cluster, fault, seed.wrapping_add(n as u64)).await?;
        println!(
            "  {:>2}/{count} {fault:?}: {whom} ({} writes acknowledged)",
            n + 1,
            recorder.acknowledged().await
        );
        // Two losses of different members may not overlap: that would be the loss of a quorum,
        // from which nothing follows but waiting.
        cluster.wait_healed().await.with_context(|| format!("after fault {}, {fault:?} of {whom}", n + 1))?;
    }
    Ok(())
}

async fn wait_for_progress(recorder: &Recorder) -> Result<()> {
    let (before, deadline) = (recorder.acknowledged().await, Instant::now() + PROGRESS_TIMEOUT);
    while recorder.acknowledged().await < before + PROGRESS_WRITES {
        if Instant::now() > deadline {
            bail!("fewer than {PROGRESS_WRITES} writes acknowledged in {} s", PROGRESS_TIMEOUT.as_secs());
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Reads everything, from the cluster and from each member.
async fn finish(cluster: &Cluster, api: &Client, recorder: &Arc<Recorder>) -> Result<()> {
    let mut members = Vec::new();
    for master in cluster.masters() {
        members.push((master.name, cluster.store_at(vec![master.client])?));
    }
    let looked = traffic::store::look(cluster.store()?, &members, recorder).await;
    looked.map_err(anyhow::Error::msg).context("the last look at the store")?;
    let looked = traffic::api::look(api.clone(), recorder).await;
    looked.map_err(anyhow::Error::msg).context("the last look at the API")
}

async fn create_replica_set(api: &Client) -> Result<()> {
    let mut set = Value::object();
    set.make(&[]).insert("apiVersion", "apps/v1");
    set.make(&[]).insert("kind", "ReplicaSet");
    set.make(&["metadata"]).insert("name", REPLICA_SET);
    set.make(&["metadata"]).insert("namespace", traffic::api::NAMESPACE);
    set.make(&["spec"]).insert("replicas", REPLICAS as i64);
    set.make(&["spec", "selector", "matchLabels"]).insert("app", REPLICA_SET);
    set.make(&["spec", "template", "metadata", "labels"]).insert("app", REPLICA_SET);
    let mut container = Value::object();
    container.make(&[]).insert("name", "main");
    container.make(&[]).insert("image", "main");
    set.make(&["spec", "template", "spec"]).insert("containers", Value::Array(vec![container]));
    match api.create(&REPLICA_SETS, traffic::api::NAMESPACE, &Object(set)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(error).context("create the ReplicaSet"),
    }
}

/// The set has its pods, and gets a new one for one that is deleted.
async fn whole_again(api: &Client) -> Result<()> {
    let names = wait_for_pods(api, None).await?;
    let victim = names.first().context("a pod")?;
    api.delete(&PODS, traffic::api::NAMESPACE, victim, &DeleteOptions::default())
        .await
        .with_context(|| format!("delete pod {victim}"))?;
    wait_for_pods(api, Some(victim)).await.map(|_| ())
}

async fn wait_for_pods(api: &Client, without: Option<&str>) -> Result<Vec<String>> {
    let deadline = Instant::now() + HEAL_TIMEOUT;
    loop {
        let list = api
            .list(&PODS, Some(traffic::api::NAMESPACE), &ListParams::labels(&format!("app={REPLICA_SET}")))
            .await;
        let found = match &list {
            Ok(list) => {
                let running: Vec<String> = list
                    .items
                    .iter()
                    .filter(|pod| pod.status()["phase"].as_str() == Some("Running"))
                    .filter(|pod| pod.deletion_timestamp().is_none() && Some(pod.name()) != without)
                    .map(|pod| pod.name().to_owned())
                    .collect();
                if running.len() == REPLICAS {
                    return Ok(running);
                }
                format!("{} of {REPLICAS} pods of {REPLICA_SET} are Running", running.len())
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            bail!("{found} after {} s", HEAL_TIMEOUT.as_secs());
        }
        sleep(POLL).await;
    }
}
