//! `networking.k8s.io/v1.NetworkPolicy`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, invalid_each, one_of};
use crate::types::format;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

const TYPES: &[&str] = &["Ingress", "Egress"];

pub fn default(policy: &mut Value) {
    let spec = policy.message("spec");
    for field in ["ingress", "egress"] {
        spec.each(field, |rule| rule.each("ports", |p| p.fill_absent("protocol", "TCP")));
    }
    if spec.list("policyTypes").is_empty() {
        let count = if spec.list("egress").is_empty() { 1 } else { 2 };
        spec.put("policyTypes", TYPES[..count].to_vec());
    }
}

pub fn validate(policy: &Value, errs: &mut ErrorList) {
    object_meta::validate(&policy["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    label_selector::validate(&spec["podSelector"], &path.child("podSelector"), errs);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        let at = path.child(rules);
        for (i, rule) in spec.list(rules).iter().enumerate() {
            let at = at.index(i);
            let ports = at.child("ports");
            for (j, p) in rule.list("ports").iter().enumerate() {
                validate_port(p, &ports.index(j), errs);
            }
            let at = at.child(peers);
            for (j, peer) in rule.list(peers).iter().enumerate() {
                validate_peer(peer, &at.index(j), errs);
            }
        }
    }
    let (types, at) = (spec.list("policyTypes"), path.child("policyTypes"));
    if types.len() > TYPES.len() {
        errs.push(FieldError::invalid(
            &at,
            spec["policyTypes"].clone(),
            "may not specify more than two policyTypes",
        ));
        return;
    }
    for (i, kind) in types.iter().enumerate() {
        one_of(errs, &at.index(i), kind.str_or_empty(), TYPES);
    }
}

fn validate_port(p: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(protocol) = p.opt_text("protocol") {
        one_of(errs, &path.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let (at, at_end, end) = (path.child("port"), path.child("endPort"), p.opt_int("endPort"));
    let number = |value: i64, at: &Path<'_>, errs: &mut ErrorList| {
        errs.extend(format::port_number(value).into_iter().map(|m| FieldError::invalid(at, value, m)));
    };
    match (&p["port"], end) {
        (Value::Null, None) => {}
        (Value::Null, Some(end)) => {
            errs.push(FieldError::invalid(&at_end, end, "may not be specified when `port` is not specified"));
        }
        (Value::String(name), end) => {
            if let Some(end) = end {
                errs.push(FieldError::invalid(
                    &at_end,
                    end,
                    "may not be specified when `port` is non-numeric",
                ));
            }
            invalid_each(errs, &at, name, format::port_name(name));
        }
        (port, end) => {
            let port = port.as_i64().unwrap_or(0);
            if let Some(end) = end {
                if end < port {
                    errs.push(FieldError::invalid(&at_end, end, "must be greater than or equal to `port`"));
                }
                number(end, &at_end, errs);
            }
            number(port, &at, errs);
        }
    }
}

fn validate_peer(peer: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.opt(field) {
            count += 1;
            label_selector::validate(selector, &path.child(field), errs);
        }
    }
    if let Some(block) = peer.opt("ipBlock") {
        count += 1;
        validate_block(block, &path.child("ipBlock"), errs);
    }
    if count == 0 {
        errs.push(FieldError::required(path, "must specify a peer"));
    } else if count > 1 && peer.has("ipBlock") {
        errs.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
    }
}

fn validate_block(block: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let cidr = block.text("cidr");
    if cidr.is_empty() {
        errs.push(FieldError::required(&path.child("cidr"), ""));
        return;
    }
    invalid_each(errs, &path.child("cidr"), cidr, format::cidr(cidr));
    let Some(outer) = format::parse_cidr(cidr) else { return };
    let at = path.child("except");
    for (i, except) in block.list("except").iter().enumerate() {
        let (text, at) = (except.str_or_empty(), at.index(i));
        match format::parse_cidr(text) {
            None => errs.push(FieldError::invalid(&at, text, format::INVALID_CIDR)),
            Some(inner) if !is_strict_subset(inner, outer) => {
                errs.push(FieldError::invalid(&at, text, "must be a strict subset of `cidr`"));
            }
            Some(_) => {}
        }
    }
}

fn is_strict_subset(inner: (std::net::IpAddr, u8), outer: (std::net::IpAddr, u8)) -> bool {
    use std::net::IpAddr;
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
        IpAddr::V6(v6) => (u128::from(v6), false),
    };
    let ((a, a_v4), (b, b_v4)) = (bits(inner.0), bits(outer.0));
    let mask = if outer.1 == 0 { 0 } else { u128::MAX << (128 - u32::from(outer.1)) };
    a_v4 == b_v4 && inner.1 > outer.1 && a & mask == b & mask
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate(new, errs);
}
