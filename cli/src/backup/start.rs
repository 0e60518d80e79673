//! `trireme backup start`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use trireme_backup::Location;
use trireme_store::{Kv, Revision};

use super::KeyOptions;
use super::stored::{self, Making, Stored, Told, Trial};
use crate::exit::ConfigContext;
use crate::progress::{Bar, Unit};
use crate::reach::Reach;

/// How long the first that is written is waited for. With a new location that is a whole base, which
/// is waited for as long as it grows.
const FIRST_WRITTEN: Duration = Duration::from_secs(60);
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
    let now = stored::config(kv, false).await?;
    let written =
        stored::try_config(kv, &stored, now.as_ref()).await?.context(OTHER).context("nothing was changed")?;
    let outcome = outcome(kv, written).await?;
    let location = &stored.location;
    match outcome {
        Outcome::Works(member) => println!("{member} writes the backup to {location}"),
        Outcome::Waits => println!(
            "the backup was started, and nothing is written to {location} yet: look at `trireme backup status`"
        ),
        Outcome::TakenBack(problem, trial) => {
            let now = match trial.before {
                Some(before) => format!("the backup goes to {} as before", before.location),
                None => "no backup is made, as before".to_owned(),
            };
            bail!("nothing can be written to {location}: {problem}. That was taken back: {now}");
        }
    }
    Ok(())
}

const OTHER: &str = "somebody else started or stopped the backup at the same time";

enum Outcome {
    /// Who writes.
    Works(String),
    /// Neither good nor bad was heard in time.
    Waits,
    TakenBack(String, Trial),
}

/// Waits for what is told of the configuration of `written` and of no other, and takes it back when
/// that is bad. Whoever ends this before leaves the configuration on trial, and `trireme backup
/// status` says so.
async fn outcome(kv: &dyn Kv, written: Revision) -> Result<Outcome> {
    let mut waiting = Waiting::new();
    loop {
        let now = stored::config(kv, false).await?.filter(|now| now.written == written).context(OTHER)?;
        let told = stored::told(kv, written).await?;
        let member = stored::archiver(kv, false).await?;
        if let Some(making) = told.as_ref().and_then(|told| told.making) {
            waiting.hear(making);
        }
        match (now.trial, told, member) {
            (None, _, Some(member)) => return Ok(Outcome::Works(member)),
            (Some(trial), Some(Told { problem: Some(problem), works: false, .. }), _) => {
                // Not, if something was written after all meanwhile.
                #[allow(clippy::collapsible_match)] // a guard cannot wait
                if stored::take_back(kv, written, &trial).await? {
                    return Ok(Outcome::TakenBack(problem, trial));
                }
            }
            _ if waiting.since.elapsed() > FIRST_WRITTEN => return Ok(Outcome::Waits),
            _ => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Shown while nothing was written: that it is waited for, and how far the base is.
struct Waiting {
    since: Instant,
    spinner: ProgressBar,
    base: Option<(Making, Bar)>,
}

impl Waiting {
    fn new() -> Self {
        let spinner = ProgressBar::new_spinner().with_message("waiting for the first that is written");
        spinner.enable_steady_tick(Duration::from_millis(200));
        Self { since: Instant::now(), spinner, base: None }
    }

    fn hear(&mut self, making: Making) {
        let (last, bar) = self.base.get_or_insert_with(|| {
            self.spinner.finish_and_clear();
            (making, Bar::new("making the first base", making.of_bytes, Unit::Bytes))
        });
        if *last != making {
            (*last, self.since) = (making, Instant::now());
        }
        bar.set(making.done_bytes, making.of_bytes);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
        if let Some((_, bar)) = &self.base {
            bar.end();
        }
    }
}
