//! Backups as a source: an archive in a folder or a bucket, or a single file.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use clap::Args;
use trireme_backup::{Archive, Key, Location, Phase, Point as Moment};
use trireme_store::Revision;

use super::point::Point;
use super::progress::Progress;
use crate::backup::KeyOptions;
use crate::progress::Unit;

#[derive(Args, Debug)]
pub(super) struct BackupOptions {
    #[command(flatten)]
    key: KeyOptions,
    /// File of AWS_…=value lines, mode 0600 [default: the environment]
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Id of the cluster, where backups of several lie in one place
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
}

impl BackupOptions {
    fn key(&self) -> Result<Option<Key>> {
        Ok(self.key.source()?.map(|source| source.read()).transpose()?)
    }
}

/// Makes a state directory of an archive; the highest revision that the archive knows of.
pub(super) fn materialize(
    from: &str,
    options: &BackupOptions,
    point: Point,
    into: &Path,
    progress: &mut Progress,
) -> Result<Revision> {
    let key = options.key()?.context("an archive is encrypted: give --key-file or --key-command")?;
    let mut location: Location = from.parse()?;
    location.credentials = options.credentials_file.as_deref().map(crate::up::absolute).transpose()?;
    location.cluster.clone_from(&options.cluster);
    let moment = match point {
        Point::Newest => Moment::Latest,
        Point::Time(ms) => Moment::Time(ms),
        Point::Revision(revision) => Moment::Revision(revision.0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let shown = Mutex::new(progress);
    runtime.block_on(async {
        let archive = Archive::open(&location, key).await?;
        let points = archive.points().await?;
        let seen = points.spans.iter().map(|span| span.last_revision).max().unwrap_or(0);
        archive.materialize(moment, into, &|work| show(&shown, work)).await?;
        Ok(Revision(seen))
    })
}

/// Makes a state directory of a single file.
pub(super) fn unpack(
    from: &Path,
    options: &BackupOptions,
    into: &Path,
    progress: &mut Progress,
) -> Result<()> {
    let key = options.key()?;
    let shown = Mutex::new(progress);
    trireme_backup::base::read_file(from, key.as_ref(), into, &|work| show(&shown, work))?;
    Ok(())
}

fn show(progress: &Mutex<&mut Progress>, work: trireme_backup::Progress) {
    let (doing, unit) = match work.phase {
        Phase::Base => ("reading the backup", Unit::Bytes),
        Phase::Log => ("applying its log", Unit::Things("entries")),
    };
    if let Ok(mut progress) = progress.lock() {
        progress.fetched(doing, work.done, work.total, unit);
    }
}
