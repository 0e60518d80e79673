//! `trireme pki`: the folder of a new cluster's authorities, before its first master starts.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Pki;
use crate::exit::ConfigContext;
use crate::kubeconfig;
use crate::up::{KUBECONFIG_FILE, absolute};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folder for the authorities; what it holds already stays
    #[arg(long)]
    dir: PathBuf,
    /// Where clients will reach the API, `https://HOST:PORT`: also writes `admin.kubeconfig`
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let dir = absolute(&options.dir)?;
    let pki = Pki::open_or_create(&dir).config()?;
    pki.admin().ensure()?;
    pki.store_client().ensure()?;
    println!("the authorities of cluster {} are in {}", pki.cluster, dir.display());
    if let Some(server) = &options.server {
        let path = dir.join(KUBECONFIG_FILE);
        kubeconfig::write(&path, server, &pki, &pki.admin())?;
        println!("export KUBECONFIG={}", path.display());
    }
    Ok(())
}
