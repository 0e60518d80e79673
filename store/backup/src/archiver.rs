//! Following a store's log into an archive.
//!
//! ```text
//!   log   ──┬──────────────────────────────►  objects of entries, from where this began
//!   state   └─ checkpoint ──► parts … ──► base: what is archived counts from here on
//! ```
//!
//! The log is read while a base is made, and from before the moment that the base is of: a base takes
//! as long as it takes, and the log is not kept for it. Who dies in between leaves log that no base
//! leads to; the next one begins anew, and the log goes when a base is pruned.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use trireme_store::{Applied, Store};

use crate::archive::Archive;
use crate::entry::RawEntry;
use crate::error::Error;
use crate::names::{BaseName, LogName};
use crate::prune::Retention;
use crate::seal;

/// Between two looks at what was applied.
const POLL: Duration = Duration::from_millis(250);
/// Bytes of entries read at a time.
const READ_BYTES: usize = 1 << 20;
/// Between two tries while the storage refuses.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// Between two tries of a base that failed.
const BASE_RETRY: Duration = Duration::from_secs(600);
/// Between two words of how far a base is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What a test restore leaves free on the disk.
const ROOM_LEFT_BYTES: u64 = 512 << 20;
/// Compression of what is written beside the cluster's writes: the fastest.
const LOG_LEVEL: i32 = 1;
/// Between two merges of small objects, and before the first, so that one is made even where who
/// archives changes often.
const MERGE_EVERY: Duration = Duration::from_secs(3600);
const MERGE_FIRST: Duration = Duration::from_secs(900);
/// Log that a restore would have to apply: past it a base is due, whatever the time.
const LOG_BYTES_MAX: u64 = 8 << 30;

/// Whose log is archived.
pub trait Source: Send + Sync + 'static {
    fn store(&self) -> &Store;

    /// Entries from `from` up to and with `to`, which are applied: about `budget` bytes, one at
    /// least. They begin later where the log was purged, and are none where they cannot be read yet.
    /// Blocks.
    fn read(&self, from: u64, to: u64, budget: usize) -> Result<Vec<RawEntry>, Error>;
}

#[derive(Clone, Debug)]
pub struct Config {
    /// Who archives, for those who look.
    pub member: String,
    /// A directory on the state's file system, for checkpoints and test restores.
    pub scratch: PathBuf,
    pub base_every: Duration,
    pub keep: Duration,
    /// The oldest entry waits no longer before it is written.
    pub flush_every: Duration,
    /// An object with log entries is written when it would grow past this.
    pub flush_bytes: usize,
    /// Speed at which bases are made and test-restored, so that others have the disk too.
    pub base_bytes_per_s: u64,
}

impl Config {
    pub fn new(member: &str, scratch: PathBuf) -> Self {
        Self {
            member: member.into(),
            scratch,
            base_every: Duration::from_secs(24 * 3600),
            keep: Duration::from_secs(30 * 24 * 3600),
            flush_every: Duration::from_secs(2),
            flush_bytes: 8 << 20,
            base_bytes_per_s: 32 << 20,
        }
    }
}

/// How far the archive is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progressed {
    /// The last entry that is in the archive, and to which a base leads.
    pub index: u64,
    pub revision: i64,
    pub time_ms: i64,
    /// This archiver has written something itself: whoever archived before it may have had another
    /// location's rights.
    pub written: bool,
    /// Bytes of the state that were read for the base that is being made, and of how many.
    pub base: Option<(u64, u64)>,
    /// What is wrong at the moment.
    pub problem: Option<String>,
    /// What went wrong with the last base.
    pub base_problem: Option<String>,
}

pub struct Archiver {
    archive: Archive,
    source: Arc<dyn Source>,
    config: Config,
    told: watch::Sender<Progressed>,
}

/// Where the archive goes on.
#[derive(Clone, Copy, Debug)]
struct At {
    index: u64,
    term: u64,
}

/// Entries that are not in the archive yet.
#[derive(Default)]
struct Buffer {
    encoded: Vec<u8>,
    first: Option<(u64, Instant)>,
}

enum Collected {
    /// As far as was applied, and can be read.
    All,
    /// The buffer is full.
    Full,
    Purged,
}

impl Archiver {
    pub fn new(archive: Archive, source: Arc<dyn Source>, config: Config) -> Self {
        Self { archive, source, config, told: watch::Sender::default() }
    }

    pub fn progress(&self) -> watch::Receiver<Progressed> {
        self.told.subscribe()
    }

    /// Archives until it is told to stop. What the storage refuses is tried again.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = RETRY_MIN;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let followed = tokio::select! {
                followed = self.follow() => followed,
                () = stop.cancelled() => return,
            };
            if begun.elapsed() > RETRY_MAX {
                wait = RETRY_MIN;
            }
            if let Err(error) = followed {
                tracing::error!(%error, location = self.archive.location(), "the backup stands still");
                self.told.send_modify(|told| (told.problem, told.base) = (Some(error.to_string()), None));
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Archives until something fails.
    pub(crate) async fn follow(&self) -> Result<(), Error> {
        let resumed = self.resume().await?;
        let points = self.archive.points().await?;
        let mut bases = Bases::due(&points, self.config.base_every);
        let mut at = match resumed {
            Some(at) => at,
            None => self.begin(&mut bases)?,
        };
        let mut merges = Merges { next: Instant::now() + MERGE_FIRST, work: None };
        let mut buffer = Buffer::default();
        let mut end = at;
        // What waited for somebody to archive it has waited enough.
        let mut backlog = true;
        loop {
            let applied = self.source.store().applied();
            let mut purged = false;
            if let Some(position) = applied.position.filter(|position| position.index > end.index) {
                loop {
                    let collected = self.collect(&mut buffer, &mut end, position.index).await?;
                    match collected {
                        Collected::All => break,
                        Collected::Full => {
                            self.flush(&mut buffer, &mut at, end, &applied, &mut bases).await?;
                            // An object that was cut by size cannot say its revision: the one with what is
                            // left follows at once and does, so that who looks sees how far it is.
                            backlog = true;
                        }
                        Collected::Purged => {
                            purged = true;
                            break;
                        }
                    }
                }
            }
            let old = buffer.first.is_some_and(|(_, since)| {
                std::mem::take(&mut backlog) || since.elapsed() >= self.config.flush_every
            });
            if old || buffer.encoded.len() >= self.config.flush_bytes || purged {
                self.flush(&mut buffer, &mut at, end, &applied, &mut bases).await?;
            }
            if purged {
                tracing::error!(
                    index = at.index + 1,
                    "the log was purged before it was archived: a new base is made"
                );
                at = self.begin(&mut bases)?;
                end = at;
            }
            self.keep_bases(&mut bases, at).await?;
            self.told.send_if_modified(|told| bases.from.is_none() && told.problem.take().is_some());
            merges.keep(&self.archive);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Begins behind what is applied: from there on the log is archived, and a base is due. One that
    /// is being made is not given up for it: where the log is purged again and again, bases still come
    /// to their end, and each can be gone back to.
    fn begin(&self, bases: &mut Bases) -> Result<At, Error> {
        let Some(position) = self.source.store().applied().position else {
            return Err(Error::Invalid("the store has nothing to back up yet".into()));
        };
        (bases.from, bases.next, bases.unchecked) = (Some(position.index), Instant::now(), None);
        Ok(At { index: position.index, term: position.term })
    }

    /// Where the archive ends, if this store's log goes on from there.
    async fn resume(&self) -> Result<Option<At>, Error> {
        loop {
            let points = self.archive.points().await?;
            let Some(end) = points.end() else { return Ok(None) };
            let at = At { index: end.last_index, term: end.last_term };
            let Some(position) = self.source.store().applied().position else {
                tokio::time::sleep(POLL).await;
                continue;
            };
            if position.index < at.index && position.term <= at.term {
                // This member is behind the one that archived before it.
                tokio::time::sleep(POLL).await;
                continue;
            }
            let own = match position.index.cmp(&at.index) {
                std::cmp::Ordering::Less => Some(position.term),
                std::cmp::Ordering::Equal => Some(position.term),
                std::cmp::Ordering::Greater => {
                    let read = self.read(at.index, at.index).await?;
                    read.first().filter(|entry| entry.at.index == at.index).map(|entry| entry.at.term)
                }
            };
            // Purged: the next read finds that out as well.
            if own.is_some_and(|term| term != at.term) {
                let error = Error::Fork { index: at.index };
                tracing::error!(%error, "a new base is made");
                return Ok(None);
            }
            self.tell(at.index, end.last_revision, end.last_time_ms);
            if let Some(before) = points.end_before_newest_base() {
                let before = At { index: before.last_index, term: before.last_term };
                if self.goes_on_from(before).await? {
                    return Ok(Some(before));
                }
            }
            return Ok(Some(at));
        }
    }

    /// Whether this store's log has an entry, and so all that came after it.
    async fn goes_on_from(&self, at: At) -> Result<bool, Error> {
        let read = self.read(at.index, at.index).await?;
        Ok(read.first().is_some_and(|entry| (entry.at.index, entry.at.term) == (at.index, at.term)))
    }

    async fn read(&self, from: u64, to: u64) -> Result<Vec<RawEntry>, Error> {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || source.read(from, to, READ_BYTES));
        read.await.map_err(|_| Error::Stopped)?
    }

    /// Adds entries to the buffer, up to and with `to`, until it is full.
    async fn collect(&self, buffer: &mut Buffer, end: &mut At, to: u64) -> Result<Collected, Error> {
        while end.index < to {
            if buffer.encoded.len() >= self.config.flush_bytes {
                return Ok(Collected::Full);
            }
            let entries = self.read(end.index + 1, to).await?;
            match entries.first() {
                // What the store has applied the log may give out a moment later.
                None => return Ok(Collected::All),
                Some(first) if first.at.index != end.index + 1 => return Ok(Collected::Purged),
                Some(_) => {}
            }
            buffer.first.get_or_insert((end.index + 1, Instant::now()));
            buffer.encoded.reserve(entries.iter().map(RawEntry::encoded_len).sum());
            for entry in &entries {
                entry.encode(&mut buffer.encoded);
                *end = At { index: entry.at.index, term: entry.at.term };
            }
        }
        Ok(Collected::All)
    }

    /// Writes what was collected.
    async fn flush(
        &self,
        buffer: &mut Buffer,
        at: &mut At,
        end: At,
        applied: &Applied,
        bases: &mut Bases,
    ) -> Result<(), Error> {
        let Buffer { encoded, first } = std::mem::take(buffer);
        let Some((first, _)) = first else { return Ok(()) };
        // Known where the entries end with what was applied at one moment.
        let known = applied.position.is_some_and(|position| position.index == end.index);
        let (revision, time_ms) = if known { (applied.revision.0, applied.time_ms.max(0)) } else { (0, 0) };
        let name =
            LogName { first, last: end.index, term_before: at.term, last_term: end.term, revision, time_ms };
        bases.log_bytes += self.archive.put_log(&name, encoded, LOG_LEVEL).await?;
        *at = end;
        if bases.from.is_none() {
            self.tell(end.index, revision, time_ms);
            self.told.send_modify(|told| told.written = true);
        }
        Ok(())
    }

    fn tell(&self, index: u64, revision: i64, time_ms: i64) {
        self.told.send_modify(|told| {
            told.index = index;
            told.revision = told.revision.max(revision);
            told.time_ms = told.time_ms.max(time_ms);
        });
    }

    /// Makes a base when one is due, and test-restores the newest, beside archiving, which is at `at`.
    async fn keep_bases(&self, bases: &mut Bases, at: At) -> Result<(), Error> {
        if let Some(work) = bases.work.take_if(|work| work.is_finished()) {
            let done = work.await.unwrap_or(Err(Error::Stopped));
            let problem = done.as_ref().err().map(ToString::to_string);
            self.told.send_if_modified(|told| {
                std::mem::replace(&mut told.base_problem, problem.clone()) != problem
            });
            match done {
                Ok(Done::Made(base)) => self.made(bases, base, at),
                Ok(Done::Tested) => {}
                // Without a base there is no backup, whatever is archived: that is tried again soon.
                Err(error) if bases.from.is_some() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a base of the backup failed");
                    bases.next = Instant::now() + BASE_RETRY.min(self.config.base_every);
                }
            }
        }
        if bases.work.is_some() {
            return Ok(());
        }
        let (archive, config) = (self.archive.clone(), self.config.clone());
        if let Some(base) = bases.unchecked.take() {
            bases.work = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                test_restore(&archive, &base, &config).await?;
                prune(&archive, config.keep).await.map(|()| Done::Tested)
            })));
        } else if Instant::now() >= bases.next || bases.log_bytes > LOG_BYTES_MAX {
            bases.log_bytes = 0;
            let (source, told) = (self.source.clone(), self.told.clone());
            bases.work = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                put_base(&archive, source.store(), &config, &told).await.map(Done::Made)
            })));
        }
        Ok(())
    }

    fn made(&self, bases: &mut Bases, base: BaseName, at: At) {
        bases.next = Instant::now() + self.config.base_every;
        match bases.from {
            // Begun before log was purged: it does not lead to what is archived now.
            Some(from) if base.index < from => bases.next = Instant::now(),
            Some(_) => {
                bases.from = None;
                self.tell(at.index.max(base.index), base.revision, base.time_ms);
                self.told.send_modify(|told| told.written = true);
            }
            None => {}
        }
        bases.unchecked = Some(base);
    }
}

/// When bases are made, and the work on one.
struct Bases {
    next: Instant,
    unchecked: Option<BaseName>,
    log_bytes: u64,
    /// The log is archived from behind this entry on, and no base leads there yet.
    from: Option<u64>,
    work: Option<AbortOnDropHandle<Result<Done, Error>>>,
}

enum Done {
    Made(BaseName),
    Tested,
}

impl Bases {
    fn due(points: &crate::points::Points, every: Duration) -> Self {
        let newest = points.newest();
        let age_ms = newest.map_or(i64::MAX, |base| now_ms().saturating_sub(base.written_ms));
        let left = every.saturating_sub(Duration::from_millis(age_ms.max(0) as u64));
        let unchecked = newest.filter(|base| base.good.is_none()).map(|base| base.name.clone());
        Self { next: Instant::now() + left, unchecked, log_bytes: 0, from: None, work: None }
    }
}

/// When small objects are merged, and the work on it.
struct Merges {
    next: Instant,
    work: Option<AbortOnDropHandle<()>>,
}

impl Merges {
    /// Merges when it is time, beside archiving. What fails is done an hour later.
    fn keep(&mut self, archive: &Archive) {
        if Instant::now() < self.next || self.work.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        self.next = Instant::now() + MERGE_EVERY;
        let archive = archive.clone();
        self.work = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            match archive.merge(now_ms()).await {
                Ok(merged) => {
                    for problem in &merged.problems {
                        tracing::error!(problem, "an object of the backup cannot be read");
                    }
                    if merged.made + merged.removed > 0 {
                        let (made, of, removed) = (merged.made, merged.of, merged.removed);
                        tracing::info!(made, of, removed, "small objects of the backup were merged");
                    }
                }
                Err(error) => tracing::warn!(%error, "small objects of the backup were not merged"),
            }
        })));
    }
}

/// Makes a base, and tells now and then how far it is.
async fn put_base(
    archive: &Archive,
    store: &Store,
    config: &Config,
    told: &watch::Sender<Progressed>,
) -> Result<BaseName, Error> {
    std::fs::create_dir_all(&config.scratch).map_err(Error::io(config.scratch.display()))?;
    let started = Instant::now();
    let dir = config.scratch.join("checkpoint");
    let (telling, next) = (told.clone(), Cell::new(started));
    let tell = move |done, of| {
        let now = Instant::now();
        if now >= next.get() {
            next.set(now + TELL_EVERY);
            telling.send_modify(|told| told.base = Some((done, of)));
        }
    };
    let put = archive.put_base(store, &dir, config.base_bytes_per_s, &config.member, tell).await;
    told.send_if_modified(|told| told.base.take().is_some());
    let (name, bytes) = put?;
    let seconds = started.elapsed().as_secs();
    tracing::info!(
        index = name.index,
        revision = name.revision,
        bytes,
        seconds,
        "a base of the backup was written"
    );
    Ok(name)
}

async fn prune(archive: &Archive, keep: Duration) -> Result<(), Error> {
    let pruned = archive.prune(Retention { keep }, now_ms(), false).await?;
    if !pruned.paths.is_empty() {
        let (bases, log_objects) = (pruned.bases, pruned.log_objects);
        tracing::info!(bases, log_objects, "the backup was pruned");
    }
    Ok(())
}

/// Restores a base as a user would, compares its hash with the one recorded, and notes what came
/// of it in the archive.
async fn test_restore(archive: &Archive, base: &BaseName, config: &Config) -> Result<(), Error> {
    std::fs::create_dir_all(&config.scratch).map_err(Error::io(config.scratch.display()))?;
    let dir = config.scratch.join("test-restore");
    let _ = std::fs::remove_dir_all(&dir);
    let manifest = archive.manifest(base).await;
    if let Ok(manifest) = &manifest {
        room_for(&config.scratch, manifest.state_bytes)?;
    }
    let restored = archive.materialize_base(base, &dir, config.base_bytes_per_s).await;
    let _ = std::fs::remove_dir_all(&dir);
    let judged = match restored {
        Ok(applied) => {
            let manifest = manifest?;
            let expected = u128::from_str_radix(&manifest.hash, 16).unwrap_or_default();
            match applied.hash == expected {
                true => Ok(()),
                false => Err(Error::OtherHash { what: base.manifest(), found: applied.hash, expected }),
            }
        }
        // Neither says anything of the base.
        Err(error @ (Error::Storage(_) | Error::Io { .. } | Error::Stopped)) => return Err(error),
        Err(error) => Err(error),
    };
    let path = base.check(judged.is_ok());
    let note = judged.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let sealed =
        seal::seal(Some(&archive.key), &archive.full(&path), note.as_bytes()).map_err(Error::io(&path))?;
    archive.put(&path, sealed).await?;
    judged
}

/// A test must not take the room that the cluster writes into.
fn room_for(dir: &std::path::Path, state_bytes: u64) -> Result<(), Error> {
    let failed = |error: nix::Error| Error::Io { what: dir.display().to_string(), error: error.into() };
    let found = nix::sys::statvfs::statvfs(dir).map_err(failed)?;
    let free = found.blocks_available() as u64 * found.fragment_size() as u64;
    if free < state_bytes + ROOM_LEFT_BYTES {
        let need = (state_bytes + ROOM_LEFT_BYTES) >> 20;
        let why = format!("no room for a test restore: {} MiB are free, {need} are needed", free >> 20);
        return Err(Error::Io { what: dir.display().to_string(), error: std::io::Error::other(why) });
    }
    Ok(())
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
