//! `trireme backup save`: the whole state in one file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use trireme_backup::base;

use super::KeyOptions;
use crate::exit::ConfigContext;
use crate::progress::{Bar, Unit};
use crate::reach::Reach;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The new file
    file: PathBuf,
    #[command(flatten)]
    key: KeyOptions,
    #[command(flatten)]
    reach: Reach,
}

/// Removes the directory when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn run(options: Options) -> Result<()> {
    let key = options.key.source()?.map(|source| source.read()).transpose().config()?;
    let reached = options.reach.reach()?;
    let out = base::new_file(&options.file).config()?;
    let saved = save(&options, &reached.client.remote, out, key.as_ref()).await;
    if saved.is_err() {
        let _ = std::fs::remove_file(&options.file);
    }
    let revision = saved?;
    println!("{}: revision {revision}", options.file.display());
    if key.is_none() {
        eprintln!("it is not encrypted, and holds every Secret: --key-file seals it");
    }
    Ok(())
}

async fn save(
    options: &Options,
    remote: &trireme_raft::Remote,
    out: std::fs::File,
    key: Option<&trireme_backup::Key>,
) -> Result<i64> {
    let scratch = Scratch(beside(&options.file)?);
    let dir = scratch.0.join("checkpoint");
    let bar = Bar::new("fetching", 0, Unit::Bytes);
    let meta = remote.checkpoint(&dir, &|done, total| bar.set(done, total)).await?;
    bar.end();
    let bar = Bar::new("writing", 0, Unit::Bytes);
    base::write_snapshot(&dir, &meta, key, out, &|progress| bar.set(progress.done, progress.total))
        .with_context(|| options.file.display().to_string())?;
    bar.end();
    Ok(meta.applied.revision.0)
}

/// A folder for the state's files beside the file, for this process alone.
fn beside(file: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let mut name = file.file_name().context("a file's name is expected").config()?.to_owned();
    name.push(".files");
    let dir = file.with_file_name(name);
    std::fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}
