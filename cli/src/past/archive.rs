//! Pasts that the store has no more: states put together from a backup, in folders of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;
use trireme_backup::{Archive, Base, KeySource, Location, Phase, Point, Progress};
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::{Kv, Local, Store};

use super::moment::At;
use super::open::{Since, State};
use super::source::{StorePast, Times};
use crate::exit::ConfigContext;
use crate::progress::{Bar, Unit};
use crate::up::absolute;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// A backup, for what the store has no more: /FOLDER or s3://BUCKET/PREFIX [default: the one
    /// that the cluster makes]
    #[arg(long, value_parser = crate::backup::location, value_name = "LOCATION")]
    from: Option<Location>,
    /// File with the backup's key, mode 0600 [default: where the masters have it]
    #[arg(long, value_name = "FILE", conflicts_with = "key_command")]
    key_file: Option<PathBuf>,
    /// Shell command that prints the backup's key
    #[arg(long, value_name = "COMMAND")]
    key_command: Option<String>,
    /// File of AWS_…=value lines, mode 0600 [default: the environment]
    #[arg(long, value_name = "FILE", requires = "from")]
    credentials_file: Option<PathBuf>,
    /// Id of the cluster, where backups of several lie there
    #[arg(long, value_name = "ID", requires = "from")]
    cluster: Option<String>,
    /// Folder for states from the backup, as large as the cluster's; removed at the end
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// An opened backup.
pub(super) struct Backup {
    archive: Archive,
    scratch: PathBuf,
    /// The store that runs is another cluster: revisions of the two say nothing of each other.
    pub foreign: bool,
}

/// A folder that goes when it is not needed any more. It holds a cluster's secrets.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self> {
        let name = format!("trireme-past-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let dir = parent.join(name);
        crate::server::private_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "a state with secrets in it was not removed");
        }
    }
}

impl Options {
    /// Whether a backup was named: what is asked for is to be found there.
    pub(super) fn is_named(&self) -> bool {
        self.from.is_some()
    }

    /// The backup that was named, or that the cluster behind `kv` makes; `None`: there is none.
    pub(super) async fn open(&self, kv: &dyn Kv) -> Result<Option<Backup>> {
        let own = crate::backup::configured(kv).await?;
        let given = match (&self.key_file, &self.key_command) {
            (Some(path), _) => Some(KeySource::File(absolute(path).config()?)),
            (None, Some(command)) => Some(KeySource::Command(command.clone())),
            (None, None) => None,
        };
        let (location, key) = match (&self.from, own) {
            (None, None) => return Ok(None),
            (None, Some((location, key))) => (location, given.unwrap_or(key)),
            (Some(from), own) => {
                let mut location = from.clone();
                location.credentials = self.credentials_file.as_deref().map(absolute).transpose().config()?;
                location.cluster.clone_from(&self.cluster);
                let key = given.or(own.map(|(_, key)| key));
                (location, key.context("--key-file or --key-command is needed with --from").config()?)
            }
        };
        let opened = async {
            let key = tokio::task::spawn_blocking(move || key.read()).await??;
            anyhow::Ok(Archive::open(&location, key).await?)
        };
        let archive = opened.await.context("the backup").config()?;
        let foreign = archive.cluster() != format!("{:016x}", kv.status().await?.cluster_id);
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        Ok(Some(Backup { archive, scratch: absolute(&scratch).config()?, foreign }))
    }
}

impl Backup {
    /// The state at a moment, to the change.
    pub(super) async fn at(&self, at: At) -> Result<State> {
        self.state(match at {
            At::Time(ms) => Point::Time(ms),
            At::Revision(revision) => Point::Revision(revision),
        })
        .await
    }

    /// The newest state in it.
    pub(super) async fn newest(&self) -> Result<State> {
        self.state(Point::Latest).await
    }

    /// Its first moment; `None` as long as it has none.
    pub(super) async fn begin(&self) -> Result<Option<Since>> {
        let points = self.archive.points().await?;
        let place = format!("in the backup at {}", self.archive.location());
        let since = |base: &Base| Since { revision: base.revision, time_ms: Some(base.time_ms), place };
        Ok(points.bases.first().map(since))
    }

    async fn state(&self, point: Point) -> Result<State> {
        let scratch = Scratch::new(&self.scratch)?;
        let dir = scratch.0.join("state");
        let showing = Mutex::new((None, Bar::hidden()));
        let progress = |progress: Progress| {
            let (phase, bar) = &mut *showing.lock();
            if phase.replace(progress.phase) != Some(progress.phase) {
                bar.end();
                *bar = match progress.phase {
                    Phase::Base => Bar::new("the backup's base", progress.total, Unit::Bytes),
                    Phase::Log => Bar::new("the log after it", progress.total, Unit::Things("entries")),
                };
            }
            bar.set(progress.done, progress.total);
        };
        let applied = self.archive.materialize(point, &dir, &progress).await;
        showing.lock().1.end();
        let applied = applied.with_context(|| format!("the backup at {}", self.archive.location()))?;
        let engine = RocksEngine::open(&dir, RocksOptions::default()).context("the state from the backup")?;
        let store = Store::open(Arc::new(engine))?;
        let time_ms = applied.time_ms;
        let kv = Arc::new(Local::new(store.clone(), Arc::new(move || time_ms))?);
        let past = StorePast { kv, times: Times::Store(store), _scratch: Some(scratch) };
        eprintln!("from the backup: revision {}", applied.revision);
        Ok(State { past: Arc::new(past), revision: applied.revision, foreign: self.foreign })
    }
}
