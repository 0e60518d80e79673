//! What may change in a pod by an update, and through `ephemeralcontainers` and `binding`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::pod::{
    APP_ARMOR_CONTAINER, MIRROR, validate_meta_and_spec, validate_pod_annotations,
};
use crate::types::core::toleration;
use crate::types::fields::{Fields, Fill, same};
use crate::types::format;
use crate::types::meta::object_meta;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate_annotation_update(new: &Value, old: &Value, errs: &mut ErrorList) {
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
        forbid(
            key,
            "may not remove or update AppArmor annotations",
            "may not remove or update mirror pod annotation",
        );
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

pub(super) fn copy_field(to: &mut Value, from: &Value, field: &'static str) {
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

/// An update through `ephemeralcontainers`: those that are there stay as they are.
pub fn validate_ephemeral_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_meta_and_spec(new, errs);
    validate_annotation_update(new, old, errs);
    if old["metadata"]["annotations"].has(MIRROR) {
        errs.clear();
        errs.push(FieldError::forbidden(&Path::new("[]"), "static pods do not support ephemeral containers"));
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
