//! `core/v1.PersistentVolumeClaim`, also as a template in a StatefulSet or an ephemeral volume.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::quantity::Quantity;
use crate::tree::Value;
use crate::types::core::resources::{default_list, quantity};
use crate::types::core::volume::default_claim_spec;
use crate::types::diff;
use crate::types::fields::{Fields, Fill, NOT_POSITIVE, invalid_each, one_of, required_text, same};
use crate::types::format;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const IMMUTABLE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

pub fn default(claim: &mut Value) {
    default_claim_spec(claim.message("spec"));
    let status = claim.message("status");
    status.fill_zero("phase", "Pending");
    status.within("capacity", default_list);
    status.within("allocatedResources", default_list);
}

/// `dataSource` and `dataSourceRef` follow each other where only one is set, in a claim that is
/// written (a template keeps what its author wrote).
pub fn fill_data_sources(claim: &mut Value) {
    let spec = claim.message("spec");
    if spec.has("dataSource") && !spec.has("dataSourceRef") {
        let source = spec["dataSource"].clone();
        spec.put("dataSourceRef", source);
    } else if spec.has("dataSourceRef") && !spec.has("dataSource") {
        let reference = &spec["dataSourceRef"];
        let (group, kind) = (reference.text("apiGroup"), reference.text("kind"));
        let local = matches!(
            (group, kind),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        );
        if reference.text("namespace").is_empty() && local {
            let source = reference.clone();
            spec.put("dataSource", source);
        }
    }
}

pub fn validate(claim: &Value, errs: &mut ErrorList) {
    object_meta::validate(&claim["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&claim["spec"], &Path::new("spec"), errs);
}

/// Access modes of a claim or a volume; `ReadWriteOncePod` stands alone.
pub fn validate_access_modes(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("accessModes");
    let (mut once_pod, mut other) = (false, false);
    for mode in spec.list("accessModes") {
        let mode = mode.str_or_empty();
        one_of(errs, &at, mode, ACCESS_MODES);
        once_pod |= mode == "ReadWriteOncePod";
        other |= mode != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode);
    }
    if once_pod && other {
        errs.push(FieldError::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
}

pub fn validate_spec(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if spec.list("accessModes").is_empty() {
        errs.push(FieldError::required(&path.child("accessModes"), "at least 1 access mode is required"));
    }
    label_selector::validate(&spec["selector"], &path.child("selector"), errs);
    validate_access_modes(spec, path, errs);
    let resources = path.child("resources");
    let at = resources.key("storage");
    match spec["resources"]["requests"].get("storage").map(quantity) {
        None => errs.push(FieldError::required(&at, "")),
        Some(amount) if amount.sign() <= 0 => {
            errs.push(FieldError::invalid(&at, amount.to_string(), NOT_POSITIVE));
        }
        Some(_) => {}
    }
    let class = |field: &'static str, errs: &mut ErrorList| {
        let name = spec.text(field);
        if !name.is_empty() {
            invalid_each(errs, &path.child(field), name, format::dns_subdomain(name));
        }
    };
    class("storageClassName", errs);
    if let Some(mode) = spec.opt_text("volumeMode") {
        one_of(errs, &path.child("volumeMode"), mode, VOLUME_MODES);
    }
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.opt(field) {
            validate_data_source(source, &path.child(field), errs);
        }
    }
    validate_data_sources_agree(spec, path, errs);
    class("volumeAttributesClassName", errs);
}

fn validate_data_source(source: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (group, kind) = (source.text("apiGroup"), source.text("kind"));
    required_text(errs, &path.child("name"), source.text("name"));
    required_text(errs, &path.child("kind"), kind);
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errs.push(FieldError::invalid(
            path,
            kind,
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ));
    }
    if !group.is_empty() {
        invalid_each(errs, &path.child("apiGroup"), group, format::dns_subdomain(group));
    }
    let namespace = source.text("namespace");
    if !namespace.is_empty() {
        invalid_each(errs, &path.child("namespace"), namespace, format::dns_label(namespace));
    }
}

fn validate_data_sources_agree(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (Some(source), Some(reference)) = (spec.opt("dataSource"), spec.opt("dataSourceRef")) else { return };
    let message = if !reference.text("namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if ["apiGroup", "kind", "name"].iter().any(|f| source.text(f) != reference.text(f)) {
        "must match dataSourceRef"
    } else {
        return;
    };
    errs.push(FieldError::invalid(path, path.child("dataSource").to_string(), message));
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate(new, errs);
    let path = Path::new("spec");
    let (now, before) = (&new["spec"], &old["spec"]);
    let phase = new["status"].text("phase");
    let mut allowed = before.clone();
    let mut restore = |field: &'static str| {
        match now.opt(field) {
            Some(v) => allowed.put(field, v.clone()),
            None => {
                allowed.drop_field(field);
            }
        };
    };
    // Binding fills these in.
    if before.text("volumeName").is_empty() {
        restore("volumeName");
    }
    let annotation = old["metadata"]["annotations"].opt_text(BETA_CLASS);
    if let Some(class) = now.opt_text("storageClassName")
        && !before.has("storageClassName")
        && annotation.is_none_or(|a| a == class)
    {
        restore("storageClassName");
    }
    restore("volumeAttributesClassName");
    if phase == "Bound"
        && let Some(requests) = now["resources"].opt("requests")
    {
        allowed.message("resources").put("requests", requests.clone());
    }
    if !same(&allowed, now) {
        let text = diff::between("core/v1.PersistentVolumeClaimSpec", before, now);
        errs.push(FieldError::forbidden(&path, format!("{IMMUTABLE}\n{text}")));
    } else {
        validate_no_shrinking(new, old, &path, errs);
    }
    if now.text("volumeMode") != before.text("volumeMode") {
        errs.push(FieldError::invalid(
            &Path::new("volumeMode"),
            now["volumeMode"].clone(),
            crate::types::fields::IMMUTABLE,
        ));
    }
    if before.has("volumeAttributesClassName") && now.text("volumeAttributesClassName").is_empty() {
        let what = if now.has("volumeAttributesClassName") { "an empty string" } else { "nil" };
        errs.push(FieldError::forbidden(
            &path.child("volumeAttributesClassName"),
            format!("update from non-nil value to {what} is forbidden"),
        ));
    }
}

/// A claim shrinks no further than to what its volume had.
fn validate_no_shrinking(new: &Value, old: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let size =
        |o: &Value| o["spec"]["resources"]["requests"].get("storage").map(quantity).unwrap_or_default();
    let (now, before) = (size(new), size(old));
    let capacity: Quantity = quantity(&old["status"]["capacity"]["storage"]);
    if now >= before {
        return;
    }
    let resources = path.child("resources");
    let requests = resources.child("requests");
    let at = requests.child("storage");
    if capacity.is_zero() || now < capacity {
        errs.push(FieldError::forbidden(&at, "field can not be less than status.capacity"));
    }
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    if new["spec"].list("accessModes").is_empty() {
        errs.push(FieldError::required(&Path::new("Spec").child("accessModes"), ""));
    }
    let status = Path::new("status");
    let at = status.child("capacity");
    for (name, value) in new["status"].pairs("capacity") {
        let amount = quantity(value).value();
        if amount < 0 {
            errs.push(FieldError::invalid(&at.key(name), amount, "must be a valid resource quantity"));
        }
    }
}
