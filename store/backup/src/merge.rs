//! Few objects of log instead of many small ones: an archive that is at most seconds behind writes
//! over a thousand an hour, and everyone who looks has to list them all.
//!
//! ```text
//!   small ─ small ─ small ──► one that holds the same entries ──► (most of an hour later) the small ones go
//! ```
//!
//! Nothing is changed: the merged object is written beside what it covers, under a name that says so,
//! and readers take the longer of two that continue a position. What it covers goes only when it was
//! read back, and so late that whoever had listed the old names has read them.

use std::collections::HashMap;
use std::time::Duration;

use crate::archive::{Archive, Object};
use crate::entry::RawEntry;
use crate::error::Error;
use crate::names::{LogName, Name};
use crate::points::Points;

/// Objects below are merged, sealed bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// A merged object is not made of more than this, sealed bytes.
const MERGED_BYTES_MAX: u64 = 8 << 20;
/// Nor of more than this unpacked: it is in memory while it is made.
const MERGED_UNPACKED_MAX: usize = 32 << 20;
/// Objects younger than this are left: whoever follows the newest reads them at this moment.
const SETTLED: Duration = Duration::from_secs(600);
/// What a merged object covers stays this long after it: longer than a restore takes from its listing
/// to its last read, mostly; one that takes longer lists again. Shorter than the time between two
/// merges, since what was merged is merged again until it is large.
const COVERED_KEPT: Duration = Duration::from_secs(50 * 60);
/// Made once and read seldom: worth more than the fastest.
const LEVEL: i32 = 3;

/// What merging did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Objects that were made, of so many others.
    pub made: usize,
    pub of: usize,
    /// Objects that were removed, which others cover.
    pub removed: usize,
    /// Objects that could not be read: they stay as they are.
    pub problems: Vec<String>,
}

impl LogName {
    /// Whether every entry of `other` is in this one: a last entry of one term at one index makes all
    /// before it the same (raft's log matching).
    pub(crate) fn covers(&self, other: &LogName) -> bool {
        self.first <= other.first
            && other.last <= self.last
            && self.last_term == other.last_term
            && self.last - self.first > other.last - other.first
    }
}

impl Points {
    /// Whether another object of log holds all that this one held.
    pub(crate) fn covers(&self, log: &LogName) -> bool {
        self.logs.iter().any(|other| other.covers(log))
    }
}

impl Archive {
    /// Merges small objects of log, and removes those that were merged before, when nobody reads them
    /// any more. `now_ms` is compared with the storage's times of its objects: by a clock that is ahead of
    /// them objects go early, and a restore that has listed them lists again. An object that cannot be
    /// read is left as it is, and told.
    pub async fn merge(&self, now_ms: i64) -> Result<Merged, Error> {
        let mut merged = Merged::default();
        let logs = Logs::of(self.list().await?);
        let mut whole: Option<(&LogName, bool)> = None;
        for (covered, by) in logs.removable(now_ms) {
            // Read once for all that it covers: they follow each other.
            let good = match whole {
                Some((last, good)) if last == by => good,
                _ => self.entries(by, &mut merged).await?.is_some(),
            };
            whole = Some((by, good));
            if good {
                self.remove(&covered.path()).await?;
                merged.removed += 1;
            }
        }
        for group in logs.groups(now_ms) {
            self.merge_group(&group, &mut merged).await?;
        }
        Ok(merged)
    }

    /// The entries of an object; `None`, and told, where it is damaged or gone.
    async fn entries(&self, log: &LogName, merged: &mut Merged) -> Result<Option<Vec<RawEntry>>, Error> {
        let opened = async {
            let sealed = self.get(&log.path()).await?;
            let (archive, log) = (self.clone(), log.clone());
            let opening = tokio::task::spawn_blocking(move || archive.open_log(&log, &sealed));
            opening.await.map_err(|_| Error::Stopped)?
        };
        match opened.await {
            Ok(entries) => Ok(Some(entries)),
            Err(error @ (Error::Storage(_) | Error::Stopped)) => Err(error),
            Err(error) => {
                merged.problems.push(error.to_string());
                Ok(None)
            }
        }
    }

    async fn merge_group(&self, group: &[&LogName], merged: &mut Merged) -> Result<(), Error> {
        let mut making = Making::default();
        for log in group {
            let entries = self.entries(log, merged).await?;
            let bytes: usize = entries.iter().flatten().map(RawEntry::encoded_len).sum();
            // What is before a damaged one and behind it is merged without it.
            if entries.is_none() || making.encoded.len() + bytes > MERGED_UNPACKED_MAX {
                self.put_merged(std::mem::take(&mut making), merged).await?;
            }
            if let Some(entries) = entries {
                entries.iter().for_each(|entry| entry.encode(&mut making.encoded));
                making.of.push(log);
            }
        }
        self.put_merged(making, merged).await
    }

    async fn put_merged(&self, making: Making<'_>, merged: &mut Merged) -> Result<(), Error> {
        let [first, .., last] = &making.of[..] else { return Ok(()) };
        let name = LogName { first: first.first, term_before: first.term_before, ..(*last).clone() };
        self.put_log(&name, making.encoded, LEVEL).await?;
        merged.made += 1;
        merged.of += making.of.len();
        Ok(())
    }
}

/// An object that is being made.
#[derive(Default)]
struct Making<'a> {
    encoded: Vec<u8>,
    of: Vec<&'a LogName>,
}

/// The objects of log, each with one that covers it, if there is one.
struct Logs {
    logs: Vec<(LogName, Object)>,
    covered_by: Vec<Option<usize>>,
}

impl Logs {
    fn of(objects: Vec<Object>) -> Self {
        let mut logs = Vec::new();
        for object in objects {
            if let Name::Log(log) = &object.name {
                logs.push((log.clone(), object));
            }
        }
        // What covers another comes before it.
        logs.sort_by(|(a, _), (b, _)| (a.first, b.last, a).cmp(&(b.first, a.last, b)));
        let mut farthest: HashMap<u64, usize> = HashMap::new();
        let mut covered_by = Vec::with_capacity(logs.len());
        for (n, (log, _)) in logs.iter().enumerate() {
            let before = farthest.get(&log.last_term).copied();
            covered_by.push(before.filter(|before| logs[*before].0.covers(log)));
            if before.is_none_or(|before| logs[before].0.last < log.last) {
                farthest.insert(log.last_term, n);
            }
        }
        Self { logs, covered_by }
    }

    /// What may go, and what covers it.
    fn removable(&self, now_ms: i64) -> impl Iterator<Item = (&LogName, &LogName)> {
        let covered = self.logs.iter().zip(&self.covered_by);
        covered.filter_map(move |((log, _), by)| {
            let (name, object) = &self.logs[(*by)?];
            is_older(object, COVERED_KEPT, now_ms).then_some((log, name))
        })
    }

    /// Runs of small objects that continue each other within a term.
    fn groups(&self, now_ms: i64) -> Vec<Vec<&LogName>> {
        let mut groups: Vec<Vec<&LogName>> = Vec::new();
        let mut bytes = 0;
        for ((log, object), by) in self.logs.iter().zip(&self.covered_by) {
            if by.is_some() {
                continue;
            }
            let small = object.bytes < SMALL_BYTES && is_older(object, SETTLED, now_ms);
            let last = groups.last().and_then(|group| group.last());
            let continues = last.is_some_and(|last| {
                (log.first, log.term_before, log.last_term) == (last.last + 1, last.last_term, last.last_term)
            });
            if !small {
                groups.push(Vec::new());
            } else if continues && bytes + object.bytes <= MERGED_BYTES_MAX {
                bytes += object.bytes;
                groups.last_mut().expect("one that it continues").push(log);
            } else {
                bytes = object.bytes;
                groups.push(vec![log]);
            }
        }
        groups.retain(|group| group.len() > 1);
        groups
    }
}

fn is_older(object: &Object, than: Duration, now_ms: i64) -> bool {
    object.modified_ms.saturating_add(than.as_millis() as i64) <= now_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 10_000_000;

    fn object(first: u64, last: u64, terms: (u64, u64), bytes: u64, age: Duration) -> Object {
        let (term_before, last_term) = terms;
        let name =
            LogName { first, last, term_before, last_term, revision: last as i64, time_ms: last as i64 };
        Object { name: Name::Log(name), bytes, modified_ms: NOW_MS - age.as_millis() as i64 }
    }

    fn ranges<'a>(logs: impl IntoIterator<Item = &'a LogName>) -> Vec<(u64, u64)> {
        logs.into_iter().map(|log| (log.first, log.last)).collect()
    }

    #[test]
    fn runs_of_small_objects_are_merged() {
        let old = Duration::from_secs(3600);
        let small = |first, last, terms| object(first, last, terms, 1000, old);
        let logs = Logs::of(vec![
            small(1, 4, (0, 1)),
            small(5, 9, (1, 1)),
            // Another term begins in this one.
            small(10, 12, (1, 2)),
            small(13, 14, (2, 2)),
            object(15, 40, (2, 2), SMALL_BYTES, old),
            small(41, 42, (2, 2)),
            // One is missing before it.
            small(44, 45, (2, 2)),
            small(46, 47, (2, 2)),
            object(48, 49, (2, 2), 1000, Duration::from_secs(1)),
        ]);
        let groups: Vec<_> = logs.groups(NOW_MS).into_iter().map(ranges).collect();
        assert_eq!(groups, [vec![(1, 4), (5, 9)], vec![(10, 12), (13, 14)], vec![(44, 45), (46, 47)]]);
        let mut large = Vec::new();
        for n in 0..30 {
            large.push(object(n * 10 + 1, n * 10 + 10, (1, 1), SMALL_BYTES - 1, old));
        }
        let groups = Logs::of(large);
        assert!(groups.groups(NOW_MS).iter().all(|group| (2..=9).contains(&group.len())));
    }

    #[test]
    fn what_is_covered_goes_late_and_only_by_the_same_term() {
        let (old, new) = (COVERED_KEPT, COVERED_KEPT - Duration::from_secs(1));
        #[allow(clippy::let_and_return)]
        let removed = |by: Object| {
            let parts = [(1, 4, (0, 1)), (5, 9, (1, 1)), (10, 12, (1, 2))];
            let mut all: Vec<_> =
                parts.iter().map(|(first, last, terms)| object(*first, *last, *terms, 10, old)).collect();
            all.push(by);
            let logs = Logs::of(all);
            let removable = ranges(logs.removable(NOW_MS).map(|(log, _)| log));
            removable
        };
        assert_eq!(removed(object(1, 9, (0, 1), 20, old)), [(1, 4), (5, 9)]);
        assert_eq!(removed(object(1, 9, (0, 1), 20, new)), []);
        assert_eq!(removed(object(1, 12, (0, 1), 20, old)), [(1, 4), (5, 9)]);
        assert_eq!(removed(object(1, 12, (0, 3), 20, old)), []);
        assert_eq!(removed(object(5, 9, (1, 1), 20, old)), [], "one of two that are alike must stay");
    }
}
