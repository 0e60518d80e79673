//! The volume sources that pods and PersistentVolumes share: host paths, network file systems,
//! disks of clouds, CSI.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::volume::{validate_descending_path, validate_no_backsteps};
use crate::types::fields::{Fields, Fill, invalid_each, one_of, required_text};
use crate::types::format;

pub const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
const CSI_DRIVER_NAME_MAX: usize = 63;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Whose source it is: some references need a namespace in a PersistentVolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Pod,
    PersistentVolume,
}

/// Defaults of every source that has some, on the message that holds the sources.
pub fn default(holder: &mut Value) {
    holder.within("hostPath", |h| h.fill_absent("type", ""));
    holder.within("iscsi", |i| i.fill_zero("iscsiInterface", "default"));
    holder.within("rbd", |r| {
        r.fill_zero("pool", "rbd");
        r.fill_zero("user", "admin");
        r.fill_zero("keyring", "/etc/ceph/keyring");
    });
    holder.within("azureDisk", |d| {
        d.fill_absent("cachingMode", "ReadWrite");
        d.fill_absent("fsType", "ext4");
        d.fill_absent("readOnly", false);
        d.fill_absent("kind", "Shared");
    });
    holder.within("scaleIO", |s| {
        s.fill_zero("storageMode", "ThinProvisioned");
        s.fill_zero("fsType", "xfs");
    });
}

/// `path` is that of the message that holds the source.
pub fn validate(source: &str, v: &Value, owner: Owner, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child(match source {
        "gcePersistentDisk" => "persistentDisk",
        other => other,
    });
    let required: &[&str] = match source {
        "hostPath" => return validate_host_path(v, &at, errs),
        "gitRepo" => {
            required_text(errs, &at.child("repository"), v.text("repository"));
            return validate_descending_path(v.text("directory"), &at.child("directory"), errs);
        }
        "gcePersistentDisk" => return validate_partitioned(v, "pdName", &at, errs),
        "awsElasticBlockStore" => return validate_partitioned(v, "volumeID", &at, errs),
        "nfs" => return validate_nfs(v, &at, errs),
        "iscsi" => return validate_iscsi(v, owner, &at, errs),
        "fc" => return validate_fc(v, &at, errs),
        "flocker" => return validate_flocker(v, &at, errs),
        "quobyte" => return validate_quobyte(v, &at, errs),
        "flexVolume" => return validate_flex(v, &at, errs),
        "azureDisk" => return validate_azure_disk(v, &at, errs),
        "storageos" => return validate_storageos(v, owner, &at, errs),
        "csi" => return validate_csi(v, owner, &at, errs),
        "local" => {
            required_text(errs, &at.child("path"), v.text("path"));
            return validate_no_backsteps(v.text("path"), &at.child("path"), errs);
        }
        "rbd" | "cephfs" => {
            if v.list("monitors").is_empty() {
                errs.push(FieldError::required(&at.child("monitors"), ""));
            }
            if source == "rbd" { &["image"] } else { &[] }
        }
        "glusterfs" => &["endpoints", "path"],
        "cinder" | "portworxVolume" => &["volumeID"],
        "azureFile" => &["secretName", "shareName"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        _ => &[],
    };
    for field in required {
        required_text(errs, &at.child(field), v.text(field));
    }
    if source == "cinder" {
        validate_secret_ref(v, owner, &at, errs);
    }
    if source == "azureFile" && v.opt_text("secretNamespace").is_some_and(str::is_empty) {
        errs.push(FieldError::required(&at.child("secretNamespace"), ""));
    }
}

fn validate_secret_ref(v: &Value, owner: Owner, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(r) = v.opt("secretRef") {
        let at = path.child("secretRef");
        required_text(errs, &at.child("name"), r.text("name"));
        if owner == Owner::PersistentVolume {
            required_text(errs, &at.child("namespace"), r.text("namespace"));
        }
    }
}

fn validate_host_path(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let host = v.text("path");
    if host.is_empty() {
        errs.push(FieldError::required(&path.child("path"), ""));
        return;
    }
    validate_no_backsteps(host, &path.child("path"), errs);
    if let Some(kind) = v.opt_text("type") {
        one_of(errs, &path.child("type"), kind, HOST_PATH_TYPES);
    }
}

fn validate_partitioned(v: &Value, id: &str, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child(id), v.text(id));
    let partition = v.int("partition");
    if !(0..=255).contains(&partition) {
        errs.push(FieldError::invalid(&path.child("partition"), partition, format::between(1, 255)));
    }
}

fn validate_nfs(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child("server"), v.text("server"));
    required_text(errs, &path.child("path"), v.text("path"));
    if !v.text("path").starts_with('/') {
        errs.push(FieldError::invalid(&path.child("path"), v.text("path"), "must be an absolute path"));
    }
}

/// What is wrong with an iSCSI name: `Err(prefix is unknown)`, or whether it has its prefix's form.
fn iscsi_name(name: &str) -> Result<bool, ()> {
    if let Some(rest) = name.strip_prefix("iqn") {
        // iqn.yyyy-mm.domain:identifier, anywhere in the text, as upstream's pattern has no anchor.
        let form = |rest: &str| {
            let b = rest.as_bytes();
            b.len() > 9
                && b[0] == b'.'
                && b[1..5].iter().all(u8::is_ascii_digit)
                && b[5] == b'-'
                && b[6..8].iter().all(u8::is_ascii_digit)
                && b[8] == b'.'
                && rest[9..].split_once(':').is_some_and(|(domain, id)| {
                    !domain.is_empty()
                        && domain.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
                        && !id.is_empty()
                        && !id.chars().any(|c| ",;*&$|".contains(c) || c.is_whitespace())
                })
        };
        return Ok(rest.is_ascii() && form(rest));
    }
    let hex =
        |rest: &str, n: usize| rest.len() == n + 1 && rest[1..].bytes().all(|c| c.is_ascii_alphanumeric());
    if let Some(rest) = name.strip_prefix("eui") {
        return Ok(rest.is_ascii() && hex(rest, 16));
    }
    if let Some(rest) = name.strip_prefix("naa") {
        return Ok(rest.is_ascii() && hex(rest, 32));
    }
    Err(())
}

fn validate_iscsi(v: &Value, owner: Owner, path: &Path<'_>, errs: &mut ErrorList) {
    const FORM: &str = "must be valid format";
    let unknown_prefix =
        if owner == Owner::Pod { "must be valid format starting with iqn, eui, or naa" } else { FORM };
    let name = |value: &str, at: &Path<'_>, errs: &mut ErrorList| match iscsi_name(value) {
        Ok(true) => {}
        Ok(false) => errs.push(FieldError::invalid(at, value, FORM)),
        Err(()) => errs.push(FieldError::invalid(at, value, unknown_prefix)),
    };
    required_text(errs, &path.child("targetPortal"), v.text("targetPortal"));
    if v.text("iqn").is_empty() {
        errs.push(FieldError::required(&path.child("iqn"), ""));
    } else {
        name(v.text("iqn"), &path.child("iqn"), errs);
    }
    let lun = v.int("lun");
    if !(0..=255).contains(&lun) {
        errs.push(FieldError::invalid(&path.child("lun"), lun, format::between(0, 255)));
    }
    if (v.flag("chapAuthDiscovery") || v.flag("chapAuthSession")) && !v.has("secretRef") {
        errs.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if let Some(r) = v.opt("secretRef").filter(|_| owner == Owner::PersistentVolume) {
        required_text(errs, &path.child("secretRef").child("name"), r.text("name"));
    }
    if let Some(initiator) = v.opt_text("initiatorName") {
        name(initiator, &path.child("initiatorname"), errs);
    }
}

fn validate_fc(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (wwns, wwids) = (v.list("targetWWNs"), v.list("wwids"));
    let at = path.child("targetWWNs");
    if wwns.is_empty() && wwids.is_empty() {
        errs.push(FieldError::required(&at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !wwns.is_empty() && !wwids.is_empty() {
        errs.push(FieldError::invalid(
            &at,
            v["targetWWNs"].clone(),
            "targetWWNs and wwids can not be specified simultaneously",
        ));
    }
    if wwns.is_empty() {
        return;
    }
    match v.opt_int("lun") {
        None => {
            errs.push(FieldError::required(&path.child("lun"), "lun is required if targetWWNs is specified"))
        }
        Some(lun) if !(0..=255).contains(&lun) => {
            errs.push(FieldError::invalid(&path.child("lun"), lun, format::between(0, 255)));
        }
        Some(_) => {}
    }
}

fn validate_flocker(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (name, uuid) = (v.text("datasetName"), v.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        errs.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        errs.push(FieldError::invalid(
            path,
            "resource",
            "datasetName and datasetUUID can not be specified simultaneously",
        ));
    }
    if name.contains('/') {
        errs.push(FieldError::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

fn validate_quobyte(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = v.text("registry");
    if registry.is_empty() {
        errs.push(FieldError::required(&path.child("registry"), PAIRS));
    } else if v.text("tenant").len() >= 65 {
        errs.push(FieldError::required(
            &path.child("tenant"),
            "must be a UUID and may not exceed a length of 64 characters",
        ));
    } else {
        for _ in registry.split(',').filter(|pair| pair.matches(':').count() != 1) {
            errs.push(FieldError::invalid(&path.child("registry"), registry, PAIRS));
        }
    }
    required_text(errs, &path.child("volume"), v.text("volume"));
}

fn validate_flex(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child("driver"), v.text("driver"));
    let options = path.child("options");
    for (key, _) in v.pairs("options") {
        let namespace = format!(".{}", key.split('/').next().unwrap_or("").to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            errs.push(FieldError::invalid(
                &options.key(key),
                &**key,
                "kubernetes.io and k8s.io namespaces are reserved",
            ));
        }
    }
}

fn validate_azure_disk(v: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let uri = v.text("diskURI");
    required_text(errs, &path.child("diskName"), v.text("diskName"));
    required_text(errs, &path.child("diskURI"), uri);
    if let Some(mode) = v.opt_text("cachingMode") {
        one_of(errs, &path.child("cachingMode"), mode, &["None", "ReadOnly", "ReadWrite"]);
    }
    let Some(kind) = v.opt_text("kind") else { return };
    one_of(errs, &path.child("kind"), kind, &["Dedicated", "Managed", "Shared"]);
    let (prefix, form) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !uri.starts_with(prefix) {
        errs.push(FieldError::not_supported(&path.child("diskURI"), uri, &[form]));
    }
}

fn validate_storageos(v: &Value, owner: Owner, path: &Path<'_>, errs: &mut ErrorList) {
    let (name, namespace) = (v.text("volumeName"), v.text("volumeNamespace"));
    if name.is_empty() {
        errs.push(FieldError::required(&path.child("volumeName"), ""));
    } else {
        invalid_each(errs, &path.child("volumeName"), name, format::dns_label(name));
    }
    if !namespace.is_empty() {
        invalid_each(errs, &path.child("volumeNamespace"), namespace, format::dns_label(namespace));
    }
    validate_secret_ref(v, owner, path, errs);
}

/// A CSI driver's name: a subdomain in any case, of 63 bytes.
pub fn validate_csi_driver_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, path, name);
    if name.len() > CSI_DRIVER_NAME_MAX {
        errs.push(FieldError::too_long(path, CSI_DRIVER_NAME_MAX));
    }
    invalid_each(errs, path, name, format::dns_subdomain(&name.to_lowercase()));
}

fn validate_csi(v: &Value, owner: Owner, path: &Path<'_>, errs: &mut ErrorList) {
    validate_csi_driver_name(v.text("driver"), &path.child("driver"), errs);
    if owner == Owner::Pod {
        if let Some(r) = v.opt("nodePublishSecretRef") {
            let name = r.text("name");
            if name.is_empty() {
                errs.push(FieldError::required(&path.child("nodePublishSecretRef").child("name"), ""));
            } else {
                invalid_each(errs, &path.child("name"), name, format::dns_subdomain(name));
            }
        }
        return;
    }
    required_text(errs, &path.child("volumeHandle"), v.text("volumeHandle"));
    let refs = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    for field in refs {
        let Some(r) = v.opt(field) else { continue };
        let at = path.child(field);
        for (part, check) in [
            ("name", format::dns_subdomain as fn(&str) -> format::Messages),
            ("namespace", format::dns_label),
        ] {
            let text = r.text(part);
            if text.is_empty() {
                errs.push(FieldError::required(&at.child(part), ""));
            } else {
                invalid_each(errs, &at.child(part), text, check(text));
            }
        }
    }
}
