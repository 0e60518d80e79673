//! Calls of the API with 64 clients through the balancer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use trireme_api::Object;
use trireme_api::tree::Value;
use trireme_client::resource::{CONFIG_MAPS, PODS};
use trireme_client::{Client, DeleteOptions, Resource};

use super::table::Table;
use super::usage::Usage;
use crate::cluster::Cluster;

const CLIENTS: usize = 64;
/// Objects that exist for get, update and delete, per client.
const OBJECTS: u64 = 40;
const NAMESPACE: &str = "default";

/// Upstream's CPU ms per call with 64 clients on this kind of machine: API server and three
/// members of etcd together, from a run of its own on another day.
const UPSTREAM_CPU_MS: &[(&str, f64)] = &[
    ("create ConfigMap", 1.94),
    ("get ConfigMap", 1.00),
    ("update ConfigMap", 3.11),
    ("delete ConfigMap", 1.97),
    ("create Pod", 6.18),
    ("get Pod", 1.50),
    ("update Pod", 9.4),
    ("delete Pod", 7.3),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Get,
    Update,
    Delete,
}

pub(super) async fn measure(cluster: &Cluster, time: Duration, table: &mut Table) -> Result<Json> {
    let mut pids = Vec::new();
    for master in cluster.masters() {
        pids.push(cluster.pid(&master.name)?);
    }
    let usage = Usage::of(pids);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(cluster.api()?);
    }
    let mut figures = Vec::new();
    for (kind, resource, make) in [
        ("ConfigMap", CONFIG_MAPS, config_map as fn(&str) -> Object),
        ("Pod", PODS, pod as fn(&str) -> Object),
    ] {
        let verbs = [
            (Verb::Create, "create"),
            (Verb::Get, "get"),
            (Verb::Update, "update"),
            (Verb::Delete, "delete"),
        ];
        for (verb, word) in verbs {
            let name = format!("{word} {kind}");
            let read = if verb == Verb::Update { read_all(&clients, &resource).await? } else { Vec::new() };
            let (cpu, begin) = (usage.cpu(), Instant::now());
            let (calls, failed) = run(&clients, &resource, make, read, verb, time).await?;
            let per_second = calls as f64 / begin.elapsed().as_secs_f64();
            let cpu_ms = usage.cpu().saturating_sub(cpu).as_secs_f64() * 1e3 / calls.max(1) as f64;
            println!("  {name}: {per_second:.0}/s, {cpu_ms:.2} CPU ms, {failed} failed");
            let upstream = UPSTREAM_CPU_MS.iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, ms)| *ms);
            table.ratio(
                &format!("CPU ms per call: {name}"),
                cpu_ms,
                upstream,
                failed,
                "beside upstream's figure of another day",
            );
            table.figure(
                &format!("calls per second: {name}"),
                format!("{per_second:.0}"),
                "64 clients on the same cores",
            );
            figures.push(json!({
                "call": name, "per_second": per_second, "cpu_ms": cpu_ms, "failed": failed, "upstream_cpu_ms": upstream,
            }));
        }
    }
    Ok(Json::Array(figures))
}

/// What create left, as it is now: an update changes what was read, and nothing else of it.
async fn read_all(clients: &[Client], resource: &Resource) -> Result<Vec<Vec<Object>>> {
    let mut all = Vec::new();
    for (c, client) in clients.iter().enumerate() {
        let mut objects = Vec::new();
        for n in 0..OBJECTS {
            let name = format!("bench-{c}-{n}");
            let object = client.get(resource, NAMESPACE, &name).await;
            objects.push(object.with_context(|| format!("read {name} before it is updated"))?);
        }
        all.push(objects);
    }
    Ok(all)
}

/// Calls that succeeded and calls that failed; the first failure is printed. Get, update and delete work on objects that create
/// left; update and delete end when they have been through them.
async fn run(
    clients: &[Client],
    resource: &Resource,
    make: fn(&str) -> Object,
    read: Vec<Vec<Object>>,
    verb: Verb,
    time: Duration,
) -> Result<(u64, u64)> {
    let end = Instant::now() + time;
    let failures = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let mut read = read.into_iter();
    for (c, client) in clients.iter().enumerate() {
        let mut objects = read.next().unwrap_or_default();
        let (client, resource, failures) = (client.clone(), resource.clone(), failures.clone());
        tasks.spawn(async move {
            let mut done = 0;
            for n in 0_u64.. {
                let over = Instant::now() >= end;
                // The first objects are needed by the other verbs, however long it takes.
                let last = match verb {
                    Verb::Create => over && n >= OBJECTS,
                    Verb::Get | Verb::Update => over,
                    Verb::Delete => n >= OBJECTS,
                };
                if last {
                    break;
                }
                let number = if verb == Verb::Create { n } else { n % OBJECTS };
                let name = format!("bench-{c}-{number}");
                let answer = match verb {
                    Verb::Create => client.create(&resource, NAMESPACE, &make(&name)).await.map(|_| ()),
                    Verb::Get => client.get(&resource, NAMESPACE, &name).await.map(|_| ()),
                    Verb::Update => {
                        let object = &mut objects[number as usize];
                        take_turn(object, n);
                        client.update(&resource, object).await.map(|answer| *object = answer)
                    }
                    Verb::Delete => {
                        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
                        client.delete(&resource, NAMESPACE, &name, &now).await.map(|_| ())
                    }
                };
                match answer {
                    Ok(()) => done += 1,
                    Err(error) => {
                        if failures.fetch_add(1, Ordering::Relaxed) == 0 {
                            println!("  {name}: {error}");
                        }
                    }
                }
            }
            done
        });
    }
    let mut calls = 0;
    while let Some(done) = tasks.join_next().await {
        calls += done.context("a client panicked")?;
    }
    Ok((calls, failures.load(Ordering::Relaxed)))
}

/// The only change that an update makes.
fn take_turn(object: &mut Object, turn: u64) {
    object.metadata_mut().object_mut("annotations").set("turn", turn.to_string().as_str());
}

fn named(kind: &'static str, name: &str) -> Value {
    let mut object = Value::object();
    object.make(&[]).insert("apiVersion", "v1");
    object.make(&[]).insert("kind", kind);
    object.make(&["metadata"]).insert("name", name);
    object.make(&["metadata"]).insert("namespace", NAMESPACE);
    object
}

fn config_map(name: &str) -> Object {
    let mut object = named("ConfigMap", name);
    object.make(&["data"]).insert("value", "v".repeat(1024).as_str());
    Object(object)
}

/// About 3.8 KiB as served, like the pods of the baseline.
fn pod(name: &str) -> Object {
    let mut object = named("Pod", name);
    let mut container = Value::object();
    container.make(&[]).insert("name", "main");
    container.make(&[]).insert("image", "registry.example/app:1");
    let mut variables = Vec::new();
    for n in 0..24 {
        let mut variable = Value::object();
        variable.make(&[]).insert("name", format!("VARIABLE_{n:02}").as_str());
        variable.make(&[]).insert("value", "x".repeat(80).as_str());
        variables.push(variable);
    }
    container.make(&[]).insert("env", Value::Array(variables));
    // Held back from the scheduler: the calls are measured, not what follows from them.
    object.make(&["spec"]).insert("schedulerName", "nobody");
    object.make(&["spec"]).insert("containers", Value::Array(vec![container]));
    Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_was_read_in_one_place() {
        let mut read = pod("a");
        // What a server adds, and a Pod may not lose again.
        read.make(&["spec"]).insert("restartPolicy", "Always");
        read.metadata_mut().insert("resourceVersion", "7");
        let mut changed = read.clone();
        take_turn(&mut changed, 1);
        take_turn(&mut changed, 2);
        assert_eq!(changed.metadata_mut().object_mut("annotations").get("turn"), Some(&Value::from("2")));
        changed.metadata_mut().remove("annotations");
        assert_eq!(changed, read);
    }
}
