//! Waits until every process of a cluster does its work.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

use super::layout::Layout;
use super::{KUBECONFIG_FILE, specs};
use crate::pki::Pki;
use crate::probe;

/// Between two attempts to connect, which cost nothing.
const CONNECT_EVERY: Duration = Duration::from_millis(20);
/// Between two questions, each of which costs a handshake.
const ASK_EVERY: Duration = Duration::from_millis(40);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Name of the process, what it does, whether it is ready.
type Progress = UnboundedSender<(String, String, bool)>;

/// What is known of a cluster that has come up.
pub(super) struct Summary {
    version: String,
}

impl Summary {
    pub(super) fn text(&self, dir: &Path, layout: &Layout, took: Duration) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        line(format!(
            "Trireme is up after {:.1} s: {layout}, Kubernetes {}",
            took.as_secs_f64(),
            self.version
        ));
        line(format!("  balancer     https://{}", layout.balancer()));
        for master in layout.masters() {
            line(format!(
                "  {:<12} https://{}   store {}   peers {}",
                master.name, master.api, master.client, master.peer
            ));
        }
        for (name, address) in layout.replicas() {
            line(format!("  {name:<12} https://{address}"));
        }
        line(format!("  state        {}   (logs: <process>/log)", dir.display()));
        line(String::new());
        line(format!("export KUBECONFIG={}", dir.join(KUBECONFIG_FILE).display()));
        text
    }
}

/// Returns when every API server is ready, the balancer serves, and every node is Ready.
pub(super) async fn wait(layout: &Layout, pki: &Pki, progress: Progress) -> Result<Summary> {
    let admin = pki.admin();
    let tls = admin.files.client_config(pki.ca.certificate_pem())?;
    let mut servers: Vec<(String, String)> =
        layout.masters().into_iter().map(|master| (master.name, master.api)).collect();
    servers.extend(layout.replicas());
    let servers = servers.into_iter().map(|(name, address)| wait_for_api(&tls, name, address, &progress));
    let balancer = wait_for_api(&tls, specs::BALANCER.into(), layout.balancer(), &progress);
    let nodes = wait_for_nodes(&tls, layout, &progress);
    tokio::join!(futures::future::join_all(servers), balancer, nodes);
    let (_, version) = probe::get(&tls, &layout.balancer(), "/version", ANSWER_TIMEOUT).await?;
    let version: Value = serde_json::from_slice(&version).context("read /version")?;
    Ok(Summary { version: version["gitVersion"].as_str().unwrap_or("?").to_owned() })
}

async fn wait_for_api(tls: &Arc<ClientConfig>, name: String, address: String, progress: &Progress) {
    while TcpStream::connect(&address).await.is_err() {
        tokio::time::sleep(CONNECT_EVERY).await;
    }
    let say = |state: String, done| {
        let _ = progress.send((name.clone(), state, done));
    };
    say(format!("listening on {address}"), false);
    loop {
        match probe::get(tls, &address, "/readyz", ANSWER_TIMEOUT).await {
            Ok((StatusCode::OK, _)) => break,
            Ok((status, body)) => {
                let body = String::from_utf8_lossy(&body);
                let missing = body.lines().find(|line| line.starts_with("[-]")).unwrap_or_default();
                say(format!("not ready: {} {missing}", status.as_u16()), false);
            }
            // It may well have died: the supervisor tells.
            Err(_) => {}
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    say(format!("ready on https://{address}"), true);
}

async fn wait_for_nodes(tls: &Arc<ClientConfig>, layout: &Layout, progress: &Progress) {
    if layout.nodes == 0 {
        return;
    }
    let say = |state: String, done| {
        let _ = progress.send((specs::NODES.to_owned(), state, done));
    };
    let wanted = layout.nodes as usize;
    loop {
        if TcpStream::connect(layout.balancer()).await.is_ok()
            && let Ok((StatusCode::OK, body)) =
                probe::get(tls, &layout.balancer(), "/api/v1/nodes?resourceVersion=0", ANSWER_TIMEOUT).await
            && let Ok(list) = serde_json::from_slice::<Value>(&body)
        {
            let ready =
                list["items"].as_array().map_or(0, |items| items.iter().filter(|n| is_ready(n)).count());
            if ready >= wanted {
                return say(format!("{ready} ready"), true);
            }
            say(format!("{ready} of {wanted} ready"), false);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn is_ready(node: &Value) -> bool {
    node["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}
