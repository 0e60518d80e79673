//! `trireme pki`: the folder of a new cluster's authorities, before its first master starts.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::{Pki, client};
use crate::exit::ConfigContext;
use crate::kubeconfig;
use crate::up::{KUBECONFIG_FILE, absolute};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Options {
    /// Folder for the authorities; what it holds already stays
    #[arg(long, required = true)]
    dir: Option<PathBuf>,
    /// Where clients will reach the API, `https://HOST:PORT`: also writes `admin.kubeconfig`
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Issue a certificate to a client of the store, limited to what it needs
    Client(client::Options),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(Command::Client(options)) = &options.command {
        return client::run(options);
    }
    let dir = options.dir.as_ref().context("no --dir was given").config()?;
    let dir = absolute(dir)?;
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
