//! One decision: the node for one pod, or in words why there is none. Pure.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Node, Pod};
use super::filter::Rules;
use super::score::scores;

/// Up to this many nodes every one is looked at.
const NODES_ALL_EXAMINED_MAX: usize = 100;
/// Of larger clusters, at least this share is examined (in percent), as upstream does.
const NODES_EXAMINED_MIN_PERCENT: usize = 5;

/// Where to go on looking, so that every node gets its turn, and what breaks ties.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    next: usize,
    /// A number that changes with each decision.
    tie: u64,
}

/// The name of the best node for `pod`, or upstream's message of what stands against each.
pub(super) fn place(pod: &Pod, cluster: &Cluster, rotation: &mut Rotation) -> Result<String, String> {
    let count = cluster.len();
    if count == 0 {
        return Err("no nodes available to schedule pods".into());
    }
    let rules = Rules::new(pod, cluster);
    let wanted = examined(count);
    let mut possible: Vec<&Node> = Vec::new();
    let mut against: BTreeMap<String, usize> = BTreeMap::new();
    let start = rotation.next % count;
    let mut looked_at = 0;
    for node in cluster.nodes().skip(start).chain(cluster.nodes().take(start)) {
        looked_at += 1;
        let reasons = rules.reasons_against(node);
        if reasons.is_empty() {
            possible.push(node);
            if possible.len() >= wanted {
                break;
            }
        }
        for reason in reasons {
            *against.entry(reason).or_default() += 1;
        }
    }
    rotation.next = (start + looked_at) % count;
    rotation.tie = rotation.tie.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    match possible[..] {
        [] => Err(refusal(count, &against)),
        [only] => Ok(only.name().to_owned()),
        _ => {
            let scores = scores(pod, &possible, cluster);
            let best = scores.iter().copied().max().unwrap_or(0);
            let top: Vec<&Node> =
                possible.iter().zip(&scores).filter(|(_, s)| **s == best).map(|(n, _)| *n).collect();
            Ok(top[(rotation.tie >> 33) as usize % top.len()].name().to_owned())
        }
    }
}

/// How many possible nodes are enough: all of a small cluster, a falling share of a large one.
fn examined(count: usize) -> usize {
    if count <= NODES_ALL_EXAMINED_MAX {
        return count;
    }
    let percent = 50usize.saturating_sub(count / 125).max(NODES_EXAMINED_MIN_PERCENT);
    (count * percent / 100).max(NODES_ALL_EXAMINED_MAX)
}

fn refusal(count: usize, against: &BTreeMap<String, usize>) -> String {
    let mut reasons: Vec<String> = against.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.sort();
    format!("0/{count} nodes are available: {}.", reasons.join(", "))
}
