//! `core/v1.PersistentVolume`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::affinity::validate_node_selector;
use crate::types::core::persistent_volume_claim::{VOLUME_MODES, validate_access_modes};
use crate::types::core::resources::{default_list, quantity};
use crate::types::core::volume_source::{self, Owner};
use crate::types::diff;
use crate::types::fields::{Fields, Fill, IMMUTABLE, NOT_POSITIVE, invalid_each, one_of, same, sorted};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

/// In the order of checking, with the name a second source is refused under.
const SOURCES: &[(&str, &str)] = &[
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
];

pub fn default(volume: &mut Value) {
    let spec = volume.message("spec");
    spec.fill_zero("persistentVolumeReclaimPolicy", "Retain");
    spec.fill_absent("volumeMode", "Filesystem");
    spec.within("capacity", default_list);
    volume_source::default(spec);
    volume.message("status").fill_zero("phase", "Pending");
}

pub fn validate(volume: &Value, errs: &mut ErrorList) {
    object_meta::validate(&volume["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&volume["spec"], Path::new("spec"));
    if spec.list("accessModes").is_empty() {
        errs.push(FieldError::required(&path.child("accessModes"), ""));
    }
    validate_access_modes(spec, &path, errs);
    validate_capacity(spec, &path, errs);
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        one_of(errs, &path.child("persistentVolumeReclaimPolicy"), policy, &["Delete", "Recycle", "Retain"]);
    }
    if let Some(affinity) = spec.opt("nodeAffinity") {
        let at = path.child("nodeAffinity");
        match affinity.opt("required") {
            Some(required) => validate_node_selector(required, &at.child("required"), errs),
            None => errs
                .push(FieldError::required(&at.child("required"), "must specify required node constraints")),
        }
    }
    validate_sources(volume, &path, errs);
    if spec["hostPath"].text("path").trim_end_matches('/').is_empty()
        && spec.has("hostPath")
        && policy == "Recycle"
    {
        errs.push(FieldError::forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'",
        ));
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        invalid_each(errs, &path.child("storageClassName"), class, format::dns_subdomain(class));
    }
    if let Some(mode) = spec.opt_text("volumeMode") {
        one_of(errs, &path.child("volumeMode"), mode, VOLUME_MODES);
    }
    if let Some(class) = spec.opt_text("volumeAttributesClassName") {
        let at = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errs.push(FieldError::required(&at, "an empty string is disallowed"));
        } else {
            invalid_each(errs, &at, class, format::dns_subdomain(class));
        }
        if !spec.has("csi") {
            errs.push(FieldError::required(
                &path.child("csi"),
                "has to be specified when using volumeAttributesClassName",
            ));
        }
    }
}

fn validate_capacity(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (capacity, at) = (spec.pairs("capacity"), path.child("capacity"));
    if capacity.is_empty() {
        errs.push(FieldError::required(&at, ""));
    }
    if spec["capacity"].get("storage").is_none() || capacity.len() > 1 {
        errs.push(FieldError::not_supported(&at, sorted(&spec["capacity"]), &["storage"]));
    }
    for (name, value) in capacity {
        let (amount, at) = (quantity(value), at.key(name));
        if amount.value() < 0 {
            errs.push(FieldError::invalid(&at, amount.value(), "must be a valid resource quantity"));
        }
        if amount.sign() <= 0 {
            errs.push(FieldError::invalid(&at, amount.to_string(), NOT_POSITIVE));
        }
    }
}

fn validate_sources(volume: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let spec = &volume["spec"];
    let mut found = false;
    for &(source, refused_as) in SOURCES {
        let Some(v) = spec.opt(source) else { continue };
        if std::mem::replace(&mut found, true) {
            errs.push(FieldError::forbidden(
                &path.child(refused_as),
                "may not specify more than 1 volume type",
            ));
            continue;
        }
        volume_source::validate(source, v, Owner::PersistentVolume, path, errs);
        let name = volume["metadata"].text("name");
        if source == "iscsi" && v.has("initiatorName") && name.len() + 1 + v.text("targetPortal").len() > 64 {
            errs.push(FieldError::invalid(
                &path.child("iscsi").child("targetportal"),
                v.text("targetPortal"),
                volume_source::ISCSI_TOO_LONG,
            ));
        }
        if source == "local" && !spec.has("nodeAffinity") {
            errs.push(FieldError::required(
                &path.child("nodeAffinity"),
                "Local volume requires node affinity",
            ));
        }
    }
    if !found {
        errs.push(FieldError::required(path, "must specify a volume type"));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    validate(new, errs);
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let (now, before) = (&new["spec"], &old["spec"]);
    let sources = |spec: &Value| {
        let mut out = Value::object();
        for (source, _) in SOURCES {
            if let Some(v) = spec.opt(source) {
                out.make(&[]).set(source, v.clone());
            }
        }
        out
    };
    let (mut new_sources, old_sources) = (sources(now), sources(before));
    if old_sources.has("csi") && !old_sources["csi"].has("controllerExpandSecretRef") {
        new_sources.within("csi", |csi| {
            csi.drop_field("controllerExpandSecretRef");
        });
    }
    if !same(&new_sources, &old_sources) {
        let text = diff::between("core/v1.PersistentVolumeSource", &old_sources, &new_sources);
        let spec = Path::new("spec");
        errs.push(FieldError::forbidden(
            &spec.child("persistentvolumesource"),
            format!("spec.persistentvolumesource is immutable after creation\n{text}"),
        ));
    }
    if now.text("volumeMode") != before.text("volumeMode") {
        errs.push(FieldError::invalid(&Path::new("volumeMode"), now["volumeMode"].clone(), IMMUTABLE));
    }
    if before.has("nodeAffinity") && !same(&now["nodeAffinity"], &before["nodeAffinity"]) {
        errs.push(FieldError::invalid(
            &Path::new("nodeAffinity"),
            now["nodeAffinity"].clone(),
            format!("{IMMUTABLE}, except for updating from beta label to GA"),
        ));
    }
}
