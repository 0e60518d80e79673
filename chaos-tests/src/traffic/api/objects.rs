//! The objects of the traffic, and what a history keeps of them.

use trireme_api::{Object, value};
use trireme_client::Resource;
use trireme_client::resource::{CONFIG_MAPS, LEASES, PODS, SERVICES};

use super::NAMESPACE;
use crate::history::{ApiId, ApiObject};

pub(super) const CONFIGS: &str = "configmaps";
pub(super) const SERVED: &str = "services";
pub(super) const EVICTED: &str = "pods";
/// What is listed.
pub(super) const RESOURCES: [&str; 2] = [CONFIGS, SERVED];
/// What is watched.
pub(super) const WATCHED: [&str; 3] = [CONFIGS, SERVED, EVICTED];
/// All objects of the traffic have this label.
pub(super) const SELECTOR: &str = "chaos=traffic";
/// But for pods that are evicted.
pub(super) const EVICTED_SELECTOR: &str = "chaos=evicted";
/// These, and the pod that ends the run, which no set and no budget takes for its own.
const WATCHED_PODS: &str = "chaos in (evicted,end)";
/// Made of each resource that is watched when all is over: a watch that has told of it has told of
/// everything.
pub const END: &str = "chaos-end";
/// What stands for a pod that is ready, and stays.
pub const READY: &str = "ready";
/// The Lease that clients take from each other.
pub(super) const LEASE: &str = "chaos-leader";
/// What the leader writes.
pub(super) const LED: &str = "chaos-led";
/// Where the server shows the epoch of the Lease's holder.
const EPOCH_ANNOTATION: &str = "trireme.io/fence-epoch";
/// Where a Service has what the traffic wrote.
const VALUE_ANNOTATION: &str = "chaos-value";
/// A Service's address that is none.
const HEADLESS: &str = "None";

pub(super) fn resource(name: &str) -> Resource {
    match name {
        SERVED => SERVICES,
        EVICTED => PODS,
        _ => CONFIG_MAPS,
    }
}

pub(super) fn selector(resource: &str) -> &'static str {
    if resource == EVICTED { WATCHED_PODS } else { SELECTOR }
}

/// A pod as a budget sees it.
fn standing(pod: &Object) -> &'static str {
    let is_ready = |c: &trireme_api::Value| c["type"] == *"Ready" && c["status"] == *"True";
    match () {
        () if pod.deletion_timestamp().is_some() => "going",
        () if pod.status()["conditions"].items().iter().any(is_ready) => READY,
        () => "not ready",
    }
}

pub(super) fn id(resource: &str, name: &str) -> ApiId {
    ApiId { resource: resource.to_owned(), name: format!("{NAMESPACE}/{name}") }
}

/// `version`: of the object that it replaces; empty to create it.
pub(super) fn config_map(name: &str, value: &str, version: &str) -> Object {
    let mut object = Object(value!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"chaos": "traffic"}},
        "data": {"value": value}
    }));
    if !version.is_empty() {
        object.metadata_mut().insert("resourceVersion", version);
    }
    object
}

pub(super) fn service(name: &str, value: &str, node_port: bool) -> Object {
    let kind = if node_port { "NodePort" } else { "ClusterIP" };
    Object(value!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"chaos": "traffic"},
            "annotations": {VALUE_ANNOTATION: value}
        },
        "spec": {
            "type": kind,
            "selector": {"app": name},
            "ports": [{"name": "one", "port": 80}, {"name": "two", "port": 443}]
        }
    }))
}

/// What ends the watches of a resource.
pub(super) fn end(resource: &str, value: &str) -> Object {
    match resource {
        SERVED => service(END, value, false),
        // No node has it, so that nothing comes of it.
        EVICTED => Object(value!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": END, "namespace": NAMESPACE, "labels": {"chaos": "end"}},
            "spec": {
                "nodeSelector": {"chaos": "nowhere"},
                "containers": [{"name": "c", "image": "example.test/c:1"}]
            }
        })),
        _ => config_map(END, value, ""),
    }
}

/// The Lease as `holder` takes it, from whoever had it at `version`.
pub(super) fn lease(holder: &str, version: &str) -> Object {
    let mut object = Object(value!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": NAMESPACE},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}
    }));
    if !version.is_empty() {
        object.metadata_mut().insert("resourceVersion", version);
    }
    object
}

pub(super) const LEASE_RESOURCE: Resource = LEASES;

pub(super) fn epoch(lease: &Object) -> Option<u64> {
    lease.annotation(EPOCH_ANNOTATION)?.parse().ok()
}

/// Zero where there is none that can be read.
pub(super) fn version(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

/// What checkers look at.
pub(super) fn shown(resource: &str, object: &Object) -> ApiObject {
    let spec = object.spec();
    let value = match resource {
        SERVED => object.annotation(VALUE_ANNOTATION).unwrap_or_default(),
        CONFIGS => object.0["data"]["value"].str_or_empty(),
        EVICTED => standing(object),
        _ => spec["holderIdentity"].str_or_empty(),
    };
    let addresses = spec["clusterIPs"].items().iter().map(|address| address.str_or_empty());
    let ports = spec["ports"].items().iter().filter_map(|port| {
        let number = port["nodePort"].as_i64().filter(|number| *number > 0)?;
        Some(format!("{} {number}", port["protocol"].str_or_empty()))
    });
    ApiObject {
        resource: resource.to_owned(),
        name: format!("{}/{}", object.namespace(), object.name()),
        uid: object.uid().to_owned(),
        version: version(object.resource_version()),
        value: value.to_owned(),
        addresses: addresses
            .filter(|address| !address.is_empty() && *address != HEADLESS)
            .map(str::to_owned)
            .collect(),
        node_ports: ports.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_shows_its_addresses_and_ports() {
        let mut object = service("a", "1.2", true);
        object.metadata_mut().insert("resourceVersion", "17");
        let spec = object.0.make(&["spec"]);
        spec.insert("clusterIPs", value!(["10.0.0.7"]));
        spec.insert("ports", value!([{"port": 80, "protocol": "TCP", "nodePort": 30_001}, {"port": 81}]));
        let shown = shown(SERVED, &object);
        assert_eq!((shown.name.as_str(), shown.value.as_str(), shown.version), ("default/a", "1.2", 17));
        assert_eq!(shown.addresses, ["10.0.0.7"]);
        assert_eq!(shown.node_ports, ["TCP 30001"]);
    }
}
