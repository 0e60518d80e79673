//! What members say of themselves must fit together.

use std::collections::BTreeMap;

use super::judged::Judged;
use crate::history::{History, Sample, Tick};

/// In one term one member leads.
pub(super) fn one_leads_a_term(history: &History) -> Judged {
    let mut leaders: BTreeMap<u64, &str> = BTreeMap::new();
    let mut judged = Judged::default();
    for sample in history.samples.iter().filter(|sample| sample.leads) {
        judged.look();
        let leader = leaders.entry(sample.term).or_insert(&sample.member);
        if *leader != sample.member {
            judged.say(format!("{leader} and {} lead in term {}", sample.member, sample.term));
        }
    }
    judged
}

/// Members that have applied the same entries have the same state.
pub(super) fn states_are_equal_at_an_index(history: &History) -> Judged {
    let mut states: BTreeMap<u64, &Sample> = BTreeMap::new();
    let mut judged = Judged::default();
    for sample in history.samples.iter().filter(|sample| !sample.state_hash.is_empty()) {
        let first = *states.entry(sample.applied_index).or_insert(sample);
        // One by itself is equal to nobody.
        judged.look_at(usize::from(!std::ptr::eq(first, sample)));
        if first.state_hash != sample.state_hash {
            judged.say(format!(
                "at index {} {} has state {} and {} has {}",
                sample.applied_index, first.member, first.state_hash, sample.member, sample.state_hash
            ));
        }
    }
    judged
}

/// No member forgets a term that it was in. One that has just started says zero until it has looked.
pub(super) fn terms_only_grow(history: &History) -> Judged {
    let mut members: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in history.samples.iter().filter(|sample| sample.term > 0) {
        members.entry(&sample.member).or_default().push(sample);
    }
    let mut judged = Judged::default();
    for (member, mut samples) in members {
        samples.sort_by_key(|sample| sample.tick);
        // The greatest term answered up to each tick.
        let mut known: Vec<(Tick, u64)> = Vec::new();
        for sample in samples {
            judged.look();
            let n = known.partition_point(|(tick, _)| *tick < sample.asked);
            let before = if n == 0 { 0 } else { known[n - 1].1 };
            if sample.term < before {
                judged.say(format!("{member} was in term {before} and then in {}", sample.term));
            }
            let most = known.last().map_or(0, |(_, term)| *term).max(sample.term);
            known.push((sample.tick, most));
        }
    }
    judged
}
