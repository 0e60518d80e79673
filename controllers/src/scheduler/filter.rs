//! Which nodes a pod can go to, and in upstream's words why it cannot go to the others.

use std::collections::HashMap;

use trireme_api::Value;

use super::affinity::node_matches;
use super::cluster::{Cluster, Node, Pod};

/// Domains of one topology key and how many matching pods each holds.
type Domains = HashMap<Box<str>, i64>;

/// What is the same for every node while one pod is being placed: counts over the pods that are
/// there, made once instead of once a node.
pub(super) struct Rules<'a> {
    pod: &'a Pod,
    /// For each required affinity term, the domains where a matching pod is.
    affinity: Vec<Domains>,
    /// No pod anywhere matches any affinity term, and this pod matches its own: the first of its
    /// group may start one.
    first_of_group: bool,
    anti_affinity: Vec<Domains>,
    /// (topology key, domain) where a pod sits that does not want this one near.
    unwelcome: Vec<(Box<str>, Box<str>)>,
    spread: Vec<(usize, Domains)>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(pod: &'a Pod, cluster: &Cluster) -> Rules<'a> {
        let terms = &pod.terms;
        let mut rules = Rules {
            pod,
            affinity: vec![Domains::new(); terms.affinity.len()],
            first_of_group: false,
            anti_affinity: vec![Domains::new(); terms.anti_affinity.len()],
            unwelcome: Vec::new(),
            spread: Vec::new(),
        };
        for (i, spread) in terms.spread.iter().enumerate().filter(|(_, s)| s.hard) {
            rules.spread.push((i, domains_of(spread, pod, cluster)));
        }
        if terms.affinity.is_empty() && terms.anti_affinity.is_empty() && cluster.pods_with_anti_affinity == 0
        {
            return rules;
        }
        for node in cluster.nodes() {
            for other in node.pods.values() {
                for (wanted, found) in
                    [(&terms.affinity, &mut rules.affinity), (&terms.anti_affinity, &mut rules.anti_affinity)]
                {
                    for (term, domains) in wanted.iter().zip(found) {
                        if let Some(domain) = node.label(&term.topology_key)
                            && term.matches(&other.object, &cluster.namespaces)
                        {
                            *domains.entry(domain.into()).or_default() += 1;
                        }
                    }
                }
                for term in &other.terms.anti_affinity {
                    if let Some(domain) = node.label(&term.topology_key)
                        && term.matches(&pod.object, &cluster.namespaces)
                    {
                        rules.unwelcome.push((term.topology_key.clone(), domain.into()));
                    }
                }
            }
        }
        rules.first_of_group = rules.affinity.iter().all(HashMap::is_empty)
            && terms.affinity.iter().all(|t| t.matches(&pod.object, &cluster.namespaces));
        rules
    }

    /// Why the pod cannot go to `node`; empty if it can.
    pub(super) fn reasons_against(&self, node: &Node) -> Vec<String> {
        let spec = self.pod.object.spec();
        let tolerations = spec["tolerations"].items();
        if node.object.spec()["unschedulable"] == Value::Bool(true)
            && !tolerated(tolerations, "node.kubernetes.io/unschedulable", "", "NoSchedule")
        {
            return vec!["node(s) were unschedulable".into()];
        }
        if spec["nodeName"].as_str().is_some_and(|n| !n.is_empty() && n != node.name()) {
            return vec!["node(s) didn't match the requested node name".into()];
        }
        if let Some(taint) = untolerated(node, tolerations, &["NoSchedule", "NoExecute"]) {
            let (key, value) = (taint["key"].str_or_empty(), taint["value"].str_or_empty());
            return vec![format!("node(s) had untolerated taint {{{key}: {value}}}")];
        }
        if !node_matches(spec, node) {
            return vec!["node(s) didn't match Pod's node affinity/selector".into()];
        }
        if self.pod.ports.iter().any(|port| node.port_is_taken(port)) {
            return vec!["node(s) didn't have free ports for the requested pod ports".into()];
        }
        let short = lacking(self.pod, node);
        if !short.is_empty() {
            return short;
        }
        self.spread_reason(node).or_else(|| self.affinity_reason(node)).into_iter().collect()
    }

    fn spread_reason(&self, node: &Node) -> Option<String> {
        for (i, domains) in &self.spread {
            let spread = &self.pod.terms.spread[*i];
            let Some(domain) = node.label(&spread.topology_key) else {
                return Some(
                    "node(s) didn't match pod topology spread constraints (missing required label)".into(),
                );
            };
            let least = if (domains.len() as i64) < spread.min_domains {
                0
            } else {
                domains.values().copied().min().unwrap_or(0)
            };
            let own = i64::from(spread.counts(&self.pod.object));
            if domains.get(domain).copied().unwrap_or(0) + own - least > spread.max_skew {
                return Some("node(s) didn't match pod topology spread constraints".into());
            }
        }
        None
    }

    fn affinity_reason(&self, node: &Node) -> Option<String> {
        let terms = &self.pod.terms;
        let holds = |key: &str, domains: &Domains| node.label(key).is_some_and(|d| domains.contains_key(d));
        let near = terms.affinity.iter().zip(&self.affinity).all(|(t, found)| holds(&t.topology_key, found));
        let has_keys = || terms.affinity.iter().all(|t| node.label(&t.topology_key).is_some());
        if !(near || self.first_of_group && has_keys()) {
            return Some("node(s) didn't match pod affinity rules".into());
        }
        if terms.anti_affinity.iter().zip(&self.anti_affinity).any(|(t, found)| holds(&t.topology_key, found))
        {
            return Some("node(s) didn't match pod anti-affinity rules".into());
        }
        if self.unwelcome.iter().any(|(key, domain)| node.label(key) == Some(domain)) {
            return Some("node(s) didn't satisfy existing pods anti-affinity rules".into());
        }
        None
    }
}

/// Matching pods per domain, domains without any included, over the nodes the pod may use.
pub(super) fn domains_of(spread: &super::affinity::Spread, pod: &Pod, cluster: &Cluster) -> Domains {
    let mut domains = Domains::new();
    for node in cluster.nodes() {
        let Some(domain) = node.label(&spread.topology_key) else { continue };
        if !node_matches(pod.object.spec(), node) {
            continue;
        }
        let there = node.pods.values().filter(|p| spread.counts(&p.object)).count() as i64;
        *domains.entry(domain.into()).or_default() += there;
    }
    domains
}

/// Which resources `node` has too little of, as upstream words it.
fn lacking(pod: &Pod, node: &Node) -> Vec<String> {
    let mut short = Vec::new();
    if node.pods.len() as i64 + 1 > node.allocatable.get("pods") {
        short.push("Too many pods".to_owned());
    }
    let wanted = &pod.requests;
    let fits = |name: &str, amount: i64| {
        amount == 0 || amount <= node.allocatable.get(name) - node.requested.get(name)
    };
    for (name, amount) in [("cpu", wanted.cpu_milli), ("memory", wanted.memory_bytes)] {
        if !fits(name, amount) {
            short.push(format!("Insufficient {name}"));
        }
    }
    short
        .extend(wanted.others.iter().filter(|(n, a)| !fits(n, *a)).map(|(n, _)| format!("Insufficient {n}")));
    short
}

/// The first taint of `node` with one of `effects` that no toleration covers.
pub(super) fn untolerated<'n>(node: &'n Node, tolerations: &[Value], effects: &[&str]) -> Option<&'n Value> {
    node.object.spec()["taints"].items().iter().find(|taint| {
        let effect = taint["effect"].str_or_empty();
        effects.contains(&effect)
            && !tolerated(tolerations, taint["key"].str_or_empty(), taint["value"].str_or_empty(), effect)
    })
}

/// Upstream's rule for one toleration and one taint: empty key with `Exists` covers every taint,
/// an empty effect every effect.
fn tolerated(tolerations: &[Value], key: &str, value: &str, effect: &str) -> bool {
    tolerations.iter().any(|t| {
        let (t_key, t_effect) = (t["key"].str_or_empty(), t["effect"].str_or_empty());
        (t_effect.is_empty() || t_effect == effect)
            && (t_key.is_empty() || t_key == key)
            && match t["operator"].str_or_empty() {
                "" | "Equal" => t["value"].str_or_empty() == value,
                "Exists" => true,
                "Gt" | "Lt" => {
                    let pair = (value.parse::<i64>(), t["value"].str_or_empty().parse::<i64>());
                    match (pair, t["operator"].str_or_empty()) {
                        ((Ok(have), Ok(bound)), "Gt") => have > bound,
                        ((Ok(have), Ok(bound)), _) => have < bound,
                        _ => false,
                    }
                }
                _ => false,
            }
    })
}
