//! What was acknowledged is there, for readers meanwhile and for everyone afterwards.

use std::collections::BTreeMap;

use crate::history::{Call, History, Outcome, Tick};

/// The last value of each key lies between the last one acknowledged and the last one tried.
pub(super) fn acknowledged_writes_survive(history: &History) -> Vec<String> {
    let last: BTreeMap<&str, u64> = history.last.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    let mut acknowledged: BTreeMap<&str, u64> = BTreeMap::new();
    let mut possible: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &history.operations {
        let Call::Write { key, value } = &operation.call else { continue };
        let raise = |map: &mut BTreeMap<_, u64>, key| {
            let entry = map.entry(key).or_default();
            *entry = (*entry).max(*value);
        };
        match operation.outcome {
            Outcome::Written { .. } => {
                raise(&mut acknowledged, key.as_str());
                raise(&mut possible, key.as_str());
            }
            Outcome::Unknown(_) => raise(&mut possible, key.as_str()),
            Outcome::Refused(_) | Outcome::Read { .. } => {}
        }
    }
    let mut wrong = Vec::new();
    for (key, value) in &acknowledged {
        match last.get(key) {
            None => wrong.push(format!("{key}: {value} was acknowledged, the key is gone")),
            Some(found) if found < value => {
                wrong.push(format!("{key}: {value} was acknowledged, {found} is there"));
            }
            Some(_) => {}
        }
    }
    for (key, found) in &last {
        let most = possible.get(key).copied().unwrap_or(0);
        if *found > most {
            wrong.push(format!("{key}: {found} is there, but at most {most} can have been written"));
        }
    }
    wrong
}

/// A read gives at least what was acknowledged, or read, before it began, and at most what had
/// been tried when it ended.
pub(super) fn reads_are_linearizable(history: &History) -> Vec<String> {
    // By key: when a value was known to be there (it or a later one is, from then on), and when
    // one was first tried.
    let mut known: BTreeMap<&str, Vec<(Tick, u64)>> = BTreeMap::new();
    let mut tried: BTreeMap<&str, Vec<(Tick, u64)>> = BTreeMap::new();
    for operation in &history.operations {
        match (&operation.call, &operation.outcome) {
            (Call::Write { key, value }, outcome) => {
                tried.entry(key).or_default().push((operation.begin, *value));
                if matches!(outcome, Outcome::Written { .. }) {
                    known.entry(key).or_default().push((operation.end, *value));
                }
            }
            (Call::Read { key }, Outcome::Read { value: Some(value), .. }) => {
                known.entry(key).or_default().push((operation.end, *value));
            }
            _ => {}
        }
    }
    for facts in known.values_mut().chain(tried.values_mut()) {
        facts.sort_unstable();
        // Running maximum, so that the last fact before a tick is the greatest.
        let mut most = 0;
        for (_, value) in facts {
            most = most.max(*value);
            *value = most;
        }
    }
    let before = |facts: Option<&Vec<(Tick, u64)>>, tick: Tick| {
        facts.map_or(0, |facts| match facts.partition_point(|(t, _)| *t < tick) {
            0 => 0,
            n => facts[n - 1].1,
        })
    };
    let mut wrong = Vec::new();
    for operation in &history.operations {
        let (Call::Read { key }, Outcome::Read { value, .. }) = (&operation.call, &operation.outcome) else {
            continue;
        };
        let value = value.unwrap_or(0);
        let least = before(known.get(key.as_str()), operation.begin);
        let most = before(tried.get(key.as_str()), operation.end);
        if value < least {
            wrong.push(format!("{key}: read {value} after {least} was known (client {})", operation.client));
        }
        if value > most {
            wrong.push(format!("{key}: read {value} before it was written"));
        }
    }
    wrong
}

/// Every member holds the same keys, values and revisions.
pub(super) fn members_agree(history: &History) -> Vec<String> {
    let Some(((first, expected), others)) = history.members.split_first() else { return Vec::new() };
    let mut wrong = Vec::new();
    for (name, found) in others {
        if found == expected {
            continue;
        }
        let difference = expected
            .iter()
            .find(|kv| !found.contains(kv))
            .map(|kv| format!("{kv:?} is on {first} alone"))
            .or_else(|| {
                found.iter().find(|kv| !expected.contains(kv)).map(|kv| format!("{kv:?} is on {name} alone"))
            })
            .unwrap_or_else(|| "the order differs".to_owned());
        wrong.push(format!("{first} and {name} differ: {difference}"));
    }
    wrong
}
