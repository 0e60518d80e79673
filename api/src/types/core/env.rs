//! `core/v1.EnvVar`, `core/v1.EnvFromSource` and the selectors that fill variables and files.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::resources::quantity;
use crate::types::fields::{Fields, Fill, invalid_each, required_text};
use crate::types::format;

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields a downward API file may hold.
pub const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Every field of a pod that upstream's downward API knows in version v1.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const CPU_DIVISORS: &[&str] = &["1m", "1"];
const BYTE_DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `fieldRef` and `resourceFieldRef` of a variable or a file.
pub fn default_selectors(source: &mut Value) {
    source.within("fieldRef", |r| r.fill_zero("apiVersion", "v1"));
    source.within("resourceFieldRef", |r| r.fill_absent("divisor", "0"));
}

pub fn default_env(container: &mut Value) {
    container.each("env", |e| {
        e.within("valueFrom", |source| {
            default_selectors(source);
            source.within("fileKeyRef", |r| r.fill_absent("optional", false));
        });
    });
}

pub fn validate_env(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    for (i, e) in list.iter().enumerate() {
        let at = path.index(i);
        let name = e.text("name");
        if name.is_empty() {
            errs.push(FieldError::required(&at.child("name"), ""));
        } else {
            invalid_each(errs, &at.child("name"), name, format::env_name(name));
        }
        if let Some(source) = e.opt("valueFrom") {
            validate_source(source, e.text("value"), &at.child("valueFrom"), errs);
        }
    }
}

fn validate_source(source: &Value, value: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let mut count = 0;
    if let Some(r) = source.opt("fieldRef") {
        count += 1;
        validate_field_ref(r, ENV_FIELDS, &path.child("fieldRef"), errs);
    }
    if let Some(r) = source.opt("resourceFieldRef") {
        count += 1;
        validate_resource_ref(r, false, &path.child("resourceFieldRef"), errs);
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(r) = source.opt(field) {
            count += 1;
            validate_key_ref(r, &path.child(field), errs);
        }
    }
    if let Some(r) = source.opt("fileKeyRef") {
        count += 1;
        let at = path.child("fileKeyRef");
        for field in ["volumeName", "path", "key"] {
            required_text(errs, &at.child(field), r.text(field));
        }
    }
    let message = match count {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errs.push(FieldError::invalid(path, "", message));
}

fn validate_key_ref(r: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (name, key) = (r.text("name"), r.text("key"));
    invalid_each(errs, &path.child("name"), name, format::dns_subdomain(name));
    if key.is_empty() {
        errs.push(FieldError::required(&path.child("key"), ""));
    } else {
        invalid_each(errs, &path.child("key"), key, format::config_key(key));
    }
}

/// `accepted` is what may be selected here; single labels and annotations may always be.
pub fn validate_field_ref(r: &Value, accepted: &[&str], path: &Path<'_>, errs: &mut ErrorList) {
    for field in ["apiVersion", "fieldPath"] {
        if r.text(field).is_empty() {
            errs.push(FieldError::required(&path.child(field), ""));
            return;
        }
    }
    let field_path = r.text("fieldPath");
    let subscript = field_path
        .strip_suffix("']")
        .and_then(|p| p.split_once("['"))
        .filter(|(field, key)| !field.is_empty() && !key.is_empty());
    let base = subscript.map_or(field_path, |(field, _)| field);
    let known = match subscript {
        Some((field, _)) => matches!(field, "metadata.annotations" | "metadata.labels"),
        None => KNOWN_FIELDS.contains(&base) || base == "spec.host",
    };
    let refusal = if r.text("apiVersion") != "v1" {
        Some(format!("unsupported pod version: {}", r.text("apiVersion")))
    } else if !known && subscript.is_none() {
        Some(format!("field label not supported: {base}"))
    } else if !known {
        Some(format!("field label does not support subscript: {field_path}"))
    } else {
        None
    };
    if let Some(why) = refusal {
        errs.push(FieldError::invalid(
            &path.child("fieldPath"),
            field_path,
            format!("error converting fieldPath: {why}"),
        ));
        return;
    }
    match subscript {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            invalid_each(errs, path, &key, format::label_key(&key));
        }
        Some((_, key)) => invalid_each(errs, path, key, format::label_key(key)),
        None if !accepted.contains(&base) => {
            errs.push(FieldError::not_supported(&path.child("fieldPath"), base, accepted));
        }
        None => {}
    }
}

/// In a file the container must be named; in a variable it is the variable's own.
pub fn validate_resource_ref(r: &Value, in_file: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let resource = r.text("resource");
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_file && r.text("containerName").is_empty() {
        errs.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errs.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge {
        errs.push(FieldError::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    let divisor = quantity(&r["divisor"]);
    if divisor.is_zero() {
        return;
    }
    let (accepted, label) = match resource {
        "limits.cpu" | "requests.cpu" => (CPU_DIVISORS, "cpu"),
        "limits.memory" | "requests.memory" => (BYTE_DIVISORS, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (BYTE_DIVISORS, "local ephemeral storage")
        }
        _ if huge => (BYTE_DIVISORS, "hugepages"),
        _ => return,
    };
    if !accepted.contains(&divisor.to_string().as_str()) {
        let list = if label == "cpu" { "1m and 1".to_owned() } else { accepted.join(", ") };
        errs.push(FieldError::invalid(
            &path.child("divisor"),
            resource,
            format!("only divisor's values {list} are supported with the {label} resource"),
        ));
    }
}

pub fn validate_env_from(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    for (i, e) in list.iter().enumerate() {
        let at = path.index(i);
        let prefix = e.text("prefix");
        if !prefix.is_empty() {
            invalid_each(errs, &at.child("prefix"), prefix, format::env_name(prefix));
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            let Some(r) = e.opt(field) else { continue };
            count += 1;
            let (name, at) = (r.text("name"), at.child(field));
            if name.is_empty() {
                errs.push(FieldError::required(&at.child("name"), ""));
            } else {
                invalid_each(errs, &at.child("name"), name, format::dns_subdomain(name));
            }
        }
        if count == 0 {
            errs.push(FieldError::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"));
        } else if count > 1 {
            errs.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
        }
    }
}
