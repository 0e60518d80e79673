//! A master whose data is damaged comes back under a new identity, with everything anew from the
//! others.
//!
//! ```text
//!   <data>/store ──damage──► <data>/store.damaged      until the new one votes
//!   <data>/store             made anew, joins as a learner, takes the old one's place
//! ```
//!
//! Nothing is deleted before the new member votes: where the others are no healthy majority it stays
//! out, says so, and the damaged files are still there to be looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use trireme_raft::{Join, Replica, StartError};

/// Between two looks whether the new member votes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Rebuild {
    data_dir: PathBuf,
    aside: PathBuf,
    /// A copy that is being removed.
    leftover: PathBuf,
    way_back: Option<Join>,
}

impl Rebuild {
    /// For the store in `data_dir`. `way_back` is absent where there is nobody to come back to.
    pub(super) fn new(data_dir: &Path, way_back: Option<Join>) -> Rebuild {
        let beside = |ending: &str| {
            let mut path = data_dir.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        Rebuild {
            data_dir: data_dir.to_owned(),
            aside: beside(".damaged"),
            leftover: beside(".removed"),
            way_back,
        }
    }

    /// How to join, where an earlier start has set the data aside. Such a member must not make a
    /// cluster: if all of them were new, an empty one would come of it.
    pub(super) fn under_way(&self) -> Option<Join> {
        self.way_back.clone().filter(|_| self.aside.exists())
    }

    /// Sets the damaged data aside; how to join, or `None` where nobody else has the data.
    pub(super) fn begin(&self, damage: &StartError) -> Result<Option<Join>> {
        let Some(join) = self.way_back.clone() else { return Ok(None) };
        if self.aside.exists() {
            // What was damaged first is kept. This copy goes, under another name first: half removed
            // under its own it would be a member without its log, or a log without its member.
            self.remove_leftover()?;
            std::fs::rename(&self.data_dir, &self.leftover)
                .with_context(|| format!("move {} aside", self.data_dir.display()))?;
            self.remove_leftover()?;
        } else {
            std::fs::rename(&self.data_dir, &self.aside)
                .with_context(|| format!("move {} aside", self.data_dir.display()))?;
        }
        tracing::error!(
            %damage,
            kept = %self.aside.display(),
            "this master's data is damaged: it is built anew from the other masters"
        );
        Ok(Some(join))
    }

    fn remove_leftover(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.leftover.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the new member votes, and removes what was set aside.
    pub(super) async fn finish(self, replica: Replica) {
        if !self.aside.exists() {
            return;
        }
        while !(replica.votes() && *replica.caught_up().borrow()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let removed = self.remove_leftover().and_then(|()| Ok(std::fs::remove_dir_all(&self.aside)?));
        match removed {
            Ok(()) => tracing::info!("this master was built anew"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, path = %self.aside.display(), "what was damaged could not be removed");
            }
        }
    }
}
