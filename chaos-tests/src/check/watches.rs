//! A watch delivers each event once, in order, with nothing left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, History, Outcome, Seen};

/// Every acknowledged write up to where a watcher got was delivered to it; so was every event that
/// another watcher of the same keys received.
pub(super) fn deliver_everything(history: &History) -> Vec<String> {
    let mut expected: BTreeSet<(i64, &str, u64)> = BTreeSet::new();
    for operation in &history.operations {
        if let (Call::Write { key, value }, Outcome::Written { revision }) =
            (&operation.call, &operation.outcome)
        {
            expected.insert((*revision, key, *value));
        }
    }
    expected.extend(history.seen.iter().map(event));
    let mut delivered: BTreeMap<u32, BTreeSet<(i64, &str, u64)>> = BTreeMap::new();
    for seen in &history.seen {
        delivered.entry(seen.watcher).or_default().insert(event(seen));
    }
    let mut wrong = Vec::new();
    let nothing = BTreeSet::new();
    for watcher in &history.watchers {
        let delivered = delivered.get(&watcher.id).unwrap_or(&nothing);
        for (revision, key, value) in expected.range((watcher.from + 1, "", 0)..(watcher.reached + 1, "", 0))
        {
            if key.starts_with(&watcher.prefix) && !delivered.contains(&(*revision, *key, *value)) {
                wrong.push(format!("watcher {} never got {key}={value} of revision {revision}", watcher.id));
            }
        }
    }
    wrong
}

/// No event twice, and no revision after a later one.
pub(super) fn once_and_in_order(history: &History) -> Vec<String> {
    let mut seen: Vec<&Seen> = history.seen.iter().collect();
    seen.sort_by_key(|s| (s.watcher, s.tick));
    let mut wrong = Vec::new();
    let mut got: BTreeSet<(u32, &str, i64)> = BTreeSet::new();
    for (i, now) in seen.iter().enumerate() {
        if !got.insert((now.watcher, &now.key, now.revision)) {
            wrong.push(format!("watcher {} got {} of revision {} twice", now.watcher, now.key, now.revision));
        }
        if i > 0 && seen[i - 1].watcher == now.watcher && seen[i - 1].revision > now.revision {
            wrong.push(format!(
                "watcher {} got revision {} after {}",
                now.watcher,
                now.revision,
                seen[i - 1].revision
            ));
        }
    }
    wrong
}

fn event(seen: &Seen) -> (i64, &str, u64) {
    (seen.revision, &seen.key, seen.value)
}
