//! When revisions came about: from the store's index of times, whose entries are some seconds
//! apart, and from the times that objects carry themselves.
//!
//! ```text
//!   index:     10:41:55 ─ r100          10:42:05 ─ r108        the newest revision at that time
//!   changes:               101 102 103 104 105 106 107 108
//!   own times:              :56     :58     :00 :03     :04
//!   --at 10:42:00 ─────────────────────────▲ r105
//! ```

use trireme_api::Value;
use trireme_api::time::{parse_micro_time, parse_time};
use trireme_store::Revision;

use super::moment::ms;

/// Between which times, in milliseconds since the Unix epoch, a revision came about, as far as the
/// index knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
}

/// `index`: when the time was the one, the other was the newest revision; in order.
pub(super) fn span(index: &[(i64, Revision)], revision: Revision) -> Span {
    Span {
        not_before: index.iter().take_while(|(_, newest)| *newest < revision).last().map(|(time, _)| *time),
        not_after: index.iter().find(|(_, newest)| *newest >= revision).map(|(time, _)| *time),
    }
}

/// The newest revision at `time_ms` is not below the first and not above the second; `newest` is
/// the store's now. `None`: the index begins later.
pub(super) fn window(
    index: &[(i64, Revision)],
    newest: Revision,
    time_ms: i64,
) -> Option<(Revision, Revision)> {
    let before = index.iter().rposition(|(time, _)| *time <= time_ms)?;
    Some((index[before].1, index.get(before + 1).map_or(newest, |(_, revision)| *revision)))
}

/// The last of `changes`, which follow `from`, that happened by `time_ms`, and how many after it
/// carry no time and may have. Those count as later: who restores wants the state before a loss.
pub(super) fn refine(from: Revision, changes: &[(Revision, Option<i64>)], time_ms: i64) -> (Revision, usize) {
    let (mut last, mut unclear) = (from, 0);
    for (revision, own) in changes {
        match own {
            Some(own) if *own <= time_ms => (last, unclear) = (*revision, 0),
            Some(_) => break,
            None => unclear += 1,
        }
    }
    (last, unclear)
}

/// The time at which `object` was last written, as its own fields tell it; whole seconds mostly.
/// `before` is the version that it took the place of: what has not changed says nothing.
pub(super) fn written_ms(object: &Value, before: Option<&Value>) -> Option<i64> {
    let metadata = &object["metadata"];
    let fields = metadata["managedFields"].items().iter();
    let newest = |object: &Value| {
        let entries = object["metadata"]["managedFields"].items().iter();
        entries.filter_map(|entry| time(&entry["time"])).max()
    };
    let Some(before) = before else {
        let managed = fields.filter_map(|entry| time(&entry["time"])).max();
        return time(&metadata["creationTimestamp"]).max(managed);
    };
    let grew = |now: Option<i64>, then: Option<i64>| now.filter(|now| Some(*now) > then);
    let deletion = grew(deletion_ms(object), deletion_ms(before));
    let managed = grew(newest(object), newest(before));
    let renewed = grew(time(&object["spec"]["renewTime"]), time(&before["spec"]["renewTime"]));
    deletion.or(managed).or(renewed)
}

/// When the deletion of an object began that waits for its end.
fn deletion_ms(object: &Value) -> Option<i64> {
    let metadata = &object["metadata"];
    let end = time(&metadata["deletionTimestamp"])?;
    Some(end - metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0).saturating_mul(1000))
}

/// A time as objects write it, in milliseconds since the Unix epoch.
pub(super) fn time(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    parse_time(text).or_else(|_| parse_micro_time(text)).ok().map(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    const INDEX: &[(i64, Revision)] =
        &[(1_000, Revision(10)), (11_000, Revision(20)), (21_000, Revision(20)), (31_000, Revision(35))];

    #[test]
    fn the_index_bounds_revisions_and_times() {
        let bounds = |revision| {
            let span = span(INDEX, Revision(revision));
            (span.not_before, span.not_after)
        };
        assert_eq!(bounds(10), (None, Some(1_000)));
        assert_eq!(bounds(11), (Some(1_000), Some(11_000)));
        assert_eq!(bounds(21), (Some(21_000), Some(31_000)));
        assert_eq!(bounds(36), (Some(31_000), None));
        let window = |time| window(INDEX, Revision(40), time).map(|(low, high)| (low.0, high.0));
        assert_eq!(window(999), None);
        assert_eq!(window(1_000), Some((10, 20)));
        assert_eq!(window(15_000), Some((20, 20)));
        assert_eq!(window(30_999), Some((20, 35)));
        assert_eq!(window(99_000), Some((35, 40)));
    }

    #[test]
    fn changes_with_times_of_their_own_make_it_exact() {
        let changes: Vec<(Revision, Option<i64>)> = [
            (11, Some(2_000)),
            (12, None),
            (13, Some(3_000)),
            (14, None),
            (15, None),
            (16, Some(5_000)),
            (17, Some(4_000)),
        ]
        .map(|(revision, own)| (Revision(revision), own))
        .into();
        let at = |time| {
            let (revision, unclear) = refine(Revision(10), &changes, time);
            (revision.0, unclear)
        };
        assert_eq!(at(1_999), (10, 0));
        assert_eq!(at(2_000), (11, 1));
        assert_eq!(at(4_999), (13, 2));
        assert_eq!(at(9_000), (17, 0));
    }

    #[test]
    fn objects_tell_when_they_were_written() {
        let at = |created: &str, managed: &[&str]| {
            let managed: Vec<_> = managed.iter().map(|time| value!({"time": time})).collect();
            let mut object = value!({"metadata": {"creationTimestamp": created}});
            object.make(&["metadata"]).set("managedFields", managed);
            object
        };
        let first = at("1970-01-01T00:00:01Z", &["1970-01-01T00:00:01Z"]);
        let second = at("1970-01-01T00:00:01Z", &["1970-01-01T00:00:01Z", "1970-01-01T00:00:07Z"]);
        assert_eq!(written_ms(&first, None), Some(1_000));
        assert_eq!(written_ms(&second, Some(&first)), Some(7_000));
        assert_eq!(written_ms(&second, Some(&second)), None, "an old time is not that of a new change");
        let deleted = |seconds: i64| {
            let mut object = second.clone();
            object.make(&["metadata"]).set("deletionTimestamp", "1970-01-01T00:01:00Z");
            object.make(&["metadata"]).set("deletionGracePeriodSeconds", seconds);
            object
        };
        assert_eq!(written_ms(&deleted(30), Some(&second)), Some(30_000));
        let lease = |time: &str| value!({"spec": {"renewTime": time}});
        let (old, new) = (lease("1970-01-01T00:00:01.000000Z"), lease("1970-01-01T00:00:02.500000Z"));
        assert_eq!(written_ms(&new, Some(&old)), Some(2_500));
        assert_eq!(written_ms(&value!({}), None), None);
    }
}
