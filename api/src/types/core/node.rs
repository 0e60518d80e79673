//! `core/v1.Node`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::resources::{default_list, quantity, validate_amount};
use crate::types::core::toleration::validate_taints;
use crate::types::fields::{Fields, Fill, invalid_each, struct_shown};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

pub fn default(node: &mut Value) {
    default_pod_cidrs(node);
    node.within("status", |status| {
        status.within("capacity", default_list);
        status.within("allocatable", default_list);
        if let (Some(capacity), false) = (status.opt("capacity").cloned(), status.has("allocatable")) {
            status.put("allocatable", capacity);
        }
    });
}

/// `podCIDR` is the first of `podCIDRs`; the one follows the other where only one is sent.
fn default_pod_cidrs(node: &mut Value) {
    node.within("spec", |spec| {
        let first = spec.text("podCIDR").to_owned();
        if !first.is_empty() && spec.list("podCIDRs").is_empty() {
            spec.put("podCIDRs", vec![first]);
        } else if let Some(first) = spec.list("podCIDRs").first().map(|c| c.str_or_empty().to_owned()) {
            spec.put("podCIDR", first);
        }
    });
}

pub fn validate(node: &Value, errs: &mut ErrorList) {
    object_meta::validate(&node["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, metadata) = (&node["spec"], Path::new("metadata"));
    // Upstream reports taints under metadata.
    validate_taints(spec.list("taints"), &metadata.child("taints"), errs);
    validate_resources(node, errs);
    let at_spec = Path::new("spec");
    let path = at_spec.child("podCIDRs");
    let cidrs = spec.list("podCIDRs");
    for (i, c) in cidrs.iter().enumerate() {
        invalid_each(errs, &path.index(i), c.str_or_empty(), format::cidr(c.str_or_empty()));
    }
    if cidrs.len() < 2 {
        return;
    }
    let v6 = cidrs
        .iter()
        .filter(|c| format::parse_cidr(c.str_or_empty()).is_some_and(|(ip, _)| ip.is_ipv6()))
        .count();
    if v6 == 0 || v6 == cidrs.len() || cidrs.len() > 2 {
        errs.push(FieldError::invalid(
            &path,
            spec["podCIDRs"].clone(),
            "may specify no more than one CIDR for each IP family",
        ));
    }
    let mut seen = BTreeSet::new();
    for (i, c) in cidrs.iter().enumerate() {
        if !seen.insert(c.str_or_empty()) {
            errs.push(FieldError::duplicate(&path.index(i), c.clone()));
        }
    }
}

fn validate_resources(node: &Value, errs: &mut ErrorList) {
    let path = Path::new("status");
    for list in ["capacity", "allocatable"] {
        let at = path.child(list);
        for (name, value) in node["status"].pairs(list) {
            validate_amount(name, &quantity(value), &at.child(name), errs);
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_resources(new, errs);
    let status = Path::new("status");
    let path = status.child("addresses");
    let mut seen = BTreeSet::new();
    for (i, a) in new["status"].list("addresses").iter().enumerate() {
        let (kind, address) = (a.text("type"), a.text("address"));
        if !seen.insert((kind, address)) {
            let shown = struct_shown([("Type", kind.into()), ("Address", address.into())]);
            errs.push(FieldError::duplicate(&path.index(i), shown));
        }
    }
    let (now, before, spec) = (&new["spec"], &old["spec"], Path::new("spec"));
    let cidrs = before.list("podCIDRs");
    let new_cidrs = now.list("podCIDRs");
    if !cidrs.is_empty() {
        let changed = if cidrs.len() == new_cidrs.len() {
            cidrs.iter().zip(new_cidrs).filter(|(a, b)| a != b).count()
        } else {
            1
        };
        for _ in 0..changed {
            errs.push(FieldError::forbidden(
                &spec.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
    }
    let provider = before.text("providerID");
    if !provider.is_empty() && provider != now.text("providerID") {
        errs.push(FieldError::forbidden(
            &spec.child("providerID"),
            "node updates may not change providerID except from \"\" to valid",
        ));
    }
    let metadata = Path::new("metadata");
    validate_taints(now.list("taints"), &metadata.child("taints"), errs);
    if now.text("externalID") != before.text("externalID") {
        errs.push(FieldError::forbidden(&spec.child("externalID"), "may not be updated"));
    }
}
