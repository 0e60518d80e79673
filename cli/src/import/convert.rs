//! What our servers keep in another form than upstream's: the addresses and ports of Services,
//! each under a key of its own.

use std::collections::HashSet;

use trireme_api::{Value, load, normal, schema, value};

/// Keys that go with a Service: its node ports, and those of its addresses that the source has no
/// IPAddress of (clusters before 1.33 have none).
pub(super) fn beside_service(service: &Value, known: &HashSet<String>) -> Vec<(String, Vec<u8>)> {
    let metadata = &service["metadata"];
    let owner = format!("{}/{}", metadata["namespace"].str_or_empty(), metadata["name"].str_or_empty());
    let ports = ports(service).into_iter();
    let mut beside: Vec<_> = ports
        .map(|port| (format!("/registry/ranges/servicenodeports/{port}"), owner.clone().into_bytes()))
        .collect();
    for address in addresses(service).into_iter().filter(|address| !known.contains(address)) {
        beside.push((format!("/registry/ipaddresses/{address}"), ip_address(&address, service)));
    }
    beside
}

/// The addresses a Service holds.
pub(super) fn addresses(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    if spec["type"] == *"ExternalName" {
        return Vec::new();
    }
    let listed = spec["clusterIPs"].items().iter().filter_map(Value::as_str);
    let mut found: Vec<String> = listed.chain(spec["clusterIP"].as_str()).map(str::to_owned).collect();
    found.retain(|address| !matches!(address.as_str(), "" | "None"));
    found.dedup();
    found.truncate(spec["clusterIPs"].items().len().max(1));
    found
}

fn ports(service: &Value) -> Vec<i64> {
    let spec = &service["spec"];
    let mut ports: Vec<i64> =
        spec["ports"].items().iter().filter_map(|port| port["nodePort"].as_i64()).collect();
    ports.extend(spec["healthCheckNodePort"].as_i64());
    ports.retain(|port| *port > 0);
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn ip_address(address: &str, service: &Value) -> Vec<u8> {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let metadata = &service["metadata"];
    let mut object = value!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": metadata["creationTimestamp"].str_or_empty(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "name": metadata["name"].str_or_empty(),
            "namespace": metadata["namespace"].str_or_empty(),
            "resource": "services",
        }},
    });
    let schema = schema::builtin();
    if let Some(message) = schema.find("networking/v1.IPAddress") {
        normal::normalize(schema, message, &mut object);
    }
    load::store_bytes(&object)
}
