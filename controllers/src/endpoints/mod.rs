//! Where the pods of a Service are: Endpoints for old readers, EndpointSlices for all others.

pub(crate) mod legacy;
pub(crate) mod slices;

use std::net::IpAddr;
use std::sync::Arc;

use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value, value};
use trireme_client::{Change, Informer, Subscription};

use crate::pods;
use crate::runtime::WorkQueue;

pub(crate) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// None for a Service whose endpoints are somebody else's business.
fn selector_of(service: &Object) -> Option<LabelSelector> {
    let pairs = service.spec()["selector"].members();
    (!pairs.is_empty())
        .then(|| LabelSelector::from_pairs(pairs.iter().map(|(k, v)| (&**k, v.str_or_empty()))))
}

fn is_headless(service: &Object) -> bool {
    service.spec()["clusterIP"] == "None"
}

/// The Service's pods in the order of their names, so that the same pods give the same answer.
fn pods_of(service: &Object, pods: &Informer) -> Vec<Arc<Object>> {
    let Some(selector) = selector_of(service) else { return Vec::new() };
    let mut out = pods.store().in_namespace(service.namespace());
    out.retain(|p| selector.matches_labels(&p.metadata()["labels"]));
    out.sort_by(|a, b| a.name().cmp(b.name()));
    out
}

/// The pod's address of one family.
fn address_of(pod: &Object, v6: bool) -> Option<String> {
    let all = pod.status()["podIPs"].items().iter().map(|ip| ip["ip"].str_or_empty());
    let one = pod.status()["podIP"].str_or_empty();
    all.chain([one]).find(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6)).map(str::to_owned)
}

/// A Service port's number on a pod: a number, or the name of a container's port.
fn target_port(pod: &Object, port: &Value) -> Option<i64> {
    let target = &port["targetPort"];
    match target.as_str() {
        None => target.as_i64().filter(|n| *n != 0).or_else(|| port["port"].as_i64()),
        Some(name) => {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let sidecars =
                pod.spec()["initContainers"].items().iter().filter(|c| c["restartPolicy"] == "Always");
            let all = pod.spec()["containers"].items().iter().chain(sidecars);
            all.flat_map(|c| c["ports"].items())
                .find(|p| p["name"] == *name && p["protocol"].as_str().unwrap_or("TCP") == protocol)
                .and_then(|p| p["containerPort"].as_i64())
        }
    }
}

/// The ports of a Service as this pod has them.
fn ports_on(pod: &Object, service: &Object, slice: bool) -> Vec<Value> {
    let mut out = Vec::new();
    for port in service.spec()["ports"].items() {
        let Some(number) = target_port(pod, port) else { continue };
        let mut p = Value::object();
        let map = p.make(&[]);
        // Slices always have a name, Endpoints only where it is not empty.
        let name = port["name"].str_or_empty();
        if slice || !name.is_empty() {
            map.set("name", name);
        }
        map.set("port", number);
        map.set("protocol", port["protocol"].as_str().unwrap_or("TCP"));
        if let Some(app) = port["appProtocol"].as_str() {
            map.set("appProtocol", app);
        }
        out.push(p);
    }
    out
}

fn target_ref(pod: &Object) -> Value {
    value!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()})
}

/// The name under which DNS knows the pod within the Service.
fn hostname<'a>(pod: &'a Object, service: &Object) -> Option<&'a str> {
    let hostname = pod.spec()["hostname"].as_str().filter(|h| !h.is_empty())?;
    (pod.spec()["subdomain"] == *service.name()).then_some(hostname)
}

/// What of a pod its Services look at.
fn facts(pod: &Object) -> (&Value, &Value, &Value, &str, bool, bool, &Value) {
    let status = pod.status();
    (
        &pod.metadata()["labels"],
        &status["podIP"],
        &status["podIPs"],
        status["phase"].str_or_empty(),
        pods::is_ready(pod),
        pod.deletion_timestamp().is_some(),
        &pod.spec()["nodeName"],
    )
}

/// Adds the keys of Services when they or their pods change.
fn feed(queue: &Arc<WorkQueue>, services: &Informer, pods: &Informer) -> Vec<Subscription> {
    vec![
        services.on_change({
            let queue = queue.clone();
            move |change| queue.add(&pods::key(change.object()))
        }),
        pods.on_change({
            let (queue, services) = (queue.clone(), services.clone());
            move |change| pod_changed(change, &services, &queue)
        }),
    ]
}

fn pod_changed(change: &Change, services: &Informer, queue: &WorkQueue) {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && facts(old) == facts(new)
    {
        return;
    }
    for service in services.store().in_namespace(change.object().namespace()) {
        let Some(selector) = selector_of(&service) else { continue };
        let mut both = change.old.iter().chain(&change.new);
        if both.any(|pod| selector.matches_labels(&pod.metadata()["labels"])) {
            queue.add(&pods::key(&service));
        }
    }
}
