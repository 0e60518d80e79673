//! What must be whole when all is over: a ReplicaSet, the masters' states, and the processes themselves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;
use trireme_api::Object;
use trireme_api::tree::Value;
use trireme_chaos_report::Promise;
use trireme_client::resource::{PODS, REPLICA_SETS};
use trireme_client::{Client, DeleteOptions, ListParams};

use super::inflict::World;
use super::process::Service;
use super::tools;
use crate::traffic;

const HEAL_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How often hashes are asked for before that is given up.
const ASKED_MAX: u32 = 10;
const ASK_EVERY: Duration = Duration::from_millis(300);
const REPLICAS: usize = 3;
const REPLICA_SET: &str = "chaos-set";

/// Made as soon as the API answers, and at most so long from now.
pub(super) async fn create_replica_set(api: &Client, within: Duration) -> Result<()> {
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
    let (set, deadline) = (Object(set), Instant::now() + within);
    loop {
        match api.create(&REPLICA_SETS, traffic::api::NAMESPACE, &set).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_already_exists() => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error).context("create the ReplicaSet"),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// The set has its pods, and gets a new one for one that is deleted.
pub(super) async fn whole_again(api: &Client) -> Result<()> {
    let names = wait_for_pods(api, None).await?;
    let victim = names.first().context("a pod")?;
    api.delete(&PODS, traffic::api::NAMESPACE, victim, &DeleteOptions::default())
        .await
        .with_context(|| format!("delete pod {victim}"))?;
    wait_for_pods(api, Some(victim)).await.map(|_| ())
}

/// By etcd's own client: whether every master has the same state, by its hash at the newest revision that all
/// have. Asked while clients write; what is not, or why it cannot be told.
pub(super) async fn same_state(world: &World) -> Option<String> {
    let mut not_told = None;
    for _ in 0..ASKED_MAX {
        match hashes(world).await {
            Ok((_, hashes)) if hashes.iter().all(|hash| *hash == hashes[0]) => return None,
            Ok((revision, hashes)) => return Some(format!("at revision {revision}: {hashes:?}")),
            // A client may have compacted that very revision.
            Err(error) => not_told = Some(format!("{error:#}")),
        }
        sleep(ASK_EVERY).await;
    }
    not_told
}

/// The masters' hashes of one revision.
async fn hashes(world: &World) -> Result<(String, Vec<u64>)> {
    let said = world.masters.status().await;
    let common = said.iter().filter_map(|(_, status)| Some(status.as_ref()?.revision.0)).min();
    let revision = common.context("no master answers")?.to_string();
    let pki = world.masters.pki();
    let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
    let (ca, certificate, key) = (file("store-ca.crt"), file("store-client.crt"), file("store-client.key"));
    let endpoints = world.masters.endpoints().join(",");
    let what = ["endpoint", "hashkv", "--rev", &revision, "--write-out", "json"];
    let whom = ["--endpoints", &endpoints, "--cacert", &ca, "--cert", &certificate, "--key", &key];
    let said = tools::run("etcdctl", &[&what[..], &whom].concat()).await?;
    let said: serde_json::Value = serde_json::from_str(&said).context("what etcdctl says")?;
    let all = || said.as_array().into_iter().flatten().map(|one| &one["HashKV"]);
    // Each hash is of what its master had not compacted when it was asked.
    let compacted: BTreeSet<_> = all().map(|one| one["compact_revision"].as_i64()).collect();
    ensure!(compacted.len() == 1, "a compaction was under way: {said}");
    let hashes: Vec<_> = all().filter_map(|one| one["hash"].as_u64()).collect();
    ensure!(hashes.len() == world.masters.all.len(), "not every master gave a hash: {said}");
    Ok((revision, hashes))
}

/// What ended by a panic was started again, and looks well.
pub(super) fn nobody_panicked<'a>(services: impl Iterator<Item = &'a Service>) -> Promise {
    let mut violations = Vec::new();
    for service in services {
        match std::fs::read(&service.log) {
            Ok(log) => {
                let log = String::from_utf8_lossy(&log);
                let panics = log.lines().filter(|line| line.contains("panicked at"));
                violations.extend(panics.map(|line| format!("{}: {line}", service.name)));
            }
            Err(error) => violations.push(format!("the log of {}: {error}", service.name)),
        }
    }
    Promise::new("no process panics", violations)
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
