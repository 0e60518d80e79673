//! A state directory from the archive: the newest base before the point, and the log up to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, stream};
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::log::{CommandOp, Entry, EntryBody};
use trireme_store::{Applied, Fault, SnapshotMeta, Store};

use crate::archive::Archive;
use crate::base::{Cleared, beside};
use crate::entry::RawEntry;
use crate::error::Error;
use crate::names::{BaseName, LogName};
use crate::points::Points;

/// Entries in one engine batch.
const RUN_ENTRIES_MAX: usize = 4096;
/// Bytes of them.
const RUN_BYTES_MAX: usize = 8 << 20;
/// Objects that are fetched ahead.
const FETCH_AHEAD: usize = 4;
/// How far past the archive's end a moment may lie: it is that much behind while it works.
const END_SLACK_MS: i64 = 10_000;

/// A moment to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The newest that was archived.
    Latest,
    /// After the last change made at or before this time, in milliseconds since the Unix epoch.
    Time(i64),
    /// After the change that made this revision.
    Revision(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `done` and `total` are bytes of the state's files.
    Base,
    /// `done` and `total` are log entries.
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    pub done: u64,
    pub total: u64,
}

/// Where applying the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    End,
    Index(u64),
    Time(i64),
    Revision(i64),
}

impl Archive {
    /// Makes, in the new directory `into`, a state directory that [`Store::open`] opens over a
    /// RocksDB engine: the state of the cluster at `point`. Nothing is left of it on an error.
    pub async fn materialize(
        &self,
        point: Point,
        into: &Path,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Applied, Error> {
        let points = self.points().await?;
        let (base, until) = points.choose(self, point)?;
        self.build(&points, &base, until, into, progress).await
    }

    /// A base alone, at most so many bytes a second (zero: unbounded).
    pub(crate) async fn materialize_base(
        &self,
        base: &BaseName,
        into: &Path,
        bytes_per_s: u64,
    ) -> Result<Applied, Error> {
        let building = Building::begin(into)?;
        let meta = self.get_base(base, &building.base(), bytes_per_s, &|_| {}).await?;
        let name = self.full(&base.manifest());
        blocking(move || {
            let store = building.install(&meta).map_err(|fault| of_base(fault, &name))?;
            building.finish(store)
        })
        .await
    }

    /// A base and the log after it up to and with the entry at `index`.
    pub(crate) async fn materialize_index(
        &self,
        points: &Points,
        base: &BaseName,
        index: u64,
        into: &Path,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Applied, Error> {
        self.build(points, base, Until::Index(index), into, progress).await
    }

    async fn build(
        &self,
        points: &Points,
        base: &BaseName,
        until: Until,
        into: &Path,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Applied, Error> {
        let building = Arc::new(Building::begin(into)?);
        let meta = self.get_base(base, &building.base(), 0, progress).await?;
        let (name, held) = (self.full(&base.manifest()), building.clone());
        let store = blocking(move || held.install(&meta).map_err(|fault| of_base(fault, &name))).await?;
        let end = points.chain(base, until.last_index()).last().map_or(0, |last| last.last);
        let total = end.min(until.last_index()).saturating_sub(base.index);
        let told = |store: &Store| {
            let done = index_of(store).saturating_sub(base.index);
            progress(Progress { phase: Phase::Log, done: done.min(total), total });
        };
        let mut again = None;
        let reached = match self.apply_log(points, &store, base, until, &told).await {
            // Small objects that were listed may have been merged since: what holds their entries now
            // goes on where this stopped.
            Err(Error::Missing { .. }) => {
                let points = again.insert(self.points().await?);
                self.apply_log(points, &store, base, until, &told).await?
            }
            reached => reached?,
        };
        let points = again.as_ref().unwrap_or(points);
        points.check_end(&store.applied(), until, reached)?;
        let building = Arc::into_inner(building).ok_or(Error::Stopped)?;
        blocking(move || building.finish(store)).await
    }

    /// Applies the log from where the state is; whether the end was reached before the log's.
    async fn apply_log(
        &self,
        points: &Points,
        store: &Store,
        base: &BaseName,
        until: Until,
        told: &(dyn Fn(&Store) + Send + Sync),
    ) -> Result<bool, Error> {
        let at = store.applied().position.map_or((base.index, base.term), |at| (at.index, at.term));
        let chain = points.chain_from(at.0, at.1, until.last_index());
        let chain: Vec<LogName> = chain.into_iter().cloned().collect();
        let mut fetched = stream::iter(chain)
            .map(|log| async move { self.get(&log.path()).await.map(|sealed| (log, sealed)) })
            .buffered(FETCH_AHEAD);
        while let Some(next) = fetched.next().await {
            let (log, sealed) = next?;
            let (archive, applied) = (self.clone(), store.clone());
            let reached = blocking(move || {
                let entries = archive.open_log(&log, &sealed)?;
                let full = archive.full(&log.path());
                apply(&applied, entries, until, &full)
            })
            .await?;
            told(store);
            if reached {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
}

fn of_base(fault: Fault, name: &str) -> Error {
    match fault {
        Fault::Snapshot(reason) => Error::damaged(name, reason),
        fault => fault.into(),
    }
}

fn index_of(store: &Store) -> u64 {
    store.applied().position.map_or(0, |position| position.index)
}

impl Until {
    fn last_index(self) -> u64 {
        match self {
            Self::Index(index) => index,
            _ => u64::MAX,
        }
    }

    /// Whether an entry lies past the end, given what is applied before it.
    fn is_past(self, entry: &Entry) -> bool {
        match (self, &entry.body) {
            (Self::Index(index), _) => entry.at.index > index,
            (Self::Time(time_ms), EntryBody::Command(command)) => command.time_ms > time_ms,
            _ => false,
        }
    }
}

/// How many revisions an entry makes at most.
fn revisions_of(entry: &Entry) -> i64 {
    match &entry.body {
        EntryBody::Command(command) => match &command.op {
            CommandOp::Txn(_) | CommandOp::LeaseRevoke(_) => 1,
            CommandOp::LeaseExpire(expiry) => expiry.leases.len() as i64,
            _ => 0,
        },
        _ => 0,
    }
}

/// Applies what `until` lets through; whether it was reached.
fn apply(store: &Store, entries: Vec<RawEntry>, until: Until, object: &str) -> Result<bool, Error> {
    let applied = store.applied().position;
    let mut run = Run { store, until, entries: Vec::new(), bytes: 0, revisions: 0 };
    for raw in entries {
        if let Some(applied) = applied
            && raw.at.index <= applied.index
        {
            // What two archivers wrote overlaps, and is the same.
            if raw.at.index == applied.index && raw.at.term != applied.term {
                return Err(Error::damaged(object, "it does not continue the log before it"));
            }
            continue;
        }
        let bytes = raw.encoded_len();
        let entry = raw.decoded().map_err(|error| Error::damaged(object, error))?;
        if until.is_past(&entry) {
            run.apply()?;
            return Ok(true);
        }
        if run.push(entry, bytes)? {
            return Ok(true);
        }
    }
    run.apply()
}

/// Entries that go into one batch.
struct Run<'a> {
    store: &'a Store,
    until: Until,
    entries: Vec<Entry>,
    bytes: usize,
    /// That the entries make at most.
    revisions: i64,
}

impl Run<'_> {
    /// Whether the end was reached, and the entry is not to be applied.
    fn push(&mut self, entry: Entry, bytes: usize) -> Result<bool, Error> {
        let revisions = revisions_of(&entry);
        let too_far = match self.until {
            // A batch must not run past the revision: what it makes at most has to fit.
            Until::Revision(wanted) => self.store.revision().0 + self.revisions + revisions > wanted,
            _ => false,
        };
        let full = self.entries.len() >= RUN_ENTRIES_MAX || self.bytes + bytes > RUN_BYTES_MAX;
        if (too_far || full) && self.apply()? {
            return Ok(true);
        }
        let index = entry.at.index;
        self.entries.push(entry);
        (self.bytes, self.revisions) = (self.bytes + bytes, self.revisions + revisions);
        let maybe_there = match self.until {
            Until::Index(last) => index == last,
            // Entries that change no key must not follow the one that made the revision.
            Until::Revision(wanted) => self.store.revision().0 + self.revisions >= wanted,
            Until::End | Until::Time(_) => false,
        };
        Ok(maybe_there && self.apply()?)
    }

    /// Whether the end is reached.
    fn apply(&mut self) -> Result<bool, Error> {
        let before = self.store.revision().0;
        let last = self.entries.last().map(|entry| entry.at.index);
        self.store.apply(std::mem::take(&mut self.entries))?;
        (self.bytes, self.revisions) = (0, 0);
        let reached = self.store.revision().0;
        match self.until {
            Until::Revision(asked) if reached > asked => Err(Error::WithinEntry { asked, before, reached }),
            Until::Revision(asked) => Ok(reached == asked),
            Until::Index(index) => Ok(last.is_some_and(|last| last >= index)),
            Until::End | Until::Time(_) => Ok(false),
        }
    }
}

impl Points {
    /// The base to begin with, and where the log ends.
    fn choose(&self, archive: &Archive, point: Point) -> Result<(BaseName, Until), Error> {
        let Some(oldest) = self.bases.first() else {
            return Err(Error::Empty { location: archive.full("") });
        };
        let (base, until, asked, begins) = match point {
            Point::Latest => (self.newest(), Until::End, String::new(), String::new()),
            Point::Time(time_ms) => {
                let base = self.bases.iter().rev().find(|base| base.time_ms <= time_ms);
                (base, Until::Time(time_ms), at(time_ms), at(oldest.time_ms))
            }
            Point::Revision(revision) => {
                let base = self.bases.iter().rev().find(|base| base.revision <= revision);
                let begins = format!("revision {}", oldest.revision);
                (base, Until::Revision(revision), format!("revision {revision}"), begins)
            }
        };
        let base = base.ok_or(Error::TooEarly { asked, begins })?;
        if until == Until::Revision(base.revision) {
            // The base itself is that moment: later entries that change no key do not count.
            return Ok((base.name.clone(), Until::Index(base.index)));
        }
        Ok((base.name.clone(), until))
    }

    /// Whether the state that was made is what was asked for.
    fn check_end(&self, applied: &Applied, until: Until, reached: bool) -> Result<(), Error> {
        let at_index = applied.position.map_or(0, |position| position.index);
        let term = applied.position.map_or(0, |position| position.term);
        if reached || until == Until::Index(at_index) {
            return Ok(());
        }
        if let Some(beyond) = self.beyond(at_index, term) {
            return Err(Error::Gap {
                first: at_index + 1,
                last: beyond.first - 1,
                because: format!("the next object is {}", beyond.path()),
            });
        }
        // A base that was made since: between was no log.
        if let Some(later) = self.bases.iter().find(|base| base.index > at_index && base.term >= term) {
            return Err(Error::Gap {
                first: at_index + 1,
                last: later.index,
                because: "the log was dropped before it was archived".into(),
            });
        }
        match until {
            Until::End => Ok(()),
            Until::Time(asked) if asked <= applied.time_ms.saturating_add(END_SLACK_MS) => Ok(()),
            Until::Time(asked) => Err(Error::Beyond { asked: at(asked), ends: at(applied.time_ms) }),
            Until::Revision(asked) => Err(Error::Beyond {
                asked: format!("revision {asked}"),
                ends: format!("revision {}", applied.revision),
            }),
            Until::Index(index) => Err(Error::Beyond {
                asked: format!("log entry {index}"),
                ends: format!("log entry {at_index}"),
            }),
        }
    }
}

/// A time, for messages.
fn at(time_ms: i64) -> String {
    let time = written_time(time_ms);
    time.unwrap_or_else(|| format!("{time_ms} ms after 1970"))
}

fn written_time(time_ms: i64) -> Option<String> {
    let (days, ms) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days)?;
    let (h, m, s, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    Some(format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z"))
}

/// Year, month and day of a number of days since 1970 (Hinnant's `civil_from_days`).
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let z = days.checked_add(719_468)?;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (0..=9999).contains(&year).then_some((year, month, doy - (153 * mp + 2) / 5 + 1))
}

/// A state directory that is being made: beside its place until it is complete, and gone if it does
/// not become so.
pub(crate) struct Building {
    into: PathBuf,
    work: PathBuf,
}

impl Building {
    pub(crate) fn begin(into: &Path) -> Result<Self, Error> {
        // An empty directory may be a mount's or a temporary one's: it is taken as new.
        let vacant = match fs::read_dir(into) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if !vacant {
            return Err(Error::Exists(into.into()));
        }
        let work = beside(into, "partial");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).map_err(Error::io(work.display()))?;
        Ok(Self { into: into.into(), work })
    }

    /// Where the base's files go.
    pub(crate) fn base(&self) -> PathBuf {
        self.work.join("base")
    }

    /// Verifies what lies in [`Building::base`] and makes it the state.
    pub(crate) fn install(&self, meta: &SnapshotMeta) -> Result<Store, Fault> {
        let engine = RocksEngine::open(&self.work.join("state"), RocksOptions::default())?;
        let store = Store::open(Arc::new(engine))?;
        let applied = store.install(&self.base())?;
        debug_assert_eq!(applied, meta.applied, "an install gives what its description says");
        Ok(store)
    }

    /// Closes the state and puts it in its place.
    pub(crate) fn finish(self, store: Store) -> Result<Applied, Error> {
        store.flush()?;
        let applied = store.applied();
        drop(store);
        if self.into.exists() {
            fs::remove_dir(&self.into).map_err(Error::io(self.into.display()))?;
        }
        fs::rename(self.work.join("state"), &self.into).map_err(Error::io(self.into.display()))?;
        if let Some(parent) = self.into.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::io(parent.display()))?;
        }
        Ok(applied)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        drop(Cleared::new(&self.work));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(super::at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(super::at(1_795_257_720_123), "2026-11-21T10:42:00.123Z");
        assert_eq!(super::at(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }
}
