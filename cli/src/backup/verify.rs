//! `trireme backup verify`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use parking_lot::Mutex;
use trireme_backup::{Archive, Phase, READING};

use super::{KeyOptions, find};
use crate::exit::ConfigContext;
use crate::progress::{Bar, Unit, count};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    source: find::Source,
    #[command(flatten)]
    key: KeyOptions,
    /// Folder in which states are made for the test, of their size [default: the system's for
    /// temporary files]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let found = options.source.find().await?;
    let key = options
        .key
        .source()?
        .or(found.stored.map(|stored| stored.key))
        .context("--key-file or --key-command is needed")
        .config()?
        .read()
        .config()?;
    let scratch = match &options.scratch {
        Some(dir) => tempfile_in(dir)?,
        None => tempfile_in(&std::env::temp_dir())?,
    };
    let archive = Archive::open(&found.location, key).await?;
    let showing = Mutex::new((String::new(), Phase::Log, Bar::hidden()));
    let verified = archive
        .verify(&scratch, &|what, progress| {
            let (doing, phase, bar) = &mut *showing.lock();
            if doing != what || *phase != progress.phase {
                bar.end();
                (*doing, *phase) = (what.to_owned(), progress.phase);
                let (shown, unit) = match progress.phase {
                    Phase::Base => (what.to_owned(), Unit::Bytes),
                    Phase::Log if what == READING => (what.to_owned(), Unit::Things("objects")),
                    Phase::Log => (format!("{what}, its log"), Unit::Things("entries")),
                };
                *bar = Bar::new(shown, progress.total, unit);
            }
            bar.set(progress.done, progress.total);
        })
        .await;
    showing.lock().2.end();
    let _ = std::fs::remove_dir_all(&scratch);
    let verified = verified?;
    println!(
        "restored: {}; applied: {} from {}; compared with the next base: {}",
        count(verified.bases, "base"),
        count(verified.entries, "log entry"),
        count(verified.log_objects, "object"),
        count(verified.compared, "state")
    );
    for problem in &verified.problems {
        println!("{problem}");
    }
    if !verified.problems.is_empty() {
        bail!("{}: {} found", found.location, count(verified.problems.len(), "problem"));
    }
    Ok(())
}

/// A folder of this process alone.
fn tempfile_in(dir: &std::path::Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let path = dir.join(format!("trireme-verify-{:016x}", rand::random::<u64>()));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("--scratch {}", dir.display()))
        .config()?;
    Ok(path)
}
