//! A Service's pods as subsets: addresses that have the same ports together.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_api::{Object, Value, value};

use super::super::{HEADLESS_LABEL, address_of, hostname, is_headless, ports_on, target_ref};
use crate::pods;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object; the rest is left out, and an annotation says so.
const ADDRESSES_MAX: usize = 1000;

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    Create(Object),
    Update(Object),
}

/// Made by this controller, not by a user.
pub(super) fn is_ours(endpoints: &Object) -> bool {
    endpoints.label(MANAGED_BY) == Some(MANAGER)
}

pub(super) fn plan(service: &Object, pods: &[Arc<Object>], known: Option<&Object>) -> Action {
    let (subsets, truncated) = subsets(service, pods);
    let mut labels = service.metadata()["labels"].clone();
    labels.make(&[]).insert(MANAGED_BY, MANAGER);
    if is_headless(service) {
        labels.make(&[]).insert(HEADLESS_LABEL, "");
    } else {
        labels.make(&[]).remove(HEADLESS_LABEL);
    }
    let mut wanted = match known {
        Some(known) => known.clone(),
        None => Object(value!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": service.name(), "namespace": service.namespace()},
        })),
    };
    wanted.metadata_mut().set("labels", labels);
    if truncated {
        wanted.set_annotation(OVER_CAPACITY, "truncated");
    } else if wanted.annotation(OVER_CAPACITY).is_some() {
        wanted.make(&["metadata", "annotations"]).remove(OVER_CAPACITY);
    }
    if subsets.is_empty() {
        wanted.make(&[]).remove("subsets");
    } else {
        wanted.make(&[]).set("subsets", subsets);
    }
    match known {
        None => Action::Create(wanted),
        Some(known) if *known == wanted => Action::Nothing,
        Some(_) => Action::Update(wanted),
    }
}

#[derive(Default)]
struct Subset {
    ports: Vec<Value>,
    ready: Vec<Value>,
    unready: Vec<Value>,
}

fn subsets(service: &Object, all: &[Arc<Object>]) -> (Vec<Value>, bool) {
    let unready_too = service.spec()["publishNotReadyAddresses"] == Value::Bool(true);
    let v6 = service.spec()["ipFamilies"][0] == "IPv6";
    // By ports as text: the order of subsets is the same every time.
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    let mut count = 0;
    for pod in all {
        if pods::is_terminal(pod) || (pod.deletion_timestamp().is_some() && !unready_too) {
            continue;
        }
        let Some(ip) = address_of(pod, v6) else { continue };
        let ports = ports_on(pod, service, false);
        if ports.is_empty() && !service.spec()["ports"].items().is_empty() {
            continue;
        }
        count += 1;
        if count > ADDRESSES_MAX {
            return (render(groups), true);
        }
        let mut address = value!({"ip": ip});
        let map = address.make(&[]);
        if let Some(name) = hostname(pod, service) {
            map.set("hostname", name);
        }
        if let Some(node) = pod.spec()["nodeName"].as_str() {
            map.set("nodeName", node);
        }
        map.set("targetRef", target_ref(pod));
        let key = Value::Array(ports.clone()).to_string();
        let subset = groups.entry(key).or_insert_with(|| Subset { ports, ..Subset::default() });
        let ready = unready_too || pods::is_ready(pod);
        if ready { subset.ready.push(address) } else { subset.unready.push(address) }
    }
    (render(groups), false)
}

fn render(groups: BTreeMap<String, Subset>) -> Vec<Value> {
    let subset = |Subset { ports, ready, unready }| {
        let mut out = Value::object();
        let map = out.make(&[]);
        for (name, mut list) in [("addresses", ready), ("notReadyAddresses", unready), ("ports", ports)] {
            if name != "ports" {
                list.sort_by(|a, b| a["ip"].str_or_empty().cmp(b["ip"].str_or_empty()));
            }
            if !list.is_empty() {
                map.set(name, list);
            }
        }
        out
    };
    groups.into_values().map(subset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: &str, ready: bool) -> Arc<Object> {
        Arc::new(Object(value!({
            "metadata": {"namespace": "ns", "name": name, "uid": name},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })))
    }
    fn service() -> Object {
        Object(value!({
            "metadata": {"namespace": "ns", "name": "svc", "labels": {"team": "x"}},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "a"},
                "ports": [{"port": 80, "targetPort": "web", "protocol": "TCP"}]},
        }))
    }

    #[test]
    fn ready_pods_and_others_apart_by_port() {
        let Action::Create(e) = plan(
            &service(),
            &[
                pod("b", "10.1.0.3", true),
                pod("a", "10.1.0.2", true),
                pod("c", "10.1.0.4", false),
                pod("d", "", true),
            ],
            None,
        ) else {
            panic!()
        };
        let address = |name: &str, ip: &str| value!({"ip": ip, "nodeName": "n", "targetRef": {"kind": "Pod", "namespace": "ns", "name": name, "uid": name}});
        assert_eq!(
            e["subsets"],
            Value::Array(vec![value!({
                "addresses": [address("a", "10.1.0.2"), address("b", "10.1.0.3")],
                "notReadyAddresses": [address("c", "10.1.0.4")],
                "ports": [{"port": 8080, "protocol": "TCP"}],
            })])
        );
        assert_eq!((e.label("team"), is_ours(&e)), (Some("x"), true));
        let same = [pod("a", "10.1.0.2", true), pod("b", "10.1.0.3", true), pod("c", "10.1.0.4", false)];
        assert_eq!(plan(&service(), &same, Some(&e)), Action::Nothing);
        let Action::Update(none) = plan(&service(), &[], Some(&e)) else { panic!() };
        assert_eq!(none["subsets"], Value::Null);
    }
}
