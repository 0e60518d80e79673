//! Which backup a command is about: the cluster's own, or one at a place that is named.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use trireme_backup::Location;

use super::stored::{self, Stored};
use crate::exit::ConfigContext;
use crate::reach::Reach;

#[derive(Args, Debug)]
pub(super) struct Source {
    /// Where the backup lies, for one whose cluster does not run: /FOLDER or s3://BUCKET/PREFIX
    #[arg(long, value_parser = super::location, value_name = "LOCATION")]
    from: Option<Location>,
    /// File of AWS_…=value lines, mode 0600 [default: the environment]
    #[arg(long, requires = "from", value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Id of the cluster, where backups of several lie there
    #[arg(long, requires = "from", value_name = "ID")]
    cluster: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) struct Found {
    pub location: Location,
    /// How the cluster makes it, if it was asked.
    pub stored: Option<Stored>,
}

impl Source {
    pub(super) async fn find(&self) -> Result<Found> {
        if let Some(from) = &self.from {
            let mut location = from.clone();
            location.credentials = self.credentials_file.as_deref().map(crate::up::absolute).transpose()?;
            location.cluster.clone_from(&self.cluster);
            return Ok(Found { location, stored: None });
        }
        let reached = self.reach.reach()?;
        let kv = &*reached.client.kv;
        let stored = stored::config(kv, false)
            .await?
            .context("no backup was started: give --from to look at one of another cluster")
            .config()?
            .stored;
        let location = own(&stored, kv.status().await?.cluster_id);
        Ok(Found { location, stored: Some(stored) })
    }
}

/// The location, and which cluster's backup there is meant.
pub(super) fn own(stored: &Stored, cluster: u64) -> Location {
    let mut location = stored.location.clone();
    location.cluster = Some(format!("{cluster:016x}"));
    location
}
