//! Which of the possible nodes is best. Weights are upstream's defaults.

use super::affinity::term_matches;
use super::cluster::{Cluster, Node, Pod};
use super::filter::{domains_of, untolerated};

/// What every scorer's answer is scaled to.
const SCORE_MAX: i64 = 100;

const WEIGHT_TAINTS: i64 = 3;
const WEIGHT_NODE_AFFINITY: i64 = 2;
const WEIGHT_SPREAD: i64 = 2;
const WEIGHT_POD_AFFINITY: i64 = 2;
const WEIGHT_LEAST_ALLOCATED: i64 = 1;
const WEIGHT_BALANCE: i64 = 1;

/// Scores of `nodes` for `pod`, in their order; higher is better.
pub(super) fn scores(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    let mut total = vec![0; nodes.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (sum, score) in total.iter_mut().zip(scores) {
            *sum += weight * score;
        }
    };
    add(WEIGHT_LEAST_ALLOCATED, nodes.iter().map(|n| least_allocated(pod, n)).collect());
    add(WEIGHT_BALANCE, nodes.iter().map(|n| balance(pod, n)).collect());

    let tolerations = pod.object.spec()["tolerations"].items();
    let unwelcome = |n: &&Node| {
        let taints = n.object.spec()["taints"].items();
        taints.iter().filter(|t| t["effect"] == "PreferNoSchedule").count() as i64
            * i64::from(untolerated(n, tolerations, &["PreferNoSchedule"]).is_some())
    };
    add(WEIGHT_TAINTS, fewest_is_best(nodes.iter().map(unwelcome).collect()));

    let wishes =
        pod.object.spec()["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
            .items();
    if !wishes.is_empty() {
        let wished = |n: &&Node| -> i64 {
            wishes
                .iter()
                .filter(|w| term_matches(&w["preference"], n))
                .map(|w| w["weight"].as_i64().unwrap_or(0))
                .sum()
        };
        add(WEIGHT_NODE_AFFINITY, most_is_best(nodes.iter().map(wished).collect()));
    }
    add(WEIGHT_SPREAD, spread(pod, nodes, cluster));
    if !pod.terms.preferred.is_empty() {
        add(WEIGHT_POD_AFFINITY, neighbours(pod, nodes, cluster));
    }
    total
}

/// Free share after placing, averaged over CPU and memory.
fn least_allocated(pod: &Pod, node: &Node) -> i64 {
    let free =
        |have: i64, used: i64| if have <= 0 || used > have { 0 } else { (have - used) * SCORE_MAX / have };
    let cpu = free(node.allocatable.cpu_milli, node.compared.cpu_milli + pod.comparable.cpu_milli);
    let memory =
        free(node.allocatable.memory_bytes, node.compared.memory_bytes + pod.comparable.memory_bytes);
    (cpu + memory) / 2
}

/// How close the used shares of CPU and memory are to each other, in thousandths of a share.
fn balance(pod: &Pod, node: &Node) -> i64 {
    let share = |have: i64, used: i64| if have <= 0 { 1000 } else { (used * 1000 / have).min(1000) };
    let cpu = share(node.allocatable.cpu_milli, node.requested.cpu_milli + pod.requests.cpu_milli);
    let memory =
        share(node.allocatable.memory_bytes, node.requested.memory_bytes + pod.requests.memory_bytes);
    SCORE_MAX - (cpu - memory).abs() * SCORE_MAX / 2000
}

/// Soft constraints of the pod; without any, pods of one owner keep apart over nodes and zones,
/// as upstream's default constraints have it.
fn spread(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    let soft: Vec<_> = pod.terms.spread.iter().filter(|s| !s.hard).collect();
    if !soft.is_empty() {
        let counted: Vec<_> = soft.iter().map(|s| (&s.topology_key, domains_of(s, pod, cluster))).collect();
        let there = |n: &&Node| -> i64 {
            counted
                .iter()
                .map(|(key, domains)| n.label(key).and_then(|d| domains.get(d)).copied().unwrap_or(0))
                .sum()
        };
        return fewest_is_best(nodes.iter().map(there).collect());
    }
    if !pod.terms.spread.is_empty() {
        return vec![0; nodes.len()];
    }
    let Some(owner) = pod.object.controller_ref().and_then(|r| r["uid"].as_str()) else {
        return vec![0; nodes.len()];
    };
    let siblings = |n: &Node| {
        n.pods
            .values()
            .filter(|p| p.object.controller_ref().is_some_and(|r| r["uid"] == *owner))
            .filter(|p| p.object.deletion_timestamp().is_none())
            .count() as i64
    };
    let on_node: Vec<i64> = nodes.iter().map(|n| siblings(n)).collect();
    let zone = |n: &Node| n.label("topology.kubernetes.io/zone").map(str::to_owned);
    let mut in_zone = std::collections::HashMap::new();
    for (n, count) in nodes.iter().zip(&on_node) {
        if let Some(z) = zone(n) {
            *in_zone.entry(z).or_insert(0) += count;
        }
    }
    let by_node = fewest_is_best(on_node);
    if in_zone.is_empty() {
        return by_node;
    }
    let counts = nodes.iter().map(|n| zone(n).and_then(|z| in_zone.get(&z).copied()).unwrap_or(0)).collect();
    by_node.into_iter().zip(fewest_is_best(counts)).map(|(node, zone)| (node + 2 * zone) / 3).collect()
}

/// Preferred pod (anti-)affinity: weights of the terms whose pods are in the node's domain.
fn neighbours(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    for term in &pod.terms.preferred {
        let mut domains = std::collections::HashMap::new();
        for node in cluster.nodes() {
            let Some(domain) = node.label(&term.topology_key) else { continue };
            let there =
                node.pods.values().filter(|p| term.matches(&p.object, &cluster.namespaces)).count() as i64;
            *domains.entry(domain).or_insert(0) += there;
        }
        for (sum, node) in sums.iter_mut().zip(nodes) {
            let there = node.label(&term.topology_key).and_then(|d| domains.get(d)).copied().unwrap_or(0);
            *sum += term.weight * there;
        }
    }
    most_is_best(sums)
}

fn most_is_best(raw: Vec<i64>) -> Vec<i64> {
    let (min, max) = range(&raw);
    raw.into_iter().map(|v| if max == min { 0 } else { (v - min) * SCORE_MAX / (max - min) }).collect()
}

fn fewest_is_best(raw: Vec<i64>) -> Vec<i64> {
    let (min, max) = range(&raw);
    raw.into_iter()
        .map(|v| if max == min { SCORE_MAX } else { (max - v) * SCORE_MAX / (max - min) })
        .collect()
}

fn range(raw: &[i64]) -> (i64, i64) {
    (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0))
}
