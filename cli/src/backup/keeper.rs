//! Archiving, in a master: one of them at a time does it, a follower where there is one.
//!
//! What makes it safe is the archive itself, in which two writers do no harm. The lease only saves
//! the work of doing it twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trireme_backup::{
    Archive, Archiver, ArchiverConfig, Error, Key, KeySource, Progressed, RawBody, RawEntry, Source,
};
use trireme_raft::{AgreedBody, Replica, Role};
use trireme_store::{Kv, LeaseId, Store};

use super::configured;
use super::stored::{self, Configured, Making, Stored, Told};

/// Between two looks at whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of the lease: who archives and dies is followed by another after it.
const LEASE_TTL_S: i64 = 3;
/// Between two signs of life; also what a change of the configuration takes at most.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long the leader leaves it to the others.
const LEADER_WAITS: Duration = Duration::from_secs(3);
/// After something failed that is not the storage's: a wrong key, a location that cannot be.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Keeper {
    pub replica: Replica,
    pub name: String,
    /// On the state's file system; emptied at the start.
    pub scratch: PathBuf,
    /// The one command that this master may be asked to run for the key: who can write to the store
    /// must not choose what masters run.
    pub key_command: Option<String>,
    /// The backup of this master's own configuration.
    pub wanted: Option<Stored>,
}

/// A replica as the archiver reads it.
struct Log(Replica);

impl Source for Log {
    fn store(&self) -> &Store {
        self.0.store()
    }

    fn read(&self, from: u64, to: u64, budget: usize) -> Result<Vec<RawEntry>, Error> {
        let agreed = self.0.agreed(from, to, budget);
        let agreed = agreed.map_err(|error| Error::Io { what: "the raft log".into(), error })?;
        let raw = agreed.into_iter().map(|entry| RawEntry {
            at: entry.at,
            body: match entry.body {
                AgreedBody::Blank => RawBody::Blank,
                AgreedBody::Membership(members) => RawBody::Membership(members),
                AgreedBody::Command(command) => RawBody::Command(command),
            },
        });
        Ok(raw.collect())
    }
}

impl Keeper {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let _ = std::fs::remove_dir_all(&self.scratch);
        let mut free_since = None;
        let mut wanted = self.wanted.as_ref();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            if let Some(stored) = wanted
                && *self.replica.caught_up().borrow()
            {
                match configured::start(&self.replica, stored).await {
                    Ok(()) => wanted = None,
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "the backup was not started yet");
                        continue;
                    }
                }
            }
            if let Err(error) = self.look(&mut free_since, &stop).await {
                tracing::warn!(error = format!("{error:#}"), "the backup's state is not known");
            }
        }
    }

    /// Archives, if that is wanted and nobody else does; returns when there is nothing more to do.
    async fn look(&self, free_since: &mut Option<Instant>, stop: &CancellationToken) -> Result<()> {
        if !*self.replica.caught_up().borrow() {
            return Ok(());
        }
        let Some(config) = stored::config(&self.replica, true).await? else { return Ok(()) };
        if stored::archiver(&self.replica, true).await?.is_some() {
            *free_since = None;
            return Ok(());
        }
        let status = self.replica.status();
        let leads =
            status.role == Role::Leader && status.members.iter().filter(|member| member.votes).count() > 1;
        if leads && free_since.get_or_insert_with(Instant::now).elapsed() < LEADER_WAITS {
            return Ok(());
        }
        let lease = self.replica.lease_grant(LeaseId(0), LEASE_TTL_S).await?.id;
        let done = match stored::become_archiver(&self.replica, &self.name, lease).await {
            Ok(true) => {
                tracing::info!(location = %config.stored.location, "this master writes the backup");
                self.archive(&config, lease, stop).await
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        // What cannot be ended runs out.
        let _ = tokio::time::timeout(RENEW_EVERY, self.replica.lease_revoke(lease)).await;
        *free_since = None;
        done
    }

    /// Archives until the lease is lost, the configuration is another one, or the process ends.
    async fn archive(&self, config: &Configured, lease: LeaseId, stop: &CancellationToken) -> Result<()> {
        let end = stop.child_token();
        let _ended = end.clone().drop_guard();
        match self.start(&config.stored, end).await {
            Ok(progress) => self.attend(config, progress, Duration::MAX, lease, stop).await,
            Err(error) => {
                tracing::error!(%error, "the backup cannot be written");
                let failed = Progressed { problem: Some(error.to_string()), ..Progressed::default() };
                let (_told, progress) = watch::channel(failed);
                self.attend(config, progress, FAILED_PAUSE, lease, stop).await
            }
        }
    }

    /// Keeps the lease and tells how it goes, for `at_most` so long.
    async fn attend(
        &self,
        config: &Configured,
        mut progress: watch::Receiver<Progressed>,
        at_most: Duration,
        lease: LeaseId,
        stop: &CancellationToken,
    ) -> Result<()> {
        let (began, mut renewed, mut last) = (Instant::now(), Instant::now(), None);
        progress.mark_changed();
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                // At once: somebody may wait for the first word.
                changed = progress.changed() => if changed.is_err() {
                    tracing::error!("the archiver has ended");
                    return Ok(());
                },
                () = stop.cancelled() => return Ok(()),
            }
            match tokio::time::timeout(RENEW_EVERY, self.replica.lease_keep_alive(lease)).await {
                Ok(Ok(_)) => renewed = Instant::now(),
                Ok(Err(trireme_store::Error::LeaseNotFound)) => return Ok(()),
                _ if renewed.elapsed() > Duration::from_secs(LEASE_TTL_S as u64) => return Ok(()),
                _ => {}
            }
            match stored::config(&self.replica, true).await {
                Ok(Some(now)) if now.written == config.written => {}
                Ok(_) => return Ok(()),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "the configuration was not read"),
            }
            let told = self.told(config, &progress.borrow_and_update());
            if last.as_ref() != Some(&told) && stored::tell(&self.replica, &told, lease).await.is_ok() {
                last = Some(told);
            }
            if began.elapsed() >= at_most {
                return Ok(());
            }
        }
    }

    fn told(&self, config: &Configured, progress: &Progressed) -> Told {
        let of_base = || progress.base_problem.as_ref().map(|why| format!("the last base: {why}"));
        let problem = progress.problem.clone().or_else(of_base);
        Told {
            config: config.written.0,
            works: progress.written,
            problem: problem.map(|problem| format!("{}: {problem}", self.name)),
            making: progress.base.map(|(done_bytes, of_bytes)| Making { done_bytes, of_bytes }),
        }
    }

    async fn start(
        &self,
        stored: &Stored,
        end: CancellationToken,
    ) -> Result<watch::Receiver<Progressed>, Error> {
        let key = read_key(&stored.key, self.key_command.as_deref()).await?;
        let archive = Archive::of_cluster(&stored.location, key, self.replica.cluster_id())?;
        let config = ArchiverConfig {
            base_every: stored.base_every(),
            keep: stored.keep(),
            ..ArchiverConfig::new(&self.name, self.scratch.clone())
        };
        let archiver = Archiver::new(archive, Arc::new(Log(self.replica.clone())), config);
        let progress = archiver.progress();
        tokio::spawn(archiver.run(end));
        Ok(progress)
    }
}

/// The key, from where the store says that it is. A command is run only if it is this master's `own`:
/// who can write to the store must not choose what masters run.
async fn read_key(source: &KeySource, own: Option<&str>) -> Result<Key, Error> {
    if let KeySource::Command(command) = source
        && own != Some(command.as_str())
    {
        return Err(Error::Key(format!(
            "this master was not started with --backup-key-command {command:?}, and runs no other"
        )));
    }
    let source = source.clone();
    tokio::task::spawn_blocking(move || source.read()).await.map_err(|_| Error::Stopped)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_master_runs_no_command_for_the_key_but_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let ran = dir.path().join("ran");
        let command = format!("touch {}; printf %064d 7", ran.display());
        let source = KeySource::Command(command.clone());
        let longer = format!("{command} ");
        for own in [None, Some(""), Some("true"), Some("touch"), Some(&longer[..])] {
            let refused = read_key(&source, own).await.err().map(|error| error.to_string());
            let says = refused.as_deref().is_some_and(|text| text.contains("was not started with"));
            assert!(says, "{own:?}: {refused:?}");
            assert!(!ran.exists(), "{own:?}: it was run");
        }
        assert!(read_key(&source, Some(&command)).await.is_ok());
        assert!(ran.exists());
    }
}
