//! Retention: what is older than need be goes, and never the last that is known to be good.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::archive::{Archive, Object};
use crate::error::Error;
use crate::names::{BaseName, Name};
use crate::points::Points;

/// Parts of a base that nobody finished are left for this long: it may still be written.
const UNFINISHED: Duration = Duration::from_secs(24 * 3600);

/// How far back one can go.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub keep: Duration,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub bases: usize,
    pub log_objects: usize,
    pub bytes: u64,
    pub paths: Vec<String>,
}

impl Archive {
    /// Removes what is not needed to go back `retention.keep`, by the time of the storage's clock.
    /// With `dry_run` says what it would remove.
    pub async fn prune(&self, retention: Retention, now_ms: i64, dry_run: bool) -> Result<Pruned, Error> {
        let objects = self.list().await?;
        let points = Points::of(self.cluster(), &objects);
        let pruned = plan(&points, &objects, retention, now_ms);
        if !dry_run {
            for path in &pruned.paths {
                self.remove(path).await?;
            }
        }
        Ok(pruned)
    }
}

/// Which bases stay: those within the time, the newest before it (from which one goes on into it),
/// and the newest that was restored well.
fn kept(points: &Points, since_ms: i64) -> BTreeSet<&BaseName> {
    let mut kept: BTreeSet<&BaseName> =
        points.bases.iter().filter(|base| base.time_ms >= since_ms).map(|base| &base.name).collect();
    kept.extend(points.bases.iter().rev().find(|base| base.time_ms < since_ms).map(|base| &base.name));
    kept.extend(points.bases.iter().rev().find(|base| base.good == Some(true)).map(|base| &base.name));
    kept
}

fn plan(points: &Points, objects: &[Object], retention: Retention, now_ms: i64) -> Pruned {
    let since_ms = now_ms.saturating_sub(i64::try_from(retention.keep.as_millis()).unwrap_or(i64::MAX));
    let kept = kept(points, since_ms);
    let finished: BTreeSet<&BaseName> = points.bases.iter().map(|base| &base.name).collect();
    // Without a base nothing is known of what the log is for.
    let log_from = kept.iter().map(|base| base.index).min().unwrap_or(0);
    let unfinished_ms = now_ms.saturating_sub(UNFINISHED.as_millis() as i64);
    let mut pruned = Pruned::default();
    let mut going = Vec::new();
    for object in objects {
        // The manifest first: without it the rest of a base counts for nothing.
        let order = match &object.name {
            Name::Manifest(base) if !kept.contains(base) => {
                pruned.bases += 1;
                0
            }
            Name::Part { base, .. } if finished.contains(base) && !kept.contains(base) => 1,
            Name::Part { base, .. } if !finished.contains(base) && object.modified_ms < unfinished_ms => 1,
            Name::Check { base, .. } if !kept.contains(base) => 1,
            Name::Log(log) if log.last <= log_from => {
                pruned.log_objects += 1;
                2
            }
            _ => continue,
        };
        pruned.bytes += object.bytes;
        going.push((order, object.name.path()));
    }
    going.sort();
    pruned.paths = going.into_iter().map(|(_, path)| path).collect();
    pruned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::LogName;

    fn base(index: u64, time_ms: i64) -> BaseName {
        BaseName { index, term: 1, revision: index as i64, time_ms, maker: 1 }
    }

    fn objects(bases: &[(u64, i64, Option<bool>)], logs: &[(u64, u64)]) -> Vec<Object> {
        let object = |name| Object { name, bytes: 1, modified_ms: 0 };
        let mut objects = Vec::new();
        for (index, time_ms, good) in bases {
            let name = base(*index, *time_ms);
            objects.push(object(Name::Part { base: name.clone(), n: 0 }));
            objects.push(object(Name::Manifest(name.clone())));
            objects.extend(good.map(|good| object(Name::Check { base: name, good })));
        }
        for (first, last) in logs {
            let name =
                LogName { first: *first, last: *last, term_before: 1, last_term: 1, revision: 0, time_ms: 0 };
            objects.push(object(Name::Log(name)));
        }
        objects
    }

    fn left(bases: &[(u64, i64, Option<bool>)], keep_ms: u64, now_ms: i64) -> Vec<u64> {
        let objects = objects(bases, &[(1, 10), (11, 20), (21, 30), (31, 40)]);
        let points = Points::of("c", &objects);
        let retention = Retention { keep: Duration::from_millis(keep_ms) };
        let pruned = plan(&points, &objects, retention, now_ms);
        let stays: Vec<Object> =
            objects.into_iter().filter(|object| !pruned.paths.contains(&object.name.path())).collect();
        let points = Points::of("c", &stays);
        let from = points.bases.iter().map(|base| base.index).min().unwrap();
        assert!(points.logs.iter().all(|log| log.last > from), "log that nothing needs stays");
        assert_eq!(points.chain(&points.bases[0].name, 40).last().unwrap().last, 40, "needed log went");
        points.bases.iter().map(|base| base.index).collect()
    }

    #[test]
    fn what_is_needed_stays() {
        let ok = Some(true);
        // 30 is before the time, and needed to go back to its beginning.
        assert_eq!(left(&[(10, 100, ok), (20, 200, ok), (30, 300, ok)], 50, 360), [30]);
        assert_eq!(left(&[(10, 100, ok), (20, 200, ok), (30, 300, ok)], 100, 310), [20, 30]);
        // The newest that is known to be good stays, whatever came after it.
        assert_eq!(left(&[(10, 100, ok), (20, 200, None), (30, 300, Some(false))], 1, 400), [10, 30]);
        assert_eq!(left(&[(10, 100, None)], 1, 1_000_000), [10]);
    }
}
