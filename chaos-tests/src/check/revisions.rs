//! Revisions only grow, and each is one transaction's.

use std::collections::BTreeMap;

use crate::history::{Call, History, Outcome};

/// A write that began after an answer with revision r was given gets a revision above r; a read
/// is answered at r or above.
pub(super) fn never_go_back(history: &History) -> Vec<String> {
    let mut ends: Vec<_> = history
        .operations
        .iter()
        .filter_map(|operation| match operation.outcome {
            Outcome::Written { revision } | Outcome::Read { revision: Some(revision), .. } => {
                Some((operation.end, revision))
            }
            _ => None,
        })
        .collect();
    ends.sort_unstable();
    let mut most = 0;
    for (_, revision) in &mut ends {
        most = most.max(*revision);
        *revision = most;
    }
    let mut wrong = Vec::new();
    for operation in &history.operations {
        let before = match ends.partition_point(|(end, _)| *end < operation.begin) {
            0 => continue,
            n => ends[n - 1].1,
        };
        match (&operation.call, &operation.outcome) {
            (Call::Write { key, value }, Outcome::Written { revision }) if *revision <= before => {
                wrong.push(format!(
                    "{key}={value} was written at {revision} after {before} had been answered"
                ));
            }
            (Call::Read { key }, Outcome::Read { revision: Some(revision), .. }) if *revision < before => {
                wrong.push(format!("{key} was read at {revision} after {before} had been answered"));
            }
            _ => {}
        }
    }
    wrong
}

/// No two acknowledged writes share a revision: each was a transaction of its own.
pub(super) fn belong_to_one_write(history: &History) -> Vec<String> {
    let mut owner: BTreeMap<i64, (&str, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for operation in &history.operations {
        if let (Call::Write { key, value }, Outcome::Written { revision }) =
            (&operation.call, &operation.outcome)
            && let Some((other, other_value)) = owner.insert(*revision, (key, *value))
        {
            wrong
                .push(format!("revision {revision} was given to {other}={other_value} and to {key}={value}"));
        }
    }
    wrong
}
