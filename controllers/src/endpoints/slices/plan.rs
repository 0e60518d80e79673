//! Which endpoints go into which slice. Endpoints stay where they are, so that readers get few
//! changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_api::{Object, Value, value};

use super::super::{HEADLESS_LABEL, address_of, hostname, is_headless, ports_on, target_ref};
use crate::pods;
use crate::runtime::owner_reference;

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const ENDPOINTS_MAX: usize = 100;

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Create(Object),
    Update(Object),
    Delete(Arc<Object>),
}

/// Endpoints with the same ports: ports, and endpoints by the pod's uid.
type Group = (Vec<Value>, BTreeMap<String, Value>);

pub(super) fn plan(
    service: &Object,
    pods: &[Arc<Object>],
    known: &[Arc<Object>],
    zone: &dyn Fn(&str) -> Option<String>,
) -> Vec<Action> {
    let mut families: Vec<&str> =
        service.spec()["ipFamilies"].items().iter().map(|f| f.str_or_empty()).collect();
    if families.is_empty() {
        families.push("IPv4");
    }
    let mut actions = Vec::new();
    for family in &families {
        let mut slices: Vec<Arc<Object>> =
            known.iter().filter(|s| s["addressType"] == **family).cloned().collect();
        slices.sort_by(|a, b| a.name().cmp(b.name()));
        of_family(service, family, groups(service, pods, family, zone), slices, &mut actions);
    }
    let strays = known.iter().filter(|s| families.iter().all(|f| s["addressType"] != **f));
    actions.extend(strays.cloned().map(Action::Delete));
    actions
}

fn groups(
    service: &Object,
    all: &[Arc<Object>],
    family: &str,
    zone: &dyn Fn(&str) -> Option<String>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for pod in all.iter().filter(|p| !pods::is_terminal(p)) {
        let Some(ip) = address_of(pod, family == "IPv6") else { continue };
        let ports = ports_on(pod, service, true);
        // Compared as values: the API server gives fields in an order of its own.
        let known = groups.iter().position(|(of, _)| *of == ports);
        let at = known.unwrap_or_else(|| {
            groups.push((ports, BTreeMap::new()));
            groups.len() - 1
        });
        groups[at].1.insert(pod.uid().to_owned(), endpoint(service, pod, &ip, zone));
    }
    groups
}

fn endpoint(service: &Object, pod: &Object, ip: &str, zone: &dyn Fn(&str) -> Option<String>) -> Value {
    let serving = pods::is_ready(pod);
    let terminating = pod.deletion_timestamp().is_some();
    let published = service.spec()["publishNotReadyAddresses"] == Value::Bool(true);
    let mut out = value!({
        "addresses": [ip],
        "conditions": {"ready": published || (serving && !terminating), "serving": serving, "terminating": terminating},
    });
    let map = out.make(&[]);
    if let Some(name) = hostname(pod, service) {
        map.set("hostname", name);
    }
    map.set("targetRef", target_ref(pod));
    if let Some(node) = pod.spec()["nodeName"].as_str().filter(|n| !n.is_empty()) {
        map.set("nodeName", node);
        if let Some(zone) = zone(node) {
            map.set("zone", zone);
        }
    }
    out
}

fn of_family(
    service: &Object,
    family: &str,
    mut groups: Vec<Group>,
    slices: Vec<Arc<Object>>,
    actions: &mut Vec<Action>,
) {
    // What each slice will hold; `None`: it goes.
    let mut kept: Vec<(Arc<Object>, Option<Vec<Value>>)> = Vec::new();
    for slice in slices {
        let group = groups.iter_mut().find(|(ports, _)| ports.as_slice() == slice["ports"].items());
        let holds = group.map(|(_, wanted)| {
            let known = slice["endpoints"].items().iter();
            let mut stay: Vec<Value> =
                known.filter_map(|e| wanted.remove(e["targetRef"]["uid"].str_or_empty())).collect();
            stay.truncate(ENDPOINTS_MAX);
            stay
        });
        kept.push((slice, holds));
    }
    // New endpoints fill the slices that have room, then slices of their own.
    let mut fresh: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for (ports, wanted) in groups {
        let mut rest = wanted.into_values().peekable();
        for (_, holds) in kept.iter_mut().filter(|(s, _)| s["ports"].items() == ports.as_slice()) {
            if let Some(holds) = holds {
                while holds.len() < ENDPOINTS_MAX && rest.peek().is_some() {
                    holds.extend(rest.next());
                }
            }
        }
        while rest.peek().is_some() {
            fresh.push((ports.clone(), rest.by_ref().take(ENDPOINTS_MAX).collect()));
        }
    }
    let anything = !fresh.is_empty() || kept.iter().any(|(_, h)| h.as_ref().is_some_and(|h| !h.is_empty()));
    // A Service without pods keeps one slice, which says that there are none.
    let mut placeholder = !anything;
    for (slice, holds) in kept {
        match holds {
            Some(holds) if !holds.is_empty() => {
                update(service, &slice, slice["ports"].items().to_vec(), holds, actions)
            }
            _ if placeholder => {
                placeholder = false;
                update(service, &slice, Vec::new(), Vec::new(), actions);
            }
            _ => actions.push(Action::Delete(slice)),
        }
    }
    if placeholder {
        fresh.push((Vec::new(), Vec::new()));
    }
    for (ports, endpoints) in fresh {
        let mut slice = Object(value!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", service.name()),
                "namespace": service.namespace(),
                "ownerReferences": [owner_reference(service, "v1", "Service")],
            },
            "addressType": family,
        }));
        fill(service, &mut slice, ports, endpoints);
        actions.push(Action::Create(slice));
    }
}

fn update(
    service: &Object,
    slice: &Arc<Object>,
    ports: Vec<Value>,
    endpoints: Vec<Value>,
    actions: &mut Vec<Action>,
) {
    let mut wanted = (**slice).clone();
    fill(service, &mut wanted, ports, endpoints);
    // Absent, null and empty are the same.
    let same = ["endpoints", "ports"].into_iter().all(|f| wanted[f].items() == slice[f].items())
        && wanted.metadata()["labels"] == slice.metadata()["labels"];
    if !same {
        actions.push(Action::Update(wanted));
    }
}

fn fill(service: &Object, slice: &mut Object, ports: Vec<Value>, endpoints: Vec<Value>) {
    let mut labels = service.metadata()["labels"].clone();
    let map = labels.make(&[]);
    map.insert(SERVICE_NAME, service.name());
    map.insert(MANAGED_BY, MANAGER);
    if is_headless(service) {
        map.insert(HEADLESS_LABEL, "");
    } else {
        map.remove(HEADLESS_LABEL);
    }
    slice.metadata_mut().set("labels", labels);
    slice.make(&[]).set("endpoints", endpoints);
    slice.make(&[]).set("ports", ports);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(n: usize) -> Arc<Object> {
        Arc::new(Object(value!({
            "metadata": {"namespace": "ns", "name": format!("p{n:03}"), "uid": format!("u{n:03}")},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "podIP": format!("10.1.{}.{}", n / 200, n % 200 + 1),
                "conditions": [{"type": "Ready", "status": "True"}]},
        })))
    }
    fn service() -> Object {
        Object(value!({
            "metadata": {"namespace": "ns", "name": "svc", "uid": "s"},
            "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "a"}, "ports": [{"port": 80}]},
        }))
    }

    /// Carries a plan out; tells what was done with how many endpoints.
    fn apply(slices: &mut Vec<Arc<Object>>, pods: &[Arc<Object>]) -> Vec<String> {
        let actions = plan(&service(), pods, slices, &|_| Some("z".into()));
        let mut said = Vec::new();
        for action in actions {
            match action {
                Action::Create(mut s) => {
                    said.push(format!("+{}", s["endpoints"].items().len()));
                    s.metadata_mut().set("name", format!("svc-{}", slices.len()));
                    slices.push(Arc::new(s));
                }
                Action::Update(s) => {
                    said.push(format!("~{}", s["endpoints"].items().len()));
                    let at = slices.iter().position(|k| k.name() == s.name()).unwrap();
                    slices[at] = Arc::new(s);
                }
                Action::Delete(s) => {
                    said.push("-".into());
                    slices.retain(|k| k.name() != s.name());
                }
            }
        }
        said
    }

    #[test]
    fn slices_fill_up_and_endpoints_stay_where_they_are() {
        let mut slices = Vec::new();
        let all: Vec<_> = (0..250).map(pod).collect();
        assert_eq!(apply(&mut slices, &all[..0]), ["+0"]);
        assert_eq!(apply(&mut slices, &all[..0]), Vec::<String>::new());
        assert_eq!(apply(&mut slices, &all[..3]), ["-", "+3"]);
        assert_eq!(apply(&mut slices, &all[..250]), ["~100", "+100", "+50"]);
        assert_eq!(apply(&mut slices, &all[..250]), Vec::<String>::new());
        assert_eq!(apply(&mut slices, &all[1..250]), ["~99"], "one slice changes");
        assert_eq!(apply(&mut slices, &all), ["~100"]);
        assert_eq!(apply(&mut slices, &all[..0]).len(), 3);
        assert_eq!((slices.len(), slices[0]["endpoints"].items().len()), (1, 0));
    }

    /// The API server gives what it stored in the order of the type's fields.
    #[test]
    fn a_slice_is_known_again_in_the_form_that_the_server_gives_it() {
        let mut slices = Vec::new();
        assert_eq!(apply(&mut slices, &[pod(1)]), ["+1"]);
        let schema = trireme_api::schema::builtin();
        let id = schema.find("discovery/v1.EndpointSlice").unwrap();
        let mut stored = (*slices[0]).clone();
        trireme_api::normal::normalize(schema, id, &mut stored.0);
        slices[0] = Arc::new(stored);
        assert_eq!(apply(&mut slices, &[pod(1)]), Vec::<String>::new());
    }

    #[test]
    fn an_endpoint_says_how_its_pod_is() {
        let mut p = (*pod(1)).clone();
        p.metadata_mut().set("deletionTimestamp", "2024-01-01T00:00:00Z");
        let [Action::Create(slice)] = &plan(&service(), &[Arc::new(p)], &[], &|_| Some("z".into()))[..]
        else {
            panic!()
        };
        assert_eq!(
            slice["endpoints"][0]["conditions"],
            value!({"ready": false, "serving": true, "terminating": true})
        );
        assert_eq!(
            (slice["endpoints"][0]["zone"].str_or_empty(), slice["ports"][0]["port"].as_i64()),
            ("z", Some(80))
        );
        assert_eq!(slice.label(SERVICE_NAME), Some("svc"));
        assert_eq!(slice.controller_ref().map(|r| r["kind"].str_or_empty()), Some("Service"));
    }
}
