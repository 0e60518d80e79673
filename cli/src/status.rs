//! `trireme status`: how every member stands, and who leads what, once or again and again.

mod scrape;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use http::StatusCode;
use rustls::ClientConfig;
use serde::Serialize;
use serde_json::Value;

use crate::exit::ConfigContext;
use crate::pki::{Files, Pki};
use crate::probe;
use crate::store_client::StoreClient;
use crate::up::{Layout, PKI_DIR, absolute};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Leases that say who leads, as upstream names them.
const LEASES: [(&str, &str); 2] =
    [("controllers", "kube-controller-manager"), ("scheduler", "kube-scheduler")];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folder of a cluster that `up` started
    #[arg(long, default_value = ".trireme")]
    dir: PathBuf,
    /// Masters of another cluster: NAME=STORE_HOST:PORT/API_HOST:PORT,…
    #[arg(long, value_delimiter = ',', requires = "pki_dir", value_name = "NAME=STORE/API")]
    members: Vec<String>,
    /// The authorities of that cluster
    #[arg(long)]
    pki_dir: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Show it again and again until interrupted: in place on a terminal, else line after line
    #[arg(short, long)]
    watch: bool,
    /// Seconds between two looks with --watch
    #[arg(long, default_value_t = 1, value_name = "SECONDS", requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Where a member is reached.
struct Target {
    name: String,
    store: String,
    api: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Leader,
    Follower,
    Learner,
    /// It answers, but knows no leader.
    Leaderless,
    Unreachable,
}

/// One member. Fields that only it could tell are absent while it does not answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    name: String,
    store: String,
    api: String,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_index: Option<u64>,
    /// Entries of the newest log known that this member has not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compact_revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    db_size_bytes: Option<u64>,
    /// Of it, what would remain if all that can go were gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    db_size_in_use_bytes: Option<u64>,
    /// What its metrics tell beside that.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counted: Option<scrape::Counted>,
    /// `/readyz` of its API server succeeds and its store reports no problem.
    healthy: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    members: Vec<Member>,
    /// Holder of each Lease; null where nobody leads.
    leaders: serde_json::Map<String, Value>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let (pki_dir, targets) = targets(&options).config()?;
    if !pki_dir.join("ca.crt").exists() {
        bail!("{} holds no authorities of a cluster", pki_dir.display());
    }
    let pki = Pki::open_or_create(&pki_dir)?;
    let (admin, store) = (pki.admin(), pki.store_client());
    admin.ensure()?;
    store.ensure()?;
    let asked = Asked {
        tls: admin.files.client_config(pki.ca.certificate_pem())?,
        store_tls: store.files.client_config(pki.store_ca.certificate_pem())?,
        files: store.files,
        pki,
    };
    if options.watch {
        return watch::run(&asked, &targets, options.output, Duration::from_secs(options.every)).await;
    }
    let status = look(&asked, &targets).await;
    match options.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => print!("{}", text(&status)),
    }
    let broken: Vec<_> = status.members.iter().filter(|m| !m.healthy).map(|m| m.name.as_str()).collect();
    if !broken.is_empty() {
        bail!("not healthy: {}", broken.join(", "));
    }
    Ok(())
}

/// With what members are asked.
struct Asked {
    pki: Pki,
    /// Of the store's client.
    files: Files,
    tls: Arc<ClientConfig>,
    store_tls: Arc<ClientConfig>,
}

/// Asks all members at once.
async fn look(asked: &Asked, targets: &[Target]) -> Status {
    let members = targets.iter().map(|target| member(asked, target));
    let mut members = futures::future::join_all(members).await;
    let newest = members.iter().filter_map(|m| m.last_index).max().unwrap_or(0);
    for member in &mut members {
        member.lag = member.applied_index.map(|applied| newest.saturating_sub(applied));
    }
    Status { leaders: leaders(&asked.tls, &members).await, members }
}

fn targets(options: &Options) -> Result<(PathBuf, Vec<Target>)> {
    if let Some(pki_dir) = &options.pki_dir {
        let parse = |text: &String| {
            let (name, rest) = text.split_once('=')?;
            let (store, api) = rest.split_once('/')?;
            Some(Target { name: name.into(), store: store.into(), api: api.into() })
        };
        let targets: Option<Vec<Target>> = options.members.iter().map(parse).collect();
        let targets = targets.filter(|t| !t.is_empty());
        return Ok((
            pki_dir.clone(),
            targets.context("--members: NAME=STORE_HOST:PORT/API_HOST:PORT is expected")?,
        ));
    }
    let dir = absolute(&options.dir)?;
    let Some(layout) = Layout::read(&dir)? else {
        bail!("no cluster was started in {}: start one with `trireme up`, or give --members", dir.display());
    };
    let targets = layout.masters().into_iter().map(|m| Target { name: m.name, store: m.client, api: m.api });
    Ok((dir.join(PKI_DIR), targets.collect()))
}

async fn member(asked: &Asked, target: &Target) -> Member {
    let mut member = Member {
        role: Role::Unreachable,
        member_id: None,
        term: None,
        last_index: None,
        applied_index: None,
        lag: None,
        revision: None,
        compact_revision: None,
        db_size_bytes: None,
        db_size_in_use_bytes: None,
        counted: None,
        healthy: false,
        problems: Vec::new(),
        name: target.name.clone(),
        store: target.store.clone(),
        api: target.api.clone(),
    };
    let ask_store = async {
        let client =
            StoreClient::new(asked.pki.store_ca.certificate_pem(), &asked.files, vec![target.store.clone()])?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.kv.status()).await;
        Ok::<_, anyhow::Error>(answer.context("the store does not answer")??)
    };
    let ask_api = probe::get(&asked.tls, &target.api, "/readyz", ANSWER_TIMEOUT);
    let ask_metrics = probe::get(&asked.store_tls, &target.store, "/metrics", ANSWER_TIMEOUT);
    let (store, api, metrics) = tokio::join!(ask_store, ask_api, ask_metrics);
    if let Ok((StatusCode::OK, body)) = metrics {
        member.counted = Some(scrape::Counted::of(&String::from_utf8_lossy(&body)));
    }
    match store {
        Ok(status) => {
            member.role = match () {
                () if status.leader_id == 0 => Role::Leaderless,
                () if status.is_learner => Role::Learner,
                () if status.leader_id == status.member_id => Role::Leader,
                () => Role::Follower,
            };
            member.member_id = Some(format!("{:016x}", status.member_id));
            member.term = Some(status.term);
            member.last_index = Some(status.last_log_index);
            member.applied_index = Some(status.applied_index);
            member.revision = Some(status.revision.0);
            member.compact_revision = Some(status.compact_revision.0);
            member.db_size_bytes = Some(status.db_size_bytes);
            member.db_size_in_use_bytes = Some(status.db_size_in_use_bytes);
            member.problems.extend(status.errors);
            if member.role == Role::Leaderless {
                member.problems.push("no leader is known".into());
            }
        }
        Err(error) => member.problems.push(format!("store: {error:#}")),
    }
    match api {
        Ok((StatusCode::OK, _)) => {}
        Ok((status, _)) => member.problems.push(format!("API: /readyz answers {}", status.as_u16())),
        Err(error) => member.problems.push(format!("API: {error:#}")),
    }
    member.healthy = member.problems.is_empty();
    member
}

/// Asks the first API server that answers.
async fn leaders(tls: &Arc<ClientConfig>, members: &[Member]) -> serde_json::Map<String, Value> {
    let mut leaders = serde_json::Map::new();
    for (what, lease) in LEASES {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{lease}");
        let mut holder = Value::Null;
        for member in members.iter().filter(|member| member.healthy) {
            if let Ok((StatusCode::OK, body)) = probe::get(tls, &member.api, &path, ANSWER_TIMEOUT).await {
                let lease: Value = serde_json::from_slice(&body).unwrap_or_default();
                holder = lease["spec"]["holderIdentity"]
                    .as_str()
                    .filter(|h| !h.is_empty())
                    .map_or(Value::Null, Value::from);
                break;
            }
        }
        leaders.insert(what.to_owned(), holder);
    }
    leaders
}

fn text(status: &Status) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut rows = vec![
        [
            "MEMBER",
            "ROLE",
            "TERM",
            "LAST",
            "APPLIED",
            "LAG",
            "REVISION",
            "DB SIZE",
            "LOG",
            "DISK CHECK",
            "HEALTH",
        ]
        .map(str::to_owned),
    ];
    for m in &status.members {
        rows.push([
            m.name.clone(),
            format!("{:?}", m.role).to_lowercase(),
            number(m.term),
            number(m.last_index),
            number(m.applied_index),
            number(m.lag),
            m.revision.map_or_else(|| "-".to_owned(), |r| r.to_string()),
            m.db_size_bytes.map_or_else(|| "-".to_owned(), size),
            m.counted.as_ref().map_or_else(|| "-".to_owned(), |counted| size(counted.log_bytes)),
            m.counted.as_ref().map_or_else(|| "-".to_owned(), |counted| counted.disk_check.to_string()),
            if m.healthy { "ok".to_owned() } else { m.problems.join("; ") },
        ]);
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
    for (what, holder) in &status.leaders {
        let holder = holder.as_str().unwrap_or("nobody");
        out.push_str(&format!("{what:<11}  led by {holder}\n"));
    }
    out
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, expected) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
