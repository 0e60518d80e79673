//! Takes and gives back.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use trireme_api::field_error::{FieldError, Path};
use trireme_api::types::core::service_ips;
use trireme_api::{Value, value};
use trireme_store::planted::{self, Bug};
use trireme_store::{Compare, DeleteRequest, KeyRange, Op, PutRequest, Revision};

use crate::cache::Filter;
use crate::registry::Resource;
use crate::registry::storage::Extra;
use crate::server::{Core, row};
use crate::status::{ApiError, Result};
use crate::{clock, limits, wire};

/// What goes with the Service's write.
#[derive(Default)]
pub(crate) struct Allocation {
    pub(crate) extra: Extra,
}

fn is_service(resource: &Resource) -> bool {
    resource.row.plural == "services" && resource.row.group.is_empty()
}

fn address_key(address: &str) -> String {
    format!("/registry/ipaddresses/{address}")
}

fn port_key(port: i64) -> String {
    format!("/registry/ranges/servicenodeports/{port}")
}

/// Gives a Service the addresses and ports it needs, or checks those it names.
pub(crate) async fn allocate(
    core: &Core,
    resource: &Resource,
    new: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Allocation> {
    let mut out = Allocation::default();
    if !is_service(resource) || resource.sub.is_some() {
        return Ok(out);
    }
    let mut errors = Vec::new();
    let (old_addresses, old_ports) = old.map(|o| (addresses(o), ports(o))).unwrap_or_default();
    errors.extend(service_ips::init_families(new, &["IPv4"]));
    cluster_ip(core, new, &mut errors)?;
    node_ports(core, new, &old_ports, &mut errors)?;
    let taken = taken_addresses(core);
    let (new_addresses, new_ports) = (addresses(new), ports(new));
    let path = Path::new("spec");
    for address in new_addresses.iter().filter(|a| !old_addresses.contains(a)) {
        if planted::is(Bug::AddressTwice) {
            continue;
        }
        if taken.contains(address.as_str()) {
            let shown: Vec<Value> = new_addresses.iter().map(|a| a.as_str().into()).collect();
            let field = path.child("clusterIPs");
            errors.push(FieldError::invalid(
                &field,
                Value::Array(shown),
                format!("failed to allocate IP {address}: provided IP is already allocated"),
            ));
        }
        out.extra.compare.push(Compare::mod_revision(address_key(address), Revision(0)));
        out.extra.ops.push(Op::Put(PutRequest::new(address_key(address), ip_address(address, new))));
    }
    for port in new_ports.iter().filter(|p| !old_ports.contains(p)) {
        if planted::is(Bug::PortTwice) {
            continue;
        }
        out.extra.compare.push(Compare::mod_revision(port_key(*port), Revision(0)));
        let owner = format!(
            "{}/{}",
            new["metadata"]["namespace"].str_or_empty(),
            new["metadata"]["name"].str_or_empty()
        );
        out.extra.ops.push(Op::Put(PutRequest::new(port_key(*port), owner)));
    }
    for gone in old_addresses.iter().filter(|a| !new_addresses.contains(a)) {
        out.extra.ops.push(delete(address_key(gone)));
    }
    for gone in old_ports.iter().filter(|p| !new_ports.contains(p)) {
        out.extra.ops.push(delete(port_key(*gone)));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource.hub_kind(), new["metadata"]["name"].str_or_empty(), &errors));
    }
    if dry_run {
        out.extra = Extra::default();
    }
    wire::normalize(resource.row.hub(), new);
    Ok(out)
}

/// What the deletion of a Service gives back.
pub(crate) fn release_ops(resource: &Resource, old: &Value) -> Vec<Op> {
    if !is_service(resource) {
        return Vec::new();
    }
    let addresses = addresses(old).into_iter().map(|a| address_key(&a));
    addresses.chain(ports(old).into_iter().map(port_key)).map(delete).collect()
}

fn delete(key: String) -> Op {
    Op::Delete(DeleteRequest { range: KeyRange::key(key), prev_kv: false })
}

fn needs_address(service: &Value) -> bool {
    matches!(service["spec"]["type"].str_or_empty(), "ClusterIP" | "NodePort" | "LoadBalancer" | "")
        && service["spec"]["clusterIP"] != *"None"
}

/// The addresses a Service holds.
fn addresses(service: &Value) -> Vec<String> {
    if service["spec"]["type"] == *"ExternalName" {
        return Vec::new();
    }
    let mut out: Vec<String> = service["spec"]["clusterIPs"]
        .items()
        .iter()
        .filter_map(Value::as_str)
        .filter(|a| !matches!(*a, "" | "None"))
        .map(str::to_owned)
        .collect();
    let first = service["spec"]["clusterIP"].str_or_empty();
    if out.is_empty() && !matches!(first, "" | "None") {
        out.push(first.to_owned());
    }
    out
}

/// The node ports a Service holds, each once.
fn ports(service: &Value) -> Vec<i64> {
    let mut out: Vec<i64> =
        service["spec"]["ports"].items().iter().filter_map(|p| p["nodePort"].as_i64()).collect();
    out.extend(service["spec"]["healthCheckNodePort"].as_i64());
    out.retain(|p| *p > 0);
    out.sort_unstable();
    out.dedup();
    out
}

fn taken_addresses(core: &Core) -> HashSet<String> {
    core.kind_cache("networking.k8s.io", "ipaddresses")
        .map(|kind| kind.all().iter().map(|e| e.name().to_owned()).collect())
        .unwrap_or_default()
}

fn cluster_ip(core: &Core, new: &mut Value, errors: &mut Vec<FieldError>) -> Result<()> {
    if !needs_address(new) {
        return Ok(());
    }
    let named = addresses(new);
    if let Some(address) =
        named.iter().find(|a| a.parse::<Ipv4Addr>().is_ok_and(|ip| !core.service_range.holds(ip)))
    {
        let path = Path::new("spec");
        let field = path.child("clusterIPs");
        let shown: Vec<Value> = named.iter().map(|a| a.as_str().into()).collect();
        errors.push(FieldError::invalid(
            &field,
            Value::Array(shown),
            format!(
                "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of \
                 valid IPs is {}",
                core.service_range.cidr()
            ),
        ));
    }
    if !named.is_empty() {
        return Ok(());
    }
    let taken = taken_addresses(core);
    let free = (0..limits::ALLOCATION_ATTEMPTS_MAX)
        .map(|_| core.service_range.random().to_string())
        .find(|a| !taken.contains(a))
        .ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?;
    let spec = new.make(&["spec"]);
    spec.set("clusterIP", free.as_str());
    spec.set("clusterIPs", vec![free]);
    Ok(())
}

fn node_ports(core: &Core, new: &mut Value, old_ports: &[i64], errors: &mut Vec<FieldError>) -> Result<()> {
    let spec = &new["spec"];
    let kind = spec["type"].str_or_empty().to_owned();
    let balanced = kind == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != Value::Bool(false);
    let wanted = kind == "NodePort" || balanced;
    let health = kind == "LoadBalancer"
        && spec["externalTrafficPolicy"] == *"Local"
        && spec["healthCheckNodePort"].as_i64().unwrap_or(0) == 0;
    if !wanted && !health && ports(new).is_empty() {
        return Ok(());
    }
    let own = (
        new["metadata"]["namespace"].str_or_empty().to_owned(),
        new["metadata"]["name"].str_or_empty().to_owned(),
    );
    let mut taken: HashSet<i64> = HashSet::new();
    if let Some(row) = row("", "services") {
        for entry in core.cache.kind(row).select(&Filter::namespace("")) {
            if (entry.namespace(), entry.name()) != (own.0.as_str(), own.1.as_str())
                && !planted::is(Bug::PortTwice)
            {
                taken.extend(ports(&entry.object()));
            }
        }
    }
    let range = &core.service_range;
    let path = Path::new("spec");
    let list = path.child("ports");
    // One port may carry TCP and UDP of one Service under one number.
    let mut given: Vec<(i64, String)> = Vec::new();
    let mut held: HashSet<i64> = old_ports.iter().copied().collect();
    let fresh = |taken: &HashSet<i64>, held: &HashSet<i64>| -> Result<i64> {
        (0..limits::ALLOCATION_ATTEMPTS_MAX)
            .map(|_| i64::from(range.random_port()))
            .find(|p| !taken.contains(p) && !held.contains(p))
            .ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))
    };
    let count = new["spec"]["ports"].items().len();
    for i in 0..count {
        let port = &new["spec"]["ports"][i];
        let protocol = port["protocol"].str_or_empty().to_owned();
        let number = port["port"].as_i64().unwrap_or(0);
        match port["nodePort"].as_i64().unwrap_or(0) {
            0 if wanted => {
                let other = given.iter().enumerate().find(|(j, (_, p))| {
                    *p != protocol && new["spec"]["ports"][*j]["port"].as_i64() == Some(number)
                });
                let chosen = match other {
                    Some((_, (port, _))) => *port,
                    None => fresh(&taken, &held)?,
                };
                held.insert(chosen);
                given.push((chosen, protocol));
                if let Some(port) = new.at_mut(&["spec", "ports"]).and_then(|p| p.items_mut().get_mut(i)) {
                    port.make(&[]).set("nodePort", chosen);
                }
            }
            0 => given.push((0, protocol)),
            asked => {
                let item = list.index(i);
                let field = item.child("nodePort");
                if !old_ports.contains(&asked) {
                    if !u16::try_from(asked).is_ok_and(|p| range.node_ports.contains(&p)) {
                        errors.push(FieldError::invalid(
                            &field,
                            asked,
                            format!(
                                "provided port is not in the valid range. The range of valid ports is {}",
                                range.port_text()
                            ),
                        ));
                    } else if taken.contains(&asked) {
                        errors.push(FieldError::invalid(&field, asked, "provided port is already allocated"));
                    }
                }
                held.insert(asked);
                given.push((asked, protocol));
            }
        }
    }
    if health {
        let chosen = fresh(&taken, &held)?;
        new.make(&["spec"]).set("healthCheckNodePort", chosen);
    }
    Ok(())
}

/// The IPAddress object of an address that a Service holds.
fn ip_address(address: &str, service: &Value) -> Vec<u8> {
    let mut object = value!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": clock::now(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "name": service["metadata"]["name"].str_or_empty(),
            "namespace": service["metadata"]["namespace"].str_or_empty(),
            "resource": "services",
        }},
    });
    if let Some(kind) = row("networking.k8s.io", "ipaddresses") {
        wire::normalize(kind.hub(), &mut object);
    }
    wire::store_bytes(&object)
}
