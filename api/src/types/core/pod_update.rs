//! What may change in a pod: by an update, through `status`, `ephemeralcontainers`, `resize` and
//! `binding`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::pod::{APP_ARMOR_CONTAINER, MIRROR, validate_meta_and_spec, validate_pod_annotations};
use crate::types::core::{qos, resources, toleration};
use crate::types::fields::{Fields, Fill, IMMUTABLE, invalid_each, same};
use crate::types::format;
use crate::types::meta::label_selector::validate_label_name;
use crate::types::meta::object_meta;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const ONLY_CPU_AND_MEMORY: &str = "only cpu and memory resources are mutable";

fn validate_annotation_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    let at_meta = Path::new("metadata");
    let path = at_meta.child("annotations");
    let (now, before) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    let mut forbid = |key: &str, app_armor: &str, mirror: &str| {
        if key.starts_with(APP_ARMOR_CONTAINER) {
            errs.push(FieldError::forbidden(&path.key(key), app_armor));
        }
        if key == MIRROR {
            errs.push(FieldError::forbidden(&path.key(key), mirror));
        }
    };
    for (key, _) in before.members().iter().filter(|(k, v)| now.get(k) != Some(v)) {
        forbid(key, "may not remove or update AppArmor annotations", "may not remove or update mirror pod annotation");
    }
    for (key, _) in now.members().iter().filter(|(k, _)| before.get(k).is_none()) {
        forbid(key, "may not add AppArmor annotations", "may not add mirror pod annotation");
    }
    validate_pod_annotations(&new["metadata"], &new["spec"], &path, errs);
}

/// An update of the main resource.
pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_meta_and_spec(new, errs);
    validate_annotation_update(new, old, errs);
    let path = Path::new("spec");
    let (now, before) = (&new["spec"], &old["spec"]);
    for field in ["containers", "initContainers"] {
        let at = path.child(field);
        if now.list(field).len() != before.list(field).len() {
            errs.push(FieldError::forbidden(&at, "pod updates may not add or remove containers"));
            return;
        }
        for (i, c) in now.list(field).iter().enumerate() {
            if c.text("image").is_empty() {
                errs.push(FieldError::required(&at.index(i).child("image"), ""));
            }
            super::container::validate_in_pod(c, &at.index(i), errs);
        }
    }
    if !validate_deadline_update(now, before, &path, errs) {
        return;
    }
    toleration::validate_only_added(
        now.list("tolerations"),
        before.list("tolerations"),
        &path.child("tolerations"),
        errs,
    );
    let gates = path.child("schedulingGates");
    for (i, gate) in now.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !before.list("schedulingGates").iter().any(|g| g.text("name") == name) {
            errs.push(FieldError::forbidden(
                &gates.index(i).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            ));
        }
    }
    validate_rest_unchanged(now, before, &path, errs);
}

/// A deadline may be set, or come nearer. False: nothing further is checked.
fn validate_deadline_update(now: &Value, before: &Value, path: &Path<'_>, errs: &mut ErrorList) -> bool {
    let at = path.child("activeDeadlineSeconds");
    match (now.opt_int("activeDeadlineSeconds"), before.opt_int("activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errs.push(FieldError::invalid(&at, new, format::between(0, i32::MAX.into())));
            return false;
        }
        (Some(new), Some(old)) if old < new => {
            errs.push(FieldError::invalid(&at, new, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => errs.push(FieldError::invalid(
            &at,
            Value::Null,
            "must not update from a positive integer to nil value",
        )),
        _ => {}
    }
    true
}

fn copy_field(to: &mut Value, from: &Value, field: &'static str) {
    match from.opt(field) {
        Some(v) => to.put(field, v.clone()),
        None => {
            to.drop_field(field);
        }
    }
}

/// With everything that may change put back, nothing differs.
fn validate_rest_unchanged(now: &Value, before: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut munged = now.clone();
    for field in ["containers", "initContainers"] {
        if let Some(list) = munged.get_mut(field) {
            for (c, old) in list.items_mut().iter_mut().zip(before.list(field)) {
                copy_field(c, old, "image");
            }
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy_field(&mut munged, before, field);
    }
    if before.int("terminationGracePeriodSeconds") < 0 && now.int("terminationGracePeriodSeconds") == 1 {
        copy_field(&mut munged, before, "terminationGracePeriodSeconds");
    }
    if !before.list("schedulingGates").is_empty() {
        validate_gated(now, before, path, errs);
        copy_field(&mut munged, before, "nodeSelector");
        let mut affinity = munged["affinity"].clone();
        copy_field(&mut affinity, &before["affinity"], "nodeAffinity");
        munged.put("affinity", affinity);
    }
    if !same(&munged, before) {
        let diff = crate::types::diff::between("core/v1.PodSpec", before, &munged);
        errs.push(FieldError::forbidden(path, format!("{UPDATABLE}\n{diff}")));
    }
}

/// Before a gated pod is scheduled its constraints may be narrowed.
fn validate_gated(now: &Value, before: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let selector = &now["nodeSelector"];
    if before.pairs("nodeSelector").iter().any(|(k, v)| selector.get(k) != Some(v)) {
        errs.push(FieldError::invalid(
            &path.child("nodeSelector"),
            crate::types::fields::sorted(selector),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |spec: &Value| spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"].clone();
    let (new_terms, old_terms) = (terms(now), terms(before));
    if old_terms.items().is_empty() {
        return;
    }
    let affinity = path.child("affinity");
    let node = affinity.child("nodeAffinity");
    let required = node.child(REQUIRED);
    let at = required.child("nodeSelectorTerms");
    if new_terms.items().len() != old_terms.items().len() {
        errs.push(FieldError::invalid(
            &at,
            new_terms,
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        ));
        return;
    }
    for (i, (new, old)) in new_terms.items().iter().zip(old_terms.items()).enumerate() {
        let kept = |field: &str| {
            let (n, o) = (new.list(field), old.list(field));
            n.len() >= o.len() && o.iter().zip(n).all(|(o, n)| same(o, n))
        };
        let was_empty = old.list("matchExpressions").is_empty() && old.list("matchFields").is_empty();
        let is_empty = new.list("matchExpressions").is_empty() && new.list("matchFields").is_empty();
        if (was_empty && !is_empty) || !kept("matchExpressions") || !kept("matchFields") {
            errs.push(FieldError::invalid(
                &at.index(i),
                new.clone(),
                "only additions are allowed (no mutations or deletions)",
            ));
        }
    }
}

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
fn validate_state_transitions(new: &Value, old: &Value, field: &'static str, path: &Path<'_>, errs: &mut ErrorList) {
    let policy = if field == "ephemeralContainerStatuses" { "Never" } else { old["spec"].text("restartPolicy") };
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
            errs.push(FieldError::invalid(&at, name, "must match the name of an entry in `spec.resourceClaims`"));
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

/// Takes ephemeral containers from `new`, all else from `old`.
pub fn prepare_ephemeral(new: &mut Value, old: &Value) {
    let containers = new["spec"]["ephemeralContainers"].clone();
    let metadata = new["metadata"].clone();
    *new = old.clone();
    new.put("metadata", metadata);
    if containers.is_null() {
        new.message("spec").drop_field("ephemeralContainers");
    } else {
        new.message("spec").put("ephemeralContainers", containers);
    }
}

/// Takes resources and resize policies of containers from `new`, all else from `old`. Where the
/// containers are not the same, nothing is put back and validation says so.
pub fn prepare_resize(new: &mut Value, old: &Value) {
    let same_names = |field: &str| {
        let (n, o) = (new["spec"].list(field), old["spec"].list(field));
        n.len() == o.len() && n.iter().zip(o).all(|(n, o)| n.text("name") == o.text("name"))
    };
    if !same_names("containers") || !same_names("initContainers") {
        return;
    }
    let given = new["spec"].clone();
    let metadata = new["metadata"].clone();
    *new = old.clone();
    new.put("metadata", metadata);
    for field in ["containers", "initContainers"] {
        let mut from = given.list(field).iter();
        new.message("spec").each(field, |c| {
            if let Some(given) = from.next() {
                copy_field(c, given, "resources");
                copy_field(c, given, "resizePolicy");
            }
        });
    }
    copy_field(new.message("spec"), &given, "resources");
}

/// An update through `ephemeralcontainers`: those that are there stay as they are.
pub fn validate_ephemeral_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_meta_and_spec(new, errs);
    validate_annotation_update(new, old, errs);
    if old["metadata"]["annotations"].has(MIRROR) {
        errs.clear();
        errs.push(FieldError::forbidden(&Path::new(""), "static pods do not support ephemeral containers"));
        return;
    }
    let at = Path::new("spec");
    let path = at.child("ephemeralContainers");
    for before in old["spec"].list("ephemeralContainers") {
        let name = before.text("name");
        match new["spec"].list("ephemeralContainers").iter().find(|c| c.text("name") == name) {
            None => errs.push(FieldError::forbidden(
                &path,
                format!("existing ephemeral containers {name:?} may not be removed\n"),
            )),
            Some(now) if !same(now, before) => {
                let diff = crate::types::diff::between("core/v1.EphemeralContainer", before, now);
                errs.push(FieldError::forbidden(
                    &path,
                    format!("existing ephemeral containers {name:?} may not be changed\n{diff}"),
                ));
            }
            Some(_) => {}
        }
    }
}

/// An update through `resize`: cpu and memory of containers and sidecars.
pub fn validate_resize(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_meta_and_spec(new, errs);
    let refuse = |errs: &mut ErrorList, message: &str| {
        errs.clear();
        errs.push(FieldError::forbidden(&Path::new(""), message));
    };
    if old["metadata"]["annotations"].has(MIRROR) {
        return refuse(errs, "static pods cannot be resized");
    }
    if old["spec"]["os"].text("name") == "windows" {
        return refuse(errs, "windows pods cannot be resized");
    }
    let path = Path::new("spec");
    let old_class = match old["status"].text("qosClass") {
        "" => qos::class(&old["spec"]),
        class => class,
    };
    if old_class != qos::class(&new["spec"]) {
        errs.push(FieldError::invalid(
            &path,
            new["status"].text("qosClass"),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    let unsupported = old["status"]
        .list("containerStatuses")
        .iter()
        .find(|c| c["state"].has("running"))
        .is_some_and(|c| !c.has("resources"));
    if unsupported {
        errs.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    let is_sidecar = |c: &Value| c["restartPolicy"] == "Always";
    let mut put_back = new["spec"].clone();
    for field in ["initContainers", "containers"] {
        let at = path.child(field);
        let regular = field == "containers";
        for (i, (now, before)) in new["spec"].list(field).iter().zip(old["spec"].list(field)).enumerate() {
            if regular || is_sidecar(before) {
                validate_container_resize(now, before, &at.index(i).child("resources"), errs);
            }
        }
    }
    for field in ["containers", "initContainers"] {
        let regular = field == "containers";
        let Some(list) = put_back.get_mut(field) else { continue };
        for (c, before) in list.items_mut().iter_mut().zip(old["spec"].list(field)) {
            if regular || is_sidecar(before) {
                restore_cpu_and_memory(c, before);
            }
            if !same(c, before) {
                errs.push(FieldError::forbidden(
                    &path,
                    match (regular, is_sidecar(before)) {
                        (true, _) => ONLY_CPU_AND_MEMORY,
                        (_, true) => "only cpu and memory resources for sidecar containers are mutable",
                        _ => "resources for non-sidecar init containers are immutable",
                    },
                ));
            }
        }
    }
    if errs.is_empty() && !same(&put_back, &old["spec"]) {
        errs.push(FieldError::forbidden(&path, ONLY_CPU_AND_MEMORY));
    }
}

fn restore_cpu_and_memory(c: &mut Value, before: &Value) {
    for list in ["limits", "requests"] {
        let old_list = &before["resources"][list];
        let own = c.message("resources").message(list);
        for name in ["cpu", "memory"] {
            copy_field(own, old_list, name);
        }
    }
}

fn validate_container_resize(now: &Value, before: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (new, old) = (&now["resources"], &before["resources"]);
    for (list, message) in
        [("requests", "resource requests cannot be removed"), ("limits", "resource limits cannot be removed")]
    {
        if old.pairs(list).iter().any(|(name, _)| new[list].get(name).is_none()) {
            errs.push(FieldError::forbidden(&path.child(list), message));
        }
    }
    let policy = now
        .list("resizePolicy")
        .iter()
        .find(|p| p["resourceName"] == "memory")
        .map_or("", |p| p.text("restartPolicy"));
    if matches!(policy, "" | "NotRequired") {
        let limit = |r: &Value| r["limits"].get("memory").map(resources::quantity);
        let limits = path.child("limits");
        if let (Some(_), None) = (limit(new), limit(old)) {
            errs.push(FieldError::forbidden(
                &limits.key("memory"),
                "memory limits cannot be added unless resizePolicy is RestartContainer",
            ));
        }
    }
}

/// A `Binding` of a pod to a node.
pub fn validate_binding(binding: &Value, errs: &mut ErrorList) {
    let path = Path::new("target");
    let kind = binding["target"].text("kind");
    if !kind.is_empty() && kind != "Node" {
        errs.push(FieldError::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if binding["target"].text("name").is_empty() {
        errs.push(FieldError::required(&path.child("name"), ""));
    }
}
