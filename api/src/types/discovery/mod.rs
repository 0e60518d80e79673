//! `discovery.k8s.io/v1`: EndpointSlice.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::container::PROTOCOLS;
use crate::types::fields::{Fields, Fill, immutable, invalid_each, required_one_of, same};
use crate::types::format;
use crate::types::meta::label_selector::{validate_label_name, validate_labels};
use crate::types::meta::object_meta::{self, Scope};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const ZONE_HINTS_MAX: usize = 8;

pub fn default(slice: &mut Value) {
    slice.each("ports", |p| {
        p.fill_absent("name", "");
        p.fill_absent("protocol", "TCP");
    });
}

pub fn validate(slice: &Value, errs: &mut ErrorList) {
    validate_against(slice, None, errs);
}

/// Endpoints that an update leaves as they are were accepted before.
fn validate_against(slice: &Value, old: Option<&Value>, errs: &mut ErrorList) {
    object_meta::validate(&slice["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let kind = slice.text("addressType");
    required_one_of(errs, &Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    validate_ports(slice.list("ports"), errs);
    if old.is_none_or(|o| !same(&o["endpoints"], &slice["endpoints"])) {
        validate_endpoints(slice.list("endpoints"), kind, errs);
    }
}

fn validate_ports(ports: &[Value], errs: &mut ErrorList) {
    let path = Path::new("ports");
    if ports.len() > PORTS_MAX {
        errs.push(FieldError::too_many(&path, ports.len(), PORTS_MAX));
        return;
    }
    let mut names = BTreeSet::new();
    for (i, p) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = p.text("name");
        if !name.is_empty() {
            invalid_each(errs, &at.child("name"), name, format::dns_label(name));
        }
        if !names.insert(name) {
            errs.push(FieldError::duplicate(&at.child("name"), name));
        }
        required_one_of(errs, &at.child("protocol"), p.text("protocol"), PROTOCOLS);
        if let Some(protocol) = p.opt_text("appProtocol") {
            validate_label_name(protocol, &at.child("appProtocol"), errs);
        }
    }
}

fn validate_endpoints(endpoints: &[Value], kind: &str, errs: &mut ErrorList) {
    let path = Path::new("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errs.push(FieldError::too_many(&path, endpoints.len(), ENDPOINTS_MAX));
        return;
    }
    for (i, e) in endpoints.iter().enumerate() {
        let at = path.index(i);
        let (addresses, at_addresses) = (e.list("addresses"), at.child("addresses"));
        if addresses.is_empty() {
            errs.push(FieldError::required(&at_addresses, "must contain at least 1 address"));
        }
        if addresses.len() > ADDRESSES_MAX {
            errs.push(FieldError::too_many(&at_addresses, addresses.len(), ADDRESSES_MAX));
        }
        for (j, a) in addresses.iter().enumerate() {
            validate_address(a.str_or_empty(), kind, &at_addresses, j, errs);
        }
        if let Some(node) = e.opt_text("nodeName") {
            invalid_each(errs, &at.child("nodeName"), node, format::dns_subdomain(node));
        }
        let topology = at.child("deprecatedTopology");
        let labels = e.pairs("deprecatedTopology");
        if labels.len() > TOPOLOGY_LABELS_MAX {
            errs.push(FieldError::too_many(&topology, labels.len(), TOPOLOGY_LABELS_MAX));
        }
        validate_labels(&e["deprecatedTopology"], &topology, errs);
        if let Some(host) = e.opt_text("hostname") {
            invalid_each(errs, &at.child("hostname"), host, format::dns_label(host));
        }
        validate_hints(&e["hints"], &at.child("hints"), errs);
    }
}

/// The wrong family is reported at the list, the rest at the element.
fn validate_address(address: &str, kind: &str, list: &Path<'_>, i: usize, errs: &mut ErrorList) {
    let at = list.index(i);
    match kind {
        "IPv4" | "IPv6" => {
            match format::parse_ip(address) {
                None => errs.push(FieldError::invalid(&at, address, format::INVALID_IP)),
                Some(ip) if ip.is_ipv6() != (kind == "IPv6") => {
                    errs.push(FieldError::invalid(list, address, format!("must be an {kind} address")));
                }
                Some(_) => {}
            }
            invalid_each(errs, &at, address, format::non_special_ip(address));
        }
        "FQDN" => {
            let name = address.strip_suffix('.').unwrap_or(address);
            let messages = format::dns_subdomain(name);
            if name.is_empty() {
                errs.push(FieldError::required(&at, ""));
            } else if !messages.is_empty() {
                errs.push(FieldError::invalid(&at, name, messages.join(",")));
            } else if !name.contains('.') {
                errs.push(FieldError::invalid(
                    &at,
                    name,
                    "should be a domain with at least two segments separated by dots",
                ));
            }
        }
        _ => {}
    }
}

fn validate_hints(hints: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for (field, check) in
        [("forZones", format::label_key as fn(&str) -> format::Messages), ("forNodes", format::dns_subdomain)]
    {
        let (list, at) = (hints.list(field), path.child(field));
        if list.len() > ZONE_HINTS_MAX {
            errs.push(FieldError::too_many(&at, list.len(), ZONE_HINTS_MAX));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (i, hint) in list.iter().enumerate() {
            let at_index = at.index(i);
            let (name, at) = (hint.text("name"), at_index.child("name"));
            if !seen.insert(name) {
                errs.push(FieldError::duplicate(&at, name));
            }
            invalid_each(errs, &at, name, check(name));
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    validate_against(new, Some(old), errs);
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    immutable(errs, &Path::new("addressType"), &new["addressType"], &old["addressType"]);
}
