//! Opens the pasts that a command may look into.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use trireme_store::Revision;

use super::archive::{self, Backup};
use super::moment::{At, show};
use super::now_ms;
use super::source::{Found, Missing, Past, StorePast, Times, made_ms, resolve};
use crate::exit::ConfigContext;
use crate::progress::count as things;
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
            return self.in_backup(&backup, at, None).await;
        }
        match resolve(&*self.live, at, now_ms).await? {
            Ok(found) => {
                announce(at, found);
                Ok(State { past: self.live.clone(), revision: found.revision, foreign: false })
            }
            Err(Missing::Future(why)) => Err(anyhow::anyhow!(why)).config(),
            Err(Missing::Older { oldest, since_ms }) => {
                let own = Since { revision: oldest.0, time_ms: since_ms, place: "in the store".into() };
                match (self.backup().await?, self.made_before(at).await) {
                    (Some(backup), _) => self.in_backup(&backup, at, Some(own)).await,
                    (None, Some(made)) => Err(anyhow::anyhow!(own.before_cluster(at, made))).config(),
                    (None, None) => bail!("{}", too_old(at, oldest, since_ms)),
                }
            }
        }
    }

    /// The state at a moment that the store, whose history begins with `own`, does not have.
    async fn in_backup(&self, backup: &Backup, at: At, own: Option<Since>) -> Result<State> {
        let error = match backup.at(at).await {
            Ok(state) => return Ok(state),
            Err(error) => error,
        };
        if !matches!(error.downcast_ref(), Some(trireme_backup::Error::TooEarly { .. })) {
            return Err(error);
        }
        let Some(begin) = backup.begin().await? else { return Err(error) };
        if backup.foreign {
            return Err(anyhow::anyhow!(begin.before_history(at))).config();
        }
        let begin = own.filter(|own| own.revision < begin.revision).unwrap_or(begin);
        let made = self.made_before(at).await;
        let why = made.map_or_else(|| begin.before_history(at), |made| begin.before_cluster(at, made));
        Err(anyhow::anyhow!(why)).config()
    }

    /// When the cluster was made, if that is known and `at` is a time before it.
    async fn made_before(&self, at: At) -> Option<i64> {
        let At::Time(time_ms) = at else { return None };
        let newest = self.live.bounds().await.ok()?.newest;
        made_ms(&*self.live, newest).await.ok().flatten().filter(|made| time_ms < *made)
    }
}

/// Where history begins.
pub(super) struct Since {
    pub revision: i64,
    pub time_ms: Option<i64>,
    /// `in the store`.
    pub place: String,
}

impl Since {
    fn before_cluster(&self, at: At, made_ms: i64) -> String {
        let (at, made) = (describe(at), show(made_ms));
        format!("{at} is before this cluster was made, at {made}: there is history {self}")
    }

    fn before_history(&self, at: At) -> String {
        format!("{} is before all history: there is one {self}", describe(at))
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, time_ms, place } = self;
        match time_ms {
            Some(ms) => write!(f, "since {} (revision {revision}), {place}", show(*ms)),
            None => write!(f, "since revision {revision}, {place}"),
        }
    }
}

fn announce(at: At, found: Found) {
    let At::Time(time) = at else { return };
    let unclear = match found.unclear {
        0 => String::new(),
        count => format!(
            "; {} with no time of their own follow and are taken as later (revision:N names a state exactly)",
            things(count, "change")
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
