//! The point in time that is restored.

use anyhow::{Context, Result, bail};
use clap::Args;
use trireme_store::{Revision, Store};

#[derive(Args, Clone, Debug)]
pub(super) struct PointOptions {
    /// As it was at this moment, with its zone: 2026-11-20T10:42:00Z or 2026-11-20T11:42:00+01:00
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "revision")]
    at: Option<jiff::Timestamp>,
    /// As it was at exactly this revision
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Newest,
    /// Milliseconds since the Unix epoch.
    Time(i64),
    Revision(Revision),
}

impl PointOptions {
    pub(super) fn point(&self) -> Result<Point> {
        Ok(match (self.at, self.revision) {
            (Some(at), _) if at > jiff::Timestamp::now() => bail!("--at {at} has not come yet"),
            (Some(at), _) => Point::Time(at.as_millisecond()),
            (None, Some(revision)) => Point::Revision(Revision(revision)),
            (None, None) => Point::Newest,
        })
    }
}

impl Point {
    /// The revision to read in a store whose history reaches there; `None`: the newest.
    pub(super) fn within(self, store: &Store) -> Result<Option<Revision>> {
        let applied = store.applied();
        let at = match self {
            Point::Newest => return Ok(None),
            Point::Revision(revision) => revision,
            Point::Time(ms) if ms >= applied.time_ms => {
                bail!("--at {}: this source ends at {}", show(ms), show(applied.time_ms))
            }
            Point::Time(ms) => store
                .revision_at(ms)?
                .with_context(|| format!("--at {}: this source knows of nothing so old", show(ms)))?,
        };
        if at > applied.revision {
            bail!("revision {at}: this source ends at revision {}", applied.revision);
        }
        if at < applied.compact_revision {
            bail!(
                "revision {at}: the history before revision {} was compacted; a backup may have it",
                applied.compact_revision
            );
        }
        Ok(Some(at))
    }
}

/// A moment for people.
pub(crate) fn show(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

fn time(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if text.parse::<jiff::civil::DateTime>().is_ok() {
        return Err("it names no zone: add Z, or an offset such as +01:00".into());
    }
    Err("a moment by RFC 3339 is expected, such as 2026-11-20T10:42:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_a_zone() {
        let at = |text: &str| time(text).map(|time| time.as_second());
        assert_eq!(at("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(at("1970-01-01T01:01:00+01:00"), Ok(60));
        for ambiguous in ["2026-11-20T10:42:00", "2026-11-20 10:42", "2026-11-20"] {
            assert!(at(ambiguous).unwrap_err().contains("no zone"), "{ambiguous}");
        }
        for wrong in ["", "yesterday", "10:42", "1700000000", "2026-13-01T00:00:00Z"] {
            assert!(at(wrong).unwrap_err().contains("RFC 3339"), "{wrong}");
        }
        let options = PointOptions { at: Some("2999-01-01T00:00:00Z".parse().unwrap()), revision: None };
        assert!(options.point().unwrap_err().to_string().contains("not come yet"));
    }
}
