//! `trireme restore`: a new cluster out of an old one's state.
//!
//! ```text
//!   source ──► a store that can be read ──► rewritten ──► the new members' data ──► mark removed
//! ```
//!
//! The new cluster has another name, other members and higher revisions than any client of the old
//! one can have seen (`trireme_store::Rebirth`); the source is not changed.

mod archive;
mod point;
mod progress;
mod source;
mod target;

use anyhow::{Context, Result};
use clap::Args;
use trireme_raft::OfflineError;
use trireme_store::{Fault, Rebirth, Reborn};

use crate::backup;
use crate::exit::ConfigContext;
use crate::forms;
use crate::join::token;
use crate::server::master::open_engine;

pub(crate) use point::show;
pub(crate) use progress::Progress;
pub(crate) use source::{explain, open_copy, read_damaged};

#[derive(Args, Debug)]
#[command(override_usage = forms::USAGE)]
pub(crate) struct Options {
    /// A backup (/FOLDER, s3://BUCKET/PREFIX, or the file of `trireme backup save`), or the data
    /// directory of a master that does not run
    #[arg(long, value_name = "WHERE")]
    from: String,
    #[command(flatten)]
    backup: archive::BackupOptions,
    #[command(flatten)]
    point: point::PointOptions,
    #[command(flatten)]
    target: target::TargetOptions,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let point = options.point.point().config()?;
    let source = source::Source::find(&options.from).config()?;
    let target = options.target.target().config()?;
    let scratch = target.begin()?;
    let mut progress = Progress::new();
    let opened = source.open(point, &options.backup, &scratch, &mut progress)?;
    let pki = target.make_pki()?;
    progress.expect(opened.store.raw_bytes());
    let rebirth = Rebirth { at: opened.at, seen: opened.seen, ..rebirth() };
    let made = trireme_raft::found(
        &opened.store,
        &pki.cluster,
        target.founders(),
        rebirth,
        &open_engine(),
        &mut |work| progress.did(work),
    );
    progress.end();
    let made = made.map_err(|error| match error {
        OfflineError::State(Fault::Corrupt(what)) => {
            anyhow::anyhow!("{}: its data is damaged ({what}); take another source", options.from)
        }
        error => error.into(),
    })?;
    drop(opened);
    let figure = progress.figure();
    let steps = target.finish().context("finish")?;
    print!("{}", summary(&pki.cluster, &made, &figure));
    print!("{steps}");
    Ok(())
}

/// What is the same whatever a new cluster is made of.
pub(crate) fn rebirth() -> Rebirth {
    // Whoever was let into the old cluster was not let into this one, and its masters are not these.
    let without = [token::PREFIX].into_iter().chain(backup::OF_MASTERS);
    Rebirth {
        at: None,
        seen: trireme_store::Revision(0),
        membership: bytes::Bytes::new(),
        position: trireme_store::log::LogPosition::default(),
        now_ms: jiff::Timestamp::now().as_millisecond(),
        without: without.map(|key| bytes::Bytes::from_static(key.as_bytes())).collect(),
    }
}

pub(crate) fn summary(cluster: &str, made: &Reborn, figure: &str) -> String {
    let mut text = format!("cluster {cluster}: {figure}\n");
    text += &format!(
        "  taken: revision {} of a state of {}; every object now has revision {}, and clients' watches \
         begin anew\n",
        made.at,
        show(made.source.time_ms),
        made.revision
    );
    let tokens = made.left_behind.first().copied().unwrap_or(0);
    text += &format!(
        "  leases: {} with their full time, {} without keys ended; fences raised: {}; join tokens ended: {tokens}\n",
        made.leases, made.leases_ended, made.fences
    );
    text
}
