//! `trireme agent`: nodes. Today they are hollow: they play pods without running containers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use tokio_util::sync::CancellationToken;
use trireme_client::{Http, HttpConfig, Transport};
use trireme_node::{Capacity, HollowConfig};

use crate::exit::ConfigContext;
use crate::pki::{Files, Pki, Renewer};

const NODES_MAX: u32 = 5_000;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// An API server or balancer, `https://host:port`; repeat for more
    #[arg(long = "server", required = true, value_name = "URL")]
    servers: Vec<String>,
    /// The cluster's authorities: this process issues its nodes' certificates itself
    #[arg(long)]
    pki_dir: PathBuf,
    /// Folder of this process's state
    #[arg(long)]
    data_dir: PathBuf,
    /// Play this many nodes; no container runs on them
    #[arg(long, required = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    hollow: u32,
    /// Nodes are called NAME-1, NAME-2, …
    #[arg(long, default_value = "hollow", value_name = "NAME")]
    name: String,
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<()> {
    if !options.pki_dir.join("ca.key").exists() {
        return Err(anyhow::anyhow!("--pki-dir {} holds no authorities", options.pki_dir.display())).config();
    }
    let pki = Arc::new(Pki::open_or_create(&options.pki_dir).config()?);
    let names: Vec<String> = (1..=options.hollow).map(|n| format!("{}-{n}", options.name)).collect();
    let mut renewer = Renewer::new(pki.clone());
    let mut transports: HashMap<String, (Files, Arc<Http>)> = HashMap::new();
    for name in &names {
        let (dir, node) = (options.data_dir.clone(), name.clone());
        let files = renewer.keep(move |pki| pki.node(&dir, &node))?;
        let http = Http::new(HttpConfig {
            endpoints: options.servers.clone(),
            tls: files.client_config(pki.ca.certificate_pem())?,
            token: None,
            server_name: None,
            // Its name owns the fields of pods' and nodes' status.
            user_agent: format!("kubelet/{}", env!("CARGO_PKG_VERSION")),
        })
        .context("--server")
        .config()?;
        transports.insert(name.clone(), (files, Arc::new(http)));
    }
    let transports = Arc::new(transports);
    let handle = tokio::runtime::Handle::current();
    renewer.after({
        let transports = transports.clone();
        move || handle.block_on(reload(&pki, &transports))
    });
    tokio::spawn(renewer.run(stop.clone()));

    // Every node has an identity of its own, so this one is not asked for.
    let shared = transports[&names[0]].1.clone();
    let config = HollowConfig {
        names,
        transport: shared,
        transport_for: Some(Arc::new(move |name| -> Arc<dyn Transport> { transports[name].1.clone() })),
        capacity: Capacity::default(),
        labels: Vec::new(),
        stop,
    };
    trireme_node::run(config).await;
    Ok(())
}

async fn reload(pki: &Pki, transports: &HashMap<String, (Files, Arc<Http>)>) {
    for (node, (files, http)) in transports {
        match files.client_config(pki.ca.certificate_pem()) {
            Ok(tls) => http.set_tls(tls).await,
            Err(error) => {
                tracing::error!(node, error = format!("{error:#}"), "the node keeps its old certificate")
            }
        }
    }
}
