//! What there is to go back to, by the names alone: nothing is read and no key is used.

use std::collections::HashMap;

use serde::Serialize;

use crate::archive::{Archive, Object};
use crate::error::Error;
use crate::names::{BaseName, LogName, Name};

/// The whole state at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Base {
    #[serde(skip)]
    pub(crate) name: BaseName,
    pub index: u64,
    pub term: u64,
    pub revision: i64,
    /// The newest leader's time in it, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// In the storage.
    pub bytes: u64,
    /// When it was written, by the storage's clock.
    pub written_ms: i64,
    /// When it was last restored for a test.
    pub checked_ms: Option<i64>,
    /// What the last such test found; `None` before the first.
    pub good: Option<bool>,
}

/// A run of moments that each can be gone back to: a base and the log from it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    pub first_revision: i64,
    pub last_revision: i64,
    pub first_time_ms: i64,
    pub last_time_ms: i64,
    pub last_index: u64,
    pub last_term: u64,
}

/// What cannot be gone back to: between the end of a span and the beginning of the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    pub first_index: u64,
    pub last_index: u64,
    pub after_ms: i64,
    pub before_ms: i64,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Points {
    pub cluster: String,
    /// In raft's order.
    pub bases: Vec<Base>,
    pub spans: Vec<Span>,
    pub gaps: Vec<Gap>,
    pub log_objects: usize,
    pub log_bytes: u64,
    #[serde(skip)]
    pub(crate) logs: Vec<LogName>,
}

impl Archive {
    /// What there is to go back to. Reads names alone.
    pub async fn points(&self) -> Result<Points, Error> {
        Ok(Points::of(self.cluster(), &self.list().await?))
    }
}

impl Points {
    pub(crate) fn of(cluster: &str, objects: &[Object]) -> Self {
        let mut points = Self { cluster: cluster.into(), ..Self::default() };
        let mut part_bytes: HashMap<&BaseName, u64> = HashMap::new();
        let mut checks: HashMap<&BaseName, (i64, bool)> = HashMap::new();
        for object in objects {
            match &object.name {
                Name::Log(log) => {
                    points.log_objects += 1;
                    points.log_bytes += object.bytes;
                    points.logs.push(log.clone());
                }
                Name::Part { base, .. } => *part_bytes.entry(base).or_default() += object.bytes,
                Name::Check { base, good } => {
                    let check = checks.entry(base).or_insert((object.modified_ms, *good));
                    if object.modified_ms > check.0 {
                        *check = (object.modified_ms, *good);
                    }
                }
                Name::Manifest(_) => {}
            }
        }
        for object in objects {
            let Name::Manifest(name) = &object.name else { continue };
            let check = checks.get(name);
            points.bases.push(Base {
                index: name.index,
                term: name.term,
                revision: name.revision,
                time_ms: name.time_ms,
                bytes: object.bytes + part_bytes.get(name).copied().unwrap_or(0),
                written_ms: object.modified_ms,
                checked_ms: check.map(|(at, _)| *at),
                good: check.map(|(_, good)| *good),
                name: name.clone(),
            });
        }
        points.bases.sort_by_key(|base| base.name.order());
        points.find_spans();
        points
    }

    /// Follows the log from each base that no span reaches.
    fn find_spans(&mut self) {
        for base in &self.bases {
            let reached = self
                .spans
                .last_mut()
                .filter(|span| span.last_index >= base.index && span.last_term >= base.term);
            if reached.is_some() {
                continue;
            }
            let mut span = Span {
                first_revision: base.revision,
                last_revision: base.revision,
                first_time_ms: base.time_ms,
                last_time_ms: base.time_ms,
                last_index: base.index,
                last_term: base.term,
            };
            for log in self.chain(&base.name, u64::MAX) {
                (span.last_index, span.last_term) = (log.last, log.last_term);
                span.last_revision = span.last_revision.max(log.revision);
                span.last_time_ms = span.last_time_ms.max(log.time_ms);
            }
            if let Some(before) = self.spans.last().filter(|before| before.last_index < base.index) {
                self.gaps.push(Gap {
                    first_index: before.last_index + 1,
                    last_index: base.index,
                    after_ms: before.last_time_ms,
                    before_ms: base.time_ms,
                });
            }
            self.spans.push(span);
        }
        // Log that no span leads to, after the last base: what is between is gone.
        if let Some(span) = self.spans.last()
            && let Some(beyond) = self.beyond(span.last_index, span.last_term)
        {
            self.gaps.push(Gap {
                first_index: span.last_index + 1,
                last_index: beyond.first - 1,
                after_ms: span.last_time_ms,
                before_ms: beyond.time_ms,
            });
        }
    }

    /// The objects that continue a base one after the other, until one is missing or `until` is
    /// reached. Where two continue it, raft's order decides.
    pub(crate) fn chain(&self, base: &BaseName, until: u64) -> Vec<&LogName> {
        self.chain_from(base.index, base.term, until)
    }

    /// The same from a position on that was reached.
    pub(crate) fn chain_from(&self, mut index: u64, mut term: u64, until: u64) -> Vec<&LogName> {
        let mut chain = Vec::new();
        while index < until {
            // Sorted by first: those past it cannot continue.
            let end = self.logs.partition_point(|log| log.first <= index + 1);
            // Terms only rise: what begins earlier, and in a later term, is of another log. Its base may
            // be still to come.
            let begins_in = |log: &&LogName| match log.first <= index {
                true => log.term_before <= term,
                false => log.term_before == term,
            };
            let follows = |log: &&LogName| log.last > index && log.last_term >= term && begins_in(log);
            // Those that begin right behind come last; what overlaps is looked at where there is none.
            let behind = self.logs[..end].iter().rev();
            let exact = behind.clone().take_while(|log| log.first == index + 1).filter(follows);
            let next = exact.max_by_key(|log| (log.last_term, log.last));
            let overlapping =
                || behind.take(OVERLAP_MAX).filter(follows).max_by_key(|log| (log.last_term, log.last));
            let next = next.or_else(overlapping);
            let Some(next) = next else { break };
            (index, term) = (next.last, next.last_term);
            chain.push(next);
        }
        chain
    }

    /// The first object of log after a position that does not reach it.
    pub(crate) fn beyond(&self, index: u64, term: u64) -> Option<&LogName> {
        self.logs.iter().find(|log| log.first > index + 1 && log.last_term >= term)
    }

    pub(crate) fn newest(&self) -> Option<&Base> {
        self.bases.last()
    }

    /// The end of the last span, if there is one.
    pub fn end(&self) -> Option<&Span> {
        self.spans.last()
    }

    /// The end of the span before the last, where the last is of a base alone: who made that one
    /// ended before it had archived the log that leads there.
    pub(crate) fn end_before_newest_base(&self) -> Option<&Span> {
        let [.., before, last] = &*self.spans else { return None };
        (self.newest()?.index == last.last_index).then_some(before)
    }
}

/// How far back an object may begin that still continues a position: those of two archivers that
/// were at work at once overlap, by a few objects.
const OVERLAP_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_that_waits_for_its_base_continues_no_other() {
        let object = |name| Object { name, bytes: 1, modified_ms: 0 };
        let log = |first, last, term_before, last_term| {
            object(Name::Log(LogName { first, last, term_before, last_term, revision: 0, time_ms: 0 }))
        };
        let base =
            |index, term| object(Name::Manifest(BaseName { index, term, revision: 1, time_ms: 1, maker: 1 }));
        let end = |objects: &[Object]| {
            let points = Points::of("c", objects);
            points.end().map(|end| (end.last_index, end.last_term))
        };
        // Recovered without the entries from 50 on, and archived again from 54 on.
        let mut objects = vec![base(10, 3), log(11, 71, 3, 3), log(55, 84, 4, 4)];
        assert_eq!(end(&objects), Some((71, 3)));
        objects.push(base(60, 4));
        assert_eq!(end(&objects), Some((84, 4)));
        // What two archivers wrote overlaps, also where a new term begins in it.
        assert_eq!(end(&[base(10, 3), log(11, 40, 3, 3), log(31, 60, 3, 4)]), Some((60, 4)));
        // Begun before the base was made.
        assert_eq!(end(&[base(10, 3), log(5, 8, 2, 2), log(9, 20, 2, 3)]), Some((20, 3)));
        assert_eq!(end(&[log(5, 20, 2, 3)]), None);
    }
}
