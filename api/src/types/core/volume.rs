//! `core/v1.Volume`: its name, its one source, and the files that projections put into it.

use std::collections::{BTreeMap, BTreeSet};

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::{Key, Value};
use crate::types::core::volume_source::{self, Owner};
use crate::types::core::{env, resources};
use crate::types::fields::{Fields, Fill, invalid_each, required_text};
use crate::types::format;
use crate::types::meta::{label_selector, object_meta};

/// Valid volumes of a pod by name.
pub type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// 0644
const FILE_MODE: i64 = 0o644;
const TOKEN_SECONDS: i64 = 3600;
const FILE_MODE_RULE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// A source beside another is refused under its own name, with two old misspellings.
const SOURCES: &[(&str, &str)] = &[
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

/// A volume that names no source is an `emptyDir`.
pub fn default(volume: &mut Value) {
    let empty = !SOURCES.iter().any(|(source, _)| volume.has(source));
    if empty {
        volume.put("emptyDir", Value::object());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        volume.within(source, |s| s.fill_absent("defaultMode", FILE_MODE));
    }
    volume.within("downwardAPI", |s| s.each("items", env::default_selectors));
    volume.within("projected", |p| p.each("sources", default_projection));
    volume.within("image", |i| {
        let policy = crate::types::core::container::pull_policy(i.text("reference"));
        i.fill_zero("pullPolicy", policy);
    });
    volume.within("ephemeral", |e| {
        e.within("volumeClaimTemplate", |t| default_claim_spec(t.message("spec")));
    });
    volume_source::default(volume);
}

fn default_projection(source: &mut Value) {
    source.within("downwardAPI", |d| d.each("items", env::default_selectors));
    source.within("serviceAccountToken", |t| t.fill_absent("expirationSeconds", TOKEN_SECONDS));
}

/// `core/v1.PersistentVolumeClaimSpec`.
pub fn default_claim_spec(spec: &mut Value) {
    spec.within("resources", resources::default_requirements);
    spec.fill_absent("volumeMode", "Filesystem");
}

/// Checks the list and gives the volumes that are valid. `pod_name` is "" in a template.
pub fn validate_all<'a>(
    list: &'a [Value],
    pod_name: &str,
    path: &Path<'_>,
    errs: &mut ErrorList,
) -> Volumes<'a> {
    let claims: BTreeSet<String> = list
        .iter()
        .filter(|v| !pod_name.is_empty() && v.has("ephemeral"))
        .map(|v| format!("{pod_name}-{}", v.text("name")))
        .collect();
    let mut valid = Volumes::new();
    for (i, volume) in list.iter().enumerate() {
        let at = path.index(i);
        let (name, at_name) = (volume.text("name"), at.child("name"));
        let before = errs.len();
        validate_sources(volume, pod_name, &at, errs);
        if name.is_empty() {
            errs.push(FieldError::required(&at_name, ""));
        } else {
            invalid_each(errs, &at_name, name, format::dns_label(name));
        }
        if valid.contains_key(name) {
            errs.push(FieldError::duplicate(&at_name, name));
        }
        if errs.len() == before {
            valid.insert(name, volume);
        }
        let claim = volume["persistentVolumeClaim"].text("claimName");
        if claims.contains(claim) {
            errs.push(FieldError::invalid(
                &at.child("persistentVolumeClaim").child("claimName"),
                claim,
                "must not reference a PVC that gets created for an ephemeral volume",
            ));
        }
    }
    valid
}

fn validate_sources(volume: &Value, pod_name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let mut found = false;
    for &(source, refused_as) in SOURCES {
        let Some(v) = volume.opt(source) else { continue };
        if std::mem::replace(&mut found, true) {
            errs.push(FieldError::forbidden(
                &path.child(refused_as),
                "may not specify more than 1 volume type",
            ));
        } else {
            validate_source(source, v, volume.text("name"), pod_name, path, errs);
        }
        if source == "iscsi"
            && v.has("initiatorName")
            && volume.text("name").len() + 1 + v.text("targetPortal").len() > 64
        {
            errs.push(FieldError::invalid(
                &path.child("name"),
                volume.text("name"),
                volume_source::ISCSI_TOO_LONG,
            ));
        }
    }
    if !found {
        errs.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn validate_source(
    source: &str,
    v: &Value,
    name: &str,
    pod_name: &str,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let at = path.child(source);
    match source {
        "emptyDir" => {
            if resources::quantity(&v["sizeLimit"]).sign() < 0 {
                errs.push(FieldError::forbidden(
                    &at.child("sizeLimit"),
                    "SizeLimit field must be a valid resource quantity",
                ));
            }
        }
        "secret" => validate_key_source(v, "secretName", &at, errs),
        "configMap" => validate_key_source(v, "name", &at, errs),
        "downwardAPI" => {
            validate_mode(v, "defaultMode", &at, errs);
            v.list("items").iter().for_each(|file| validate_downward_file(file, &at, errs));
        }
        "projected" => {
            validate_mode(v, "defaultMode", &at, errs);
            validate_projections(v, &at, errs);
        }
        "persistentVolumeClaim" => required_text(errs, &at.child("claimName"), v.text("claimName")),
        "ephemeral" => {
            validate_ephemeral(v, &at, errs);
            if !pod_name.is_empty() && !name.is_empty() {
                let claim = format!("{pod_name}-{name}");
                let messages =
                    format::dns_subdomain(&claim).into_iter().map(|m| format!("PVC name {claim:?}: {m}"));
                invalid_each(errs, &path.child("name"), name, messages);
            }
        }
        "image" => {
            required_text(errs, &at.child("reference"), v.text("reference"));
            super::container::validate_pull_policy(v.text("pullPolicy"), &at.child("pullPolicy"), errs);
        }
        _ => volume_source::validate(source, v, Owner::Pod, path, errs),
    }
}

fn validate_mode(v: &Value, field: &'static str, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(mode) = v.opt_int(field).filter(|m| !(0..=0o777).contains(m)) {
        errs.push(FieldError::invalid(&path.child(field), mode, FILE_MODE_RULE));
    }
}

/// A Secret or ConfigMap as files.
fn validate_key_source(v: &Value, name_field: &str, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child(name_field), v.text(name_field));
    validate_mode(v, "defaultMode", path, errs);
    let items = path.child("items");
    for (i, item) in v.list("items").iter().enumerate() {
        validate_key_to_path(item, &items.index(i), errs);
    }
}

fn validate_key_to_path(item: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child("key"), item.text("key"));
    required_text(errs, &path.child("path"), item.text("path"));
    validate_local_path(item.text("path"), &path.child("path"), errs);
    validate_mode(item, "mode", path, errs);
}

fn validate_downward_file(file: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child("path"), file.text("path"));
    validate_local_path(file.text("path"), &path.child("path"), errs);
    match (file.opt("fieldRef"), file.opt("resourceFieldRef")) {
        (Some(r), other) => {
            env::validate_field_ref(r, env::FILE_FIELDS, &path.child("fieldRef"), errs);
            if other.is_some() {
                errs.push(FieldError::invalid(
                    path,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                ));
            }
        }
        (None, Some(r)) => env::validate_resource_ref(r, true, &path.child("resourceFieldRef"), errs),
        (None, None) => {
            errs.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"))
        }
    }
    validate_mode(file, "mode", path, errs);
}

fn validate_projections(projected: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    const CONFLICT: &str = "conflicting duplicate paths";
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let sources = path.child("sources");
    for (i, source) in projected.list("sources").iter().enumerate() {
        let at = sources.index(i);
        let mut count = 0;
        for field in ["secret", "configMap"] {
            let Some(s) = source.opt(field) else { continue };
            count += 1;
            let at = at.child(field);
            required_text(errs, &at.child("name"), s.text("name"));
            let items = at.child("items");
            for (j, item) in s.list("items").iter().enumerate() {
                validate_key_to_path(item, &items.index(j), errs);
                let file = item.text("path");
                if !file.is_empty() && !taken.insert(file) {
                    errs.push(FieldError::invalid(path, s.text("name"), CONFLICT));
                }
            }
        }
        if let Some(s) = source.opt("downwardAPI") {
            count += 1;
            for file in s.list("items") {
                validate_downward_file(file, &at.child("downwardAPI"), errs);
                let file = file.text("path");
                if !file.is_empty() && !taken.insert(file) {
                    errs.push(FieldError::invalid(path, file, CONFLICT));
                }
            }
        }
        if let Some(s) = source.opt("serviceAccountToken") {
            count += 1;
            validate_token(s, path, &at.child("serviceAccountToken"), errs);
        }
        if let Some(s) = source.opt("clusterTrustBundle") {
            count += 1;
            validate_trust_bundle(s, &at.child("clusterTrustBundle"), errs);
            if !taken.insert(s.text("path")) {
                errs.push(FieldError::invalid(path, s.text("path"), CONFLICT));
            }
        }
        if source.has("podCertificate") {
            count += 1;
        }
        if count > 1 {
            errs.push(FieldError::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
    }
}

fn validate_token(token: &Value, volume: &Path<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    let seconds = token.int("expirationSeconds");
    if seconds < 600 {
        errs.push(FieldError::invalid(
            &path.child("expirationSeconds"),
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > 1 << 32 {
        errs.push(FieldError::invalid(
            &path.child("expirationSeconds"),
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    let file = token.text("path");
    if file.is_empty() {
        errs.push(FieldError::required(&volume.child("path"), ""));
    } else {
        validate_local_path(file, &volume.child("path"), errs);
    }
}

fn validate_trust_bundle(bundle: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match (bundle.opt_text("name"), bundle.opt_text("signerName")) {
        (Some(_), Some(_)) => {
            errs.push(FieldError::invalid(
                path,
                bundle.clone(),
                "only one of name and signerName may be used",
            ));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errs.push(FieldError::required(&path.child("name"), "must be a valid object name"));
            }
            let messages = format::dns_subdomain(name)
                .into_iter()
                .map(|m| format!("not a valid clustertrustbundlename: {m}"));
            invalid_each(errs, &path.child("name"), name, messages);
            if bundle.has("labelSelector") {
                errs.push(FieldError::invalid(
                    &path.child("labelSelector"),
                    bundle["labelSelector"].clone(),
                    "labelSelector must be unset if name is specified",
                ));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errs.push(FieldError::required(&path.child("signerName"), "must be a valid signer name"));
            }
            label_selector::validate(&bundle["labelSelector"], &path.child("labelSelector"), errs);
        }
        (None, None) => errs.push(FieldError::required(path, "either name or signerName must be specified")),
    }
    required_text(errs, &path.child("path"), bundle.text("path"));
    validate_local_path(bundle.text("path"), &path.child("path"), errs);
}

fn validate_ephemeral(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("volumeClaimTemplate");
    let Some(template) = v.opt("volumeClaimTemplate") else {
        errs.push(FieldError::required(&at, ""));
        return;
    };
    let at_meta = at.child("metadata");
    object_meta::validate_template(&template["metadata"], &at_meta, errs);
    let set = |(name, value): &&(Key, Value)| {
        !matches!(&**name, "labels" | "annotations") && !crate::types::fields::is_zero(value)
    };
    for (name, _) in template.pairs("metadata").iter().filter(set) {
        errs.push(FieldError::forbidden(&at_meta.child(name), "cannot be set"));
    }
    super::persistent_volume_claim::validate_spec(&template["spec"], &at.child("spec"), errs);
}

/// A relative path without `..`.
pub fn validate_descending_path(path: &str, at: &Path<'_>, errs: &mut ErrorList) {
    if path.starts_with('/') {
        errs.push(FieldError::invalid(at, path, "must be a relative path"));
    }
    validate_no_backsteps(path, at, errs);
}

pub fn validate_no_backsteps(path: &str, at: &Path<'_>, errs: &mut ErrorList) {
    if path.split('/').any(|part| part == "..") {
        errs.push(FieldError::invalid(at, path, "must not contain '..'"));
    }
}

/// A descending path whose name does not start with `..`, which the kubelet keeps for itself.
fn validate_local_path(path: &str, at: &Path<'_>, errs: &mut ErrorList) {
    validate_descending_path(path, at, errs);
    if path.starts_with("..") && !path.starts_with("../") {
        errs.push(FieldError::invalid(at, path, "must not start with '..'"));
    }
}
