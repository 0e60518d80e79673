//! `core/v1.Endpoints`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::container::PROTOCOLS;
use crate::types::fields::{Fields, Fill, invalid_each, required_one_of};
use crate::types::format;
use crate::types::meta::label_selector::validate_label_name;
use crate::types::meta::object_meta::{self, Scope};

pub fn default(endpoints: &mut Value) {
    endpoints.each("subsets", |s| s.each("ports", |p| p.fill_zero("protocol", "TCP")));
}

pub fn validate(endpoints: &Value, errs: &mut ErrorList) {
    object_meta::validate(&endpoints["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let path = Path::new("subsets");
    for (i, subset) in endpoints.list("subsets").iter().enumerate() {
        let at = path.index(i);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|l| subset.list(l).is_empty()) {
            errs.push(FieldError::required(&at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in lists {
            let at = at.child(list);
            for (j, a) in subset.list(list).iter().enumerate() {
                validate_address(a, &at.index(j), errs);
            }
        }
        let ports = at.child("ports");
        for (j, p) in subset.list("ports").iter().enumerate() {
            validate_port(p, subset.list("ports").len() > 1, &ports.index(j), errs);
        }
    }
}

fn validate_address(a: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (ip, hostname) = (a.text("ip"), a.text("hostname"));
    invalid_each(errs, &path.child("ip"), ip, format::ip(ip));
    if !hostname.is_empty() {
        invalid_each(errs, &path.child("hostname"), hostname, format::dns_label(hostname));
    }
    if let Some(node) = a.opt_text("nodeName") {
        invalid_each(errs, &path.child("nodeName"), node, format::dns_subdomain(node));
    }
    invalid_each(errs, &path.child("ip"), ip, format::non_special_ip(ip));
}

fn validate_port(p: &Value, name_required: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let name = p.text("name");
    if !name.is_empty() {
        invalid_each(errs, &path.child("name"), name, format::dns_label(name));
    } else if name_required {
        errs.push(FieldError::required(&path.child("name"), ""));
    }
    let port = p.int("port");
    errs.extend(
        format::port_number(port).into_iter().map(|m| FieldError::invalid(&path.child("port"), port, m)),
    );
    required_one_of(errs, &path.child("protocol"), p.text("protocol"), PROTOCOLS);
    if let Some(protocol) = p.opt_text("appProtocol") {
        validate_label_name(protocol, &path.child("appProtocol"), errs);
    }
}
