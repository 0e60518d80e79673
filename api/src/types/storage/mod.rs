//! `storage.k8s.io/v1`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::volume_source::validate_csi_driver_name;
use crate::types::fields::{
    Fields, Fill, immutable, invalid_each, one_of, required_one_of, required_text, same,
};
use crate::types::format;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const ATTACHER_MAX: usize = 63;

pub fn default_storage_class(class: &mut Value) {
    class.fill_absent("reclaimPolicy", "Delete");
    class.fill_absent("volumeBindingMode", "Immediate");
}

pub fn validate_storage_class(class: &Value, errs: &mut ErrorList) {
    object_meta::validate(&class["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (provisioner, at) = (class.text("provisioner"), Path::new("provisioner"));
    if provisioner.is_empty() {
        errs.push(FieldError::required(&at, ""));
    } else {
        let lower = provisioner.to_lowercase();
        invalid_each(errs, &at, &lower, format::label_key(&lower));
    }
    validate_parameters(class, errs);
    let policy = class.text("reclaimPolicy");
    if !policy.is_empty() {
        one_of(errs, &Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    required_one_of(
        errs,
        &Path::new("volumeBindingMode"),
        class.text("volumeBindingMode"),
        &["Immediate", "WaitForFirstConsumer"],
    );
    validate_topologies(class, errs);
}

fn validate_parameters(class: &Value, errs: &mut ErrorList) {
    let (parameters, path) = (class.pairs("parameters"), Path::new("parameters"));
    if parameters.len() > PARAMETERS_MAX {
        errs.push(FieldError::too_long(&path.child("Provisioner Parameters Length"), PARAMETERS_MAX));
        return;
    }
    let mut size = 0;
    for (key, value) in parameters {
        if key.is_empty() {
            errs.push(FieldError::invalid(&path, "", "field can not be empty."));
        }
        size += key.len() + value.str_or_empty().len();
    }
    if size > PARAMETERS_BYTES_MAX {
        errs.push(FieldError::too_long(&path, PARAMETERS_BYTES_MAX));
    }
}

fn validate_topologies(class: &Value, errs: &mut ErrorList) {
    let path = Path::new("allowedTopologies");
    for (i, term) in class.list("allowedTopologies").iter().enumerate() {
        let at_term = path.index(i);
        let at = at_term.child("matchLabelExpressions");
        let mut keys = BTreeSet::new();
        for (j, e) in term.list("matchLabelExpressions").iter().enumerate() {
            let at = at.index(j);
            let values = at.child("values");
            if e.list("values").is_empty() {
                errs.push(FieldError::required(&values, ""));
            }
            let mut seen = BTreeSet::new();
            for (k, v) in e.list("values").iter().enumerate() {
                if !seen.insert(v.str_or_empty()) {
                    errs.push(FieldError::duplicate(&values.index(k), v.clone()));
                }
            }
            label_selector::validate_label_name(e.text("key"), &at.child("key"), errs);
            if !keys.insert(e.text("key")) {
                errs.push(FieldError::duplicate(&at.child("key"), e.text("key")));
            }
        }
    }
}

pub fn validate_storage_class_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(&new[field], &old[field]) {
            errs.push(FieldError::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")));
        }
    }
    immutable(errs, &Path::new("volumeBindingMode"), &new["volumeBindingMode"], &old["volumeBindingMode"]);
    validate_topologies(new, errs);
}

pub fn default_csi_driver(driver: &mut Value) {
    let spec = driver.message("spec");
    spec.fill_absent("attachRequired", true);
    spec.fill_absent("podInfoOnMount", false);
    spec.fill_absent("storageCapacity", false);
    spec.fill_absent("fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.list("volumeLifecycleModes").is_empty() {
        spec.put("volumeLifecycleModes", vec!["Persistent"]);
    }
    spec.fill_absent("requiresRepublish", false);
    spec.fill_absent("seLinuxMount", false);
}

pub fn validate_csi_driver(driver: &Value, errs: &mut ErrorList) {
    object_meta::validate(&driver["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    validate_csi_driver_spec(&driver["spec"], errs);
}

fn validate_csi_driver_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(policy) = spec.opt_text("fsGroupPolicy") {
        one_of(errs, &path.child("fsGroupPolicy"), policy, &["File", "None", "ReadWriteOnceWithFSType"]);
    }
    let at = path.child("tokenRequests");
    let mut audiences = BTreeSet::new();
    for (i, t) in spec.list("tokenRequests").iter().enumerate() {
        let at = at.index(i);
        if !audiences.insert(t.text("audience")) {
            errs.push(FieldError::duplicate(&at.child("audience"), t.text("audience")));
        }
        if let Some(seconds) = t.opt_int("expirationSeconds") {
            let at = at.child("expirationSeconds");
            if seconds < 600 {
                errs.push(FieldError::invalid(
                    &at,
                    seconds,
                    "may not specify a duration less than 10 minutes",
                ));
            }
            if seconds > 1 << 32 {
                errs.push(FieldError::invalid(
                    &at,
                    seconds,
                    "may not specify a duration larger than 2^32 seconds",
                ));
            }
        }
    }
    for mode in spec.list("volumeLifecycleModes") {
        one_of(errs, &path.child("volumeLifecycleModes"), mode.str_or_empty(), &["Persistent", "Ephemeral"]);
    }
}

pub fn validate_csi_driver_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_csi_driver_spec(&new["spec"], errs);
    let path = Path::new("spec");
    let (now, before) = (&new["spec"], &old["spec"]);
    for field in ["attachRequired", "volumeLifecycleModes"] {
        immutable(errs, &path.child(field), &now[field], &before[field]);
    }
}

pub fn validate_csi_node(node: &Value, errs: &mut ErrorList) {
    object_meta::validate(&node["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let spec = Path::new("spec");
    let path = spec.child("drivers");
    let mut names = BTreeSet::new();
    for (i, d) in node["spec"].list("drivers").iter().enumerate() {
        let at = path.index(i);
        validate_csi_driver_name(d.text("name"), &at.child("name"), errs);
        required_text(errs, &at.child("nodeID"), d.text("nodeID"));
        let keys = at.child("topologyKeys");
        let mut seen = BTreeSet::new();
        for key in d.list("topologyKeys") {
            let key = key.str_or_empty();
            required_text(errs, &keys, key);
            if !seen.insert(key) {
                errs.push(FieldError::duplicate(&keys, key));
            }
            label_selector::validate_label_name(key, &keys, errs);
        }
        if !names.insert(d.text("name")) {
            errs.push(FieldError::duplicate(&path.child("name"), d.text("name")));
        }
    }
}

pub fn validate_attachment(attachment: &Value, errs: &mut ErrorList) {
    object_meta::validate(&attachment["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&attachment["spec"], Path::new("spec"));
    let (attacher, at) = (spec.text("attacher"), path.child("attacher"));
    required_text(errs, &at, attacher);
    if attacher.len() > ATTACHER_MAX {
        errs.push(FieldError::too_long(&at, ATTACHER_MAX));
    } else if !attacher.is_empty() {
        invalid_each(errs, &at, attacher, format::dns_subdomain(&attacher.to_lowercase()));
    }
    let (source, at) = (&spec["source"], path.child("source"));
    match (source.has("inlineVolumeSpec"), source.opt_text("persistentVolumeName")) {
        (false, None) => errs.push(FieldError::required(
            &at,
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        )),
        (true, Some(_)) => errs.push(FieldError::forbidden(
            &at,
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        )),
        (false, Some(name)) => required_text(errs, &at.child("persistentVolumeName"), name),
        (true, None) => {}
    }
    let node = spec.text("nodeName");
    invalid_each(errs, &path.child("nodeName"), node, format::dns_subdomain(node));
}

pub fn validate_attachment_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    validate_attachment(new, errs);
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    if !same(&new["spec"], &old["spec"]) {
        errs.push(FieldError::invalid(
            &Path::new("spec"),
            crate::types::internal::shown("storage/v1.VolumeAttachmentSpec", &new["spec"]),
            "field is immutable",
        ));
    }
}

pub fn validate_attributes_class(class: &Value, errs: &mut ErrorList) {
    object_meta::validate(&class["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    validate_csi_driver_name(class.text("driverName"), &Path::new("driverName"), errs);
    if class.pairs("parameters").is_empty() {
        errs.push(FieldError::required(&Path::new("parameters"), "must contain at least one key/value pair"));
    }
    validate_parameters(class, errs);
}

pub fn validate_attributes_class_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    for field in ["driverName", "parameters"] {
        if !same(&new[field], &old[field]) {
            errs.push(FieldError::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")));
        }
    }
}

pub fn validate_capacity(capacity: &Value, errs: &mut ErrorList) {
    object_meta::validate(&capacity["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let class = capacity.text("storageClassName");
    invalid_each(errs, &Path::new("storageClassName"), class, format::dns_subdomain(class));
    label_selector::validate(&capacity["nodeTopology"], &Path::new("nodeTopology"), errs);
    for field in ["capacity", "maximumVolumeSize"] {
        if let Some(amount) = capacity.opt(field).map(crate::types::core::resources::quantity)
            && amount.sign() < 0
        {
            errs.push(FieldError::invalid(
                &Path::new(field),
                amount.to_string(),
                crate::types::fields::IS_NEGATIVE,
            ));
        }
    }
}

pub fn validate_capacity_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    for field in ["nodeTopology", "storageClassName"] {
        immutable(errs, &Path::new(field), &new[field], &old[field]);
    }
}
