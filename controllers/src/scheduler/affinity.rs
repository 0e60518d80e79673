//! Node selectors, and rules about the pods that are already there.

use std::collections::HashMap;
use std::sync::Arc;

use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value};

use super::cluster::Node;

/// Namespaces by name, for terms that choose them by label.
pub(super) type Namespaces = HashMap<Box<str>, Arc<Object>>;

/// Whether `node` fits `spec.nodeSelector` and the required part of `spec.affinity.nodeAffinity`.
pub(super) fn node_matches(spec: &Value, node: &Node) -> bool {
    let selected = spec["nodeSelector"].members().iter().all(|(k, v)| node.label(k) == v.as_str());
    if !selected {
        return false;
    }
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    if required.is_null() {
        return true;
    }
    required["nodeSelectorTerms"].items().iter().any(|term| term_matches(term, node))
}

/// A node selector term: every expression holds. One without any matches nothing.
pub(super) fn term_matches(term: &Value, node: &Node) -> bool {
    let (labels, fields) = (term["matchExpressions"].items(), term["matchFields"].items());
    (!labels.is_empty() || !fields.is_empty())
        && labels.iter().all(|e| expression_holds(e, node.label(e["key"].str_or_empty())))
        && fields.iter().all(|e| e["key"] == "metadata.name" && expression_holds(e, Some(node.name())))
}

fn expression_holds(expression: &Value, actual: Option<&str>) -> bool {
    let values = expression["values"].items();
    let listed = |actual: &str| values.iter().any(|v| *v == *actual);
    let compare = |pick: fn(&i64, &i64) -> bool| {
        let number = |s: Option<&str>| s.and_then(|s| s.parse::<i64>().ok());
        match (number(actual), number(values.first().and_then(Value::as_str))) {
            (Some(a), Some(b)) => pick(&a, &b),
            _ => false,
        }
    };
    match expression["operator"].str_or_empty() {
        "In" => actual.is_some_and(listed),
        "NotIn" => !actual.is_some_and(listed),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

/// One term of pod affinity: "in a domain of `topology_key` where pods like these are".
#[derive(Debug)]
pub(super) struct PodTerm {
    pub(super) topology_key: Box<str>,
    selector: LabelSelector,
    namespaces: Vec<Box<str>>,
    /// Further namespaces, by their labels.
    namespace_selector: Option<LabelSelector>,
    pub(super) weight: i64,
}

impl PodTerm {
    fn new(term: &Value, owner: &Object, weight: i64) -> Option<PodTerm> {
        let mut namespaces: Vec<Box<str>> =
            term["namespaces"].items().iter().filter_map(|n| n.as_str().map(Into::into)).collect();
        let by_label = &term["namespaceSelector"];
        let namespace_selector = match by_label {
            Value::Null => None,
            selector => Some(LabelSelector::from_object(selector).ok()?),
        };
        if namespaces.is_empty() && namespace_selector.is_none() {
            namespaces.push(owner.namespace().into());
        }
        Some(PodTerm {
            topology_key: term["topologyKey"].str_or_empty().into(),
            selector: LabelSelector::from_object(&with_keys_of_owner(term, owner)).ok()?,
            namespaces,
            namespace_selector,
            weight,
        })
    }

    pub(super) fn matches(&self, pod: &Object, namespaces: &Namespaces) -> bool {
        let by_label = || {
            self.namespace_selector.as_ref().is_some_and(|selector| {
                namespaces
                    .get(pod.namespace())
                    .is_some_and(|ns| selector.matches_labels(&ns.metadata()["labels"]))
            })
        };
        (self.namespaces.iter().any(|n| **n == *pod.namespace()) || by_label())
            && self.selector.matches_labels(&pod.metadata()["labels"])
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` become requirements on the pod's own values.
fn with_keys_of_owner(term: &Value, owner: &Object) -> Value {
    let mut selector = term["labelSelector"].clone();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term[list].items() {
            let Some(own) = owner.label(key.str_or_empty()) else { continue };
            let requirement =
                trireme_api::value!({"key": key.str_or_empty(), "operator": operator, "values": [own]});
            let list = selector.make(&[]).entry_or("matchExpressions", || Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.push(requirement);
            }
        }
    }
    selector
}

/// A pod's rules about other pods, read once.
#[derive(Debug, Default)]
pub(super) struct PodTerms {
    pub(super) affinity: Vec<PodTerm>,
    pub(super) anti_affinity: Vec<PodTerm>,
    /// Preferred terms; anti-affinity has a negative weight.
    pub(super) preferred: Vec<PodTerm>,
    pub(super) spread: Vec<Spread>,
}

/// One topology spread constraint.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) topology_key: Box<str>,
    selector: Option<LabelSelector>,
    namespace: Box<str>,
    pub(super) max_skew: i64,
    pub(super) min_domains: i64,
    /// `DoNotSchedule`: a condition; else a wish.
    pub(super) hard: bool,
}

impl Spread {
    pub(super) fn counts(&self, pod: &Object) -> bool {
        pod.namespace() == &*self.namespace
            && pod.deletion_timestamp().is_none()
            && self.selector.as_ref().is_some_and(|s| s.matches_labels(&pod.metadata()["labels"]))
    }
}

impl PodTerms {
    pub(super) fn of(pod: &Object) -> PodTerms {
        let affinity = &pod.spec()["affinity"];
        let required = |kind: &str| -> Vec<PodTerm> {
            affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"]
                .items()
                .iter()
                .filter_map(|term| PodTerm::new(term, pod, 0))
                .collect()
        };
        let mut preferred = Vec::new();
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for wish in affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"].items() {
                let weight = sign * wish["weight"].as_i64().unwrap_or(0);
                preferred.extend(PodTerm::new(&wish["podAffinityTerm"], pod, weight));
            }
        }
        let spread = pod.spec()["topologySpreadConstraints"]
            .items()
            .iter()
            .map(|c| Spread {
                topology_key: c["topologyKey"].str_or_empty().into(),
                selector: LabelSelector::from_object(&with_keys_of_owner(c, pod)).ok(),
                namespace: pod.namespace().into(),
                max_skew: c["maxSkew"].as_i64().unwrap_or(1),
                min_domains: c["minDomains"].as_i64().unwrap_or(1),
                hard: c["whenUnsatisfiable"] != "ScheduleAnyway",
            })
            .collect();
        PodTerms {
            affinity: required("podAffinity"),
            anti_affinity: required("podAntiAffinity"),
            preferred,
            spread,
        }
    }
}
