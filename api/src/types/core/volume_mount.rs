//! `core/v1.VolumeMount` and `core/v1.VolumeDevice` of a container.

use std::collections::{BTreeMap, BTreeSet};

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::volume::{Volumes, validate_descending_path, validate_no_backsteps};
use crate::types::fields::{Fields, one_of, required_text};

/// Name to path; of two with one name the last counts, as upstream's maps do.
type Paths<'a> = BTreeMap<&'a str, &'a str>;

fn paths<'a>(list: &'a [Value], field: &str) -> Paths<'a> {
    list.iter().map(|m| (m.text("name"), m.text(field))).collect()
}

pub fn validate(container: &Value, volumes: &Volumes<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    let (mounts, devices) = (container.list("volumeMounts"), container.list("volumeDevices"));
    validate_mounts(
        container,
        mounts,
        &paths(devices, "devicePath"),
        volumes,
        &path.child("volumeMounts"),
        errs,
    );
    validate_devices(devices, &paths(mounts, "mountPath"), volumes, &path.child("volumeDevices"), errs);
}

fn validate_mounts(
    container: &Value,
    mounts: &[Value],
    devices: &Paths<'_>,
    volumes: &Volumes<'_>,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let mut points = BTreeSet::new();
    for (i, m) in mounts.iter().enumerate() {
        let at = path.index(i);
        let (name, point) = (m.text("name"), m.text("mountPath"));
        let (at_name, at_point) = (at.child("name"), at.child("mountPath"));
        required_text(errs, &at_name, name);
        if !volumes.contains_key(name) {
            errs.push(FieldError::not_found(&at_name, name));
        }
        required_text(errs, &at_point, point);
        if !points.insert(point) {
            errs.push(FieldError::invalid(&at_point, point, "must be unique"));
        }
        if devices.contains_key(name) {
            errs.push(FieldError::invalid(&at_name, name, "must not already exist in volumeDevices"));
        }
        if devices.values().any(|p| *p == point) {
            errs.push(FieldError::invalid(
                &at_point,
                point,
                "must not already exist as a path in volumeDevices",
            ));
        }
        validate_sub_paths(m, path, &at, errs);
        validate_propagation(m, container, path, errs);
        validate_recursive_read_only(m, &path.child("recursiveReadOnly"), errs);
    }
}

/// Upstream puts some of these errors at the list and not at its element.
fn validate_sub_paths(m: &Value, list: &Path<'_>, at: &Path<'_>, errs: &mut ErrorList) {
    let (sub, expr) = (m.text("subPath"), m.text("subPathExpr"));
    if !sub.is_empty() {
        validate_descending_path(sub, &list.child("subPath"), errs);
    }
    if !expr.is_empty() {
        if !sub.is_empty() {
            errs.push(FieldError::invalid(
                &at.child("subPathExpr"),
                expr,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
        validate_descending_path(expr, &list.child("subPathExpr"), errs);
    }
}

fn validate_propagation(m: &Value, container: &Value, list: &Path<'_>, errs: &mut ErrorList) {
    let Some(mode) = m.opt_text("mountPropagation") else { return };
    let at = list.child("mountPropagation");
    one_of(errs, &at, mode, &["Bidirectional", "HostToContainer", "None"]);
    if mode == "Bidirectional" && !container["securityContext"].flag("privileged") {
        errs.push(FieldError::forbidden(
            &at,
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
}

fn validate_recursive_read_only(m: &Value, at: &Path<'_>, errs: &mut ErrorList) {
    match m.opt_text("recursiveReadOnly") {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !m.flag("readOnly") {
                errs.push(FieldError::forbidden(at, "may only be specified when readOnly is true"));
            }
            if m.opt_text("mountPropagation").is_some_and(|p| p != "None") {
                errs.push(FieldError::forbidden(
                    at,
                    "may only be specified when mountPropagation is None or not specified",
                ));
            }
        }
        Some(other) => {
            errs.push(FieldError::not_supported(at, other, &["Disabled", "Enabled", "IfPossible"]))
        }
    }
}

fn validate_devices(
    devices: &[Value],
    mounts: &Paths<'_>,
    volumes: &Volumes<'_>,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let (mut names, mut points) = (BTreeSet::new(), BTreeSet::new());
    for (i, d) in devices.iter().enumerate() {
        let at = path.index(i);
        let (name, point) = (d.text("name"), d.text("devicePath"));
        let (at_name, at_point) = (at.child("name"), at.child("devicePath"));
        required_text(errs, &at_name, name);
        if names.contains(name) {
            errs.push(FieldError::invalid(&at_name, name, "must be unique"));
        }
        match volumes.get(name) {
            Some(v) if !v.has("persistentVolumeClaim") && !v.has("ephemeral") => {
                errs.push(FieldError::invalid(
                    &at_name,
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ))
            }
            Some(_) => {}
            None => errs.push(FieldError::not_found(&at_name, name)),
        }
        required_text(errs, &at_point, point);
        if points.contains(point) {
            errs.push(FieldError::invalid(&at_point, point, "must be unique"));
        }
        let mut backsteps = Vec::new();
        validate_no_backsteps(point, &at_point, &mut backsteps);
        if backsteps.is_empty() {
            points.insert(point);
        } else {
            errs.push(FieldError::invalid(&at_point, point, "can not contain backsteps ('..')"));
        }
        if mounts.contains_key(name) {
            errs.push(FieldError::invalid(&at_name, name, "must not already exist in volumeMounts"));
        }
        if mounts.values().any(|p| *p == point) {
            errs.push(FieldError::invalid(
                &at_point,
                point,
                "must not already exist as a path in volumeMounts",
            ));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}
