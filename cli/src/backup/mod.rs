//! `trireme backup`: continuous backups of the cluster, and single files.

mod configured;
mod find;
mod keeper;
mod save;
mod show;
mod start;
mod stored;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use trireme_backup::{KeySource, Location, Retention};

use crate::exit::ConfigContext;
use crate::progress::count;
use crate::reach::Reach;
pub(crate) use configured::ServerOptions;
pub(crate) use keeper::Keeper;
pub(crate) use stored::OF_MASTERS;

const BASE_EVERY_MIN: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Write a new key into a file; keep a copy where the cluster's machines are not
    Key { file: PathBuf },
    /// Back the cluster up from now on: one of its masters follows the log
    Start(start::Options),
    /// End the continuous backup; what was written stays
    Stop {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show how far the backup is, who writes it, and what is wrong
    Status {
        #[command(flatten)]
        reach: Reach,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Show to which moments one can go back
    List {
        #[command(flatten)]
        source: find::Source,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Read and check everything, and restore each base up to the next
    Verify(verify::Options),
    /// Remove what is older than need be
    Prune {
        #[command(flatten)]
        source: find::Source,
        /// How far back one can go [default: as the backup was started with]
        #[arg(long, value_parser = duration)]
        keep: Option<Duration>,
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write the whole state into one file
    Save(save::Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Where the key comes from.
#[derive(Args, Debug)]
pub(crate) struct KeyOptions {
    /// File with the key, mode 0600
    #[arg(long, value_name = "FILE", conflicts_with = "key_command")]
    key_file: Option<PathBuf>,
    /// Shell command that prints the key, such as the client of a key management service
    #[arg(long, value_name = "COMMAND")]
    key_command: Option<String>,
}

impl KeyOptions {
    pub(crate) fn source(&self) -> Result<Option<KeySource>> {
        Ok(match (&self.key_file, &self.key_command) {
            (Some(file), _) => Some(KeySource::File(crate::up::absolute(file)?)),
            (None, Some(command)) => Some(KeySource::Command(command.clone())),
            (None, None) => None,
        })
    }
}

pub(crate) async fn run(options: Options) -> Result<()> {
    match options.command {
        Command::Key { file } => {
            KeySource::generate(&file).config()?;
            println!("{}: without it nothing can be restored", file.display());
            Ok(())
        }
        Command::Start(options) => start::run(options).await,
        Command::Stop { reach } => {
            let reached = reach.reach()?;
            anyhow::ensure!(stored::remove_config(&*reached.client.kv).await?, "no backup was started");
            println!("the backup was stopped; what was written stays");
            Ok(())
        }
        Command::Status { reach, output } => show::status(&reach, output).await,
        Command::List { source, output } => show::list(&source, output).await,
        Command::Verify(options) => verify::run(options).await,
        Command::Prune { source, keep, dry_run } => prune(&source, keep, dry_run).await,
        Command::Save(options) => save::run(options).await,
    }
}

/// Where the cluster's own backup lies and what its key is read from, if it is made. While a
/// configuration has not shown that it works, that is where the backup lay before.
pub(crate) async fn configured(kv: &dyn trireme_store::Kv) -> Result<Option<(Location, KeySource)>> {
    let Some(config) = stored::config(kv, false).await? else { return Ok(None) };
    let stored = config.trial.and_then(|trial| trial.before).unwrap_or(config.stored);
    Ok(Some((find::own(&stored, kv.status().await?.cluster_id), stored.key)))
}

async fn prune(source: &find::Source, keep: Option<Duration>, dry_run: bool) -> Result<()> {
    let found = source.find().await?;
    let keep = keep
        .or(found.stored.as_ref().map(stored::Stored::keep))
        .context("--keep is needed: how far back one is to be able to go")
        .config()?;
    // Names alone decide: no key is needed.
    let archive = trireme_backup::Archive::look(&found.location).await?;
    let pruned = archive.prune(Retention { keep }, now_ms(), dry_run).await?;
    let (bases, objects) = (count(pruned.bases, "base"), count(pruned.log_objects, "log object"));
    let what = if dry_run { "would be removed" } else { "removed" };
    println!("{bases} and {objects} {what}, {} MiB", pruned.bytes >> 20);
    Ok(())
}

pub(crate) fn location(text: &str) -> Result<Location, String> {
    text.parse().map_err(|error: trireme_backup::Error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: a number with s, m, h or d is expected, such as 24h");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

fn base_every(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    if every < BASE_EVERY_MIN {
        return Err(format!("{text:?}: a minute at least is expected"));
    }
    Ok(every)
}

fn now_ms() -> i64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
