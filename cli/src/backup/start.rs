//! `trireme backup start`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use trireme_backup::{Archive, Location};

use super::stored::{self, Stored};
use super::{KeyOptions, find};
use crate::exit::ConfigContext;
use crate::reach::Reach;

/// How long the first base is waited for.
const FIRST_BASE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Where it goes, as every master sees it: /FOLDER (shared by all) or s3://BUCKET/PREFIX
    #[arg(long, value_parser = super::location, value_name = "LOCATION")]
    to: Location,
    /// File of AWS_…=value lines on every master, mode 0600 [default: their environment]
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    #[command(flatten)]
    key: KeyOptions,
    /// Between two bases: the longer, the more log there is to apply when restoring
    #[arg(long, default_value = "24h", value_parser = super::base_every)]
    base_every: Duration,
    /// How far back one can go
    #[arg(long, default_value = "30d", value_parser = super::duration)]
    keep: Duration,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let key = options
        .key
        .source()?
        .context(
            "--key-file or --key-command is needed: a backup holds every Secret (trireme backup key FILE)",
        )
        .config()?;
    let mut location = options.to;
    location.credentials = options.credentials_file.as_deref().map(crate::up::absolute).transpose()?;
    // The masters read it, and this machine may not have it; what is here and wrong is told at once.
    if let trireme_backup::KeySource::File(path) = &key
        && path.exists()
    {
        key.read().config()?;
    }
    let stored =
        Stored { location, key, base_every_s: options.base_every.as_secs(), keep_s: options.keep.as_secs() };
    let reached = options.reach.reach()?;
    let kv = &*reached.client.kv;
    stored::set_config(kv, &stored).await?;
    let location = find::own(&stored, kv.status().await?.cluster_id);
    let bar = ProgressBar::new_spinner().with_message("waiting for the first base");
    bar.enable_steady_tick(Duration::from_millis(200));
    let began = Instant::now();
    loop {
        let member = stored::archiver(kv, false).await?;
        if let Some(problem) = stored::problem(kv).await? {
            bail!("the backup was started, and stands still: {problem}");
        }
        let bases = match Archive::look(&location).await {
            Ok(archive) => archive.points().await.map_or(0, |points| points.bases.len()),
            Err(_) => 0,
        };
        if let Some(member) = member
            && bases > 0
        {
            bar.finish_and_clear();
            println!("{member} writes the backup to {location}");
            return Ok(());
        }
        if began.elapsed() > FIRST_BASE {
            bar.finish_and_clear();
            println!(
                "the backup was started; no base is seen from here yet: look at `trireme backup status`"
            );
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}
