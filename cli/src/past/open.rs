//! Opens the pasts that a command may look into.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use trireme_store::Revision;

use super::archive::{self, Backup};
use super::moment::{At, show};
use super::now_ms;
use super::source::{Found, Missing, Past, StorePast, Times, resolve};
use crate::exit::ConfigContext;
use crate::reach::{Reach, Reached};

#[derive(Args, Debug)]
pub(crate) struct Source {
    #[command(flatten)]
    pub reach: Reach,
    #[command(flatten)]
    archive: archive::Options,
}

/// The pasts of one cluster.
pub(super) struct Pasts {
    pub live: Arc<dyn Past>,
    pub reached: Reached,
    archive: archive::Options,
}

/// A state of the cluster.
#[derive(Clone)]
pub(super) struct State {
    pub past: Arc<dyn Past>,
    pub revision: Revision,
    /// Of another cluster than the one that runs: its revisions say nothing of the other's.
    pub foreign: bool,
}

impl Source {
    pub(super) fn open(&self) -> Result<Pasts> {
        let reached = self.reach.reach()?;
        let times = Times::Remote(reached.client.remote.clone());
        let live = Arc::new(StorePast { kv: reached.client.kv.clone(), times, _scratch: None });
        Ok(Pasts { live, reached, archive: self.archive.clone() })
    }
}

impl Pasts {
    /// Whether a backup was named, so that the past is looked for there.
    pub(super) fn is_backup_named(&self) -> bool {
        self.archive.is_named()
    }

    /// The newest state.
    pub(super) async fn now(&self) -> Result<State> {
        let revision = self.live.bounds().await?.newest;
        Ok(State { past: self.live.clone(), revision, foreign: false })
    }

    /// The backup that was named, or that the cluster makes.
    pub(super) async fn backup(&self) -> Result<Option<Backup>> {
        self.archive.open(&*self.reached.client.kv).await
    }

    /// The state at a moment, from the store if it has it, and from a backup if not, or if one was
    /// named; says on standard error which revision that is.
    pub(super) async fn at(&self, at: At) -> Result<State> {
        let now_ms = now_ms();
        if self.archive.is_named()
            && let Some(backup) = self.backup().await?
        {
            return backup.at(at).await;
        }
        match resolve(&*self.live, at, now_ms).await? {
            Ok(found) => {
                announce(at, found);
                Ok(State { past: self.live.clone(), revision: found.revision, foreign: false })
            }
            Err(Missing::Future(why)) => Err(anyhow::anyhow!(why)).config(),
            Err(Missing::Older { oldest, since_ms }) => match self.backup().await? {
                Some(backup) => backup.at(at).await,
                None => bail!("{}", too_old(at, oldest, since_ms)),
            },
        }
    }
}

fn announce(at: At, found: Found) {
    let At::Time(time) = at else { return };
    let unclear = match found.unclear {
        0 => String::new(),
        count => format!(
            "; the next {count} changes carry no time and are taken as later (revision:N names a state exactly)"
        ),
    };
    eprintln!("{} is revision {}{unclear}", show(time), found.revision);
}

/// What a moment means to people.
pub(super) fn describe(at: At) -> String {
    match at {
        At::Time(time) => show(time),
        At::Revision(revision) => format!("revision {revision}"),
    }
}

/// The message for a moment before the history.
pub(super) fn too_old(at: At, oldest: Revision, since_ms: Option<i64>) -> String {
    let since = since_ms.map_or_else(String::new, |ms| format!(" (of about {})", show(ms)));
    format!(
        "{} is before what the store still has: its history begins with revision {oldest}{since}, since API \
         servers drop what is 5 to 10 minutes old. Backups reach further back: trireme backup start keeps one",
        describe(at)
    )
}
