//! What may change in a pod through `status`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::pod_update::validate_annotation_update;
use crate::types::fields::{Fields, IMMUTABLE, invalid_each};
use crate::types::format;
use crate::types::meta::label_selector::validate_label_name;
use crate::types::meta::object_meta;

/// An update through `status`.
pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_annotation_update(new, old, errs);
    let (status, path) = (&new["status"], Path::new("status"));
    let at_meta = Path::new("metadata");
    let conditions = at_meta.child("conditions");
    for (i, c) in status.list("conditions").iter().enumerate() {
        if !matches!(c.text("type"), "PodScheduled" | "Ready" | "Initialized") {
            validate_label_name(c.text("type"), &conditions.index(i).child("Type"), errs);
        }
    }
    if new["spec"].text("nodeName") != old["spec"].text("nodeName") {
        errs.push(FieldError::forbidden(&path.child("nodeName"), "may not be changed directly"));
    }
    let nominated = status.text("nominatedNodeName");
    if nominated != old["status"].text("nominatedNodeName") && !nominated.is_empty() {
        invalid_each(errs, &path.child("nominatedNodeName"), nominated, format::dns_subdomain(nominated));
    }
    if status.text("qosClass") != old["status"].text("qosClass") {
        errs.push(FieldError::invalid(&path.child("qosClass"), status.text("qosClass"), IMMUTABLE));
    }
    for field in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        validate_state_transitions(new, old, field, &path, errs);
    }
    validate_claim_statuses(new, &path.child("resourceClaimStatuses"), errs);
    validate_addresses(status, "podIPs", &path, errs);
    let host_ips = status.list("hostIPs");
    if let Some(first) = host_ips.first() {
        if first.text("ip") != status.text("hostIP") {
            errs.push(FieldError::invalid(
                &path.child("hostIPs").index(0).child("ip"),
                first.text("ip"),
                "must be equal to `hostIP`",
            ));
        }
        validate_addresses(status, "hostIPs", &path, errs);
    }
}

/// A container that is not restarted stays terminated.
fn validate_state_transitions(
    new: &Value,
    old: &Value,
    field: &'static str,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let policy =
        if field == "ephemeralContainerStatuses" { "Never" } else { old["spec"].text("restartPolicy") };
    if policy == "Always" {
        return;
    }
    let restarts_itself = |name: &str| {
        ["containers", "initContainers"].iter().flat_map(|f| old["spec"].list(f)).any(|c| {
            c.text("name") == name && (c.has("restartPolicy") || !c.list("restartPolicyRules").is_empty())
        })
    };
    let at = path.child(field);
    for (i, before) in old["status"].list(field).iter().enumerate() {
        let Some(terminated) = before["state"].opt("terminated") else { continue };
        let name = before.text("name");
        if (terminated.int("exitCode") != 0 && policy == "OnFailure") || restarts_itself(name) {
            continue;
        }
        for now in new["status"].list(field).iter().filter(|s| s.text("name") == name) {
            if !now["state"].has("terminated") {
                errs.push(FieldError::forbidden(
                    &at.index(i).child("state"),
                    "may not be transitioned to non-terminated state",
                ));
            }
        }
    }
}

fn validate_claim_statuses(pod: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, s) in pod["status"].list("resourceClaimStatuses").iter().enumerate() {
        let at_index = path.index(i);
        let (name, at) = (s.text("name"), at_index.child("name"));
        if !pod["spec"].list("resourceClaims").iter().any(|c| c.text("name") == name) {
            errs.push(FieldError::invalid(
                &at,
                name,
                "must match the name of an entry in `spec.resourceClaims`",
            ));
        }
        if !seen.insert(name) {
            errs.push(FieldError::duplicate(&at, name));
        }
        if let Some(claim) = s.opt_text("resourceClaimName") {
            invalid_each(errs, &at, claim, format::dns_subdomain(claim));
        }
    }
}

/// One address per family.
fn validate_addresses(status: &Value, field: &'static str, path: &Path<'_>, errs: &mut ErrorList) {
    let (list, at) = (status.list(field), path.child(field));
    for (i, a) in list.iter().enumerate() {
        invalid_each(errs, &at.index(i), a.text("ip"), format::ip(a.text("ip")));
    }
    if list.len() < 2 {
        return;
    }
    let family = |a: &Value| format::parse_ip(a.text("ip")).map(|ip| ip.is_ipv6());
    let dual = list.iter().any(|a| family(a) == Some(false)) && list.iter().any(|a| family(a) == Some(true));
    if !dual || list.len() > 2 {
        errs.push(FieldError::invalid(
            &at,
            status[field].clone(),
            "may specify no more than one IP for each IP family",
        ));
    }
    let mut seen = BTreeSet::new();
    for (i, a) in list.iter().enumerate() {
        if !seen.insert(a.text("ip")) {
            errs.push(FieldError::duplicate(&at.index(i), a.clone()));
        }
    }
}
