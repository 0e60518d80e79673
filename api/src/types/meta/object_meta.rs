//! `meta/v1.ObjectMeta`: names, labels, annotations, owners, finalizers, field ownership.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, IMMUTABLE, invalid_each, non_negative, same};
use crate::types::format;
use crate::types::meta::label_selector::validate_labels;

/// Keys and values of all annotations together, in bytes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const FIELD_MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

pub const ORPHAN: &str = "orphan";
pub const FOREGROUND_DELETION: &str = "foregroundDeletion";

/// Whether the kind lives in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Checks a name by the kind's rule. Since Service names were relaxed they may start with a digit;
/// what is wrong with one is still said by the rule that DNS-1035 has.
pub fn check_name(rule: NameRule, name: &str) -> format::Messages {
    if rule == NameRule::Dns1035Label && format::dns_label(name).is_empty() {
        return format::Messages::new();
    }
    match rule {
        NameRule::DnsSubdomain => format::dns_subdomain(name),
        NameRule::DnsLabel => format::dns_label(name),
        NameRule::Dns1035Label => format::dns_1035_label(name),
        NameRule::PathSegment => format::path_segment(name),
    }
}

/// Checks a prefix that a generated name starts with: it may end in dashes.
pub fn check_prefix(rule: NameRule, prefix: &str) -> format::Messages {
    if rule == NameRule::PathSegment {
        return ["/", "%"]
            .into_iter()
            .filter(|c| prefix.contains(*c))
            .map(|c| format!("may not contain '{c}'"))
            .collect();
    }
    let masked = match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => prefix.to_owned(),
    };
    check_name(rule, &masked)
}

/// The metadata of a new object, after its name was generated.
pub fn validate(meta: &Value, scope: Scope, rule: NameRule, errs: &mut ErrorList) {
    let path = Path::new("metadata");
    let generate = meta.text("generateName");
    if !generate.is_empty() {
        invalid_each(errs, &path.child("generateName"), generate, check_prefix(rule, generate));
    }
    let name = meta.text("name");
    if name.is_empty() {
        errs.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        invalid_each(errs, &path.child("name"), name, check_name(rule, name));
    }
    validate_beyond_name(meta, scope, &path, errs);
    validate_kube_finalizers(meta, &path, errs);
}

fn validate_beyond_name(meta: &Value, scope: Scope, path: &Path<'_>, errs: &mut ErrorList) {
    let namespace = meta.text("namespace");
    match scope {
        Scope::Namespaced if namespace.is_empty() => {
            errs.push(FieldError::required(&path.child("namespace"), ""))
        }
        Scope::Namespaced => {
            invalid_each(errs, &path.child("namespace"), namespace, format::dns_label(namespace))
        }
        Scope::Cluster if !namespace.is_empty() => {
            errs.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
        }
        Scope::Cluster => {}
    }
    non_negative(errs, &path.child("generation"), meta.int("generation"));
    validate_common(meta, path, errs);
}

/// What create and update check alike.
fn validate_common(meta: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    validate_labels(&meta["labels"], &path.child("labels"), errs);
    validate_annotations(&meta["annotations"], &path.child("annotations"), errs);
    validate_owner_references(&meta["ownerReferences"], &path.child("ownerReferences"), errs);
    validate_finalizers(&meta["finalizers"], &path.child("finalizers"), errs);
    validate_managed_fields(&meta["managedFields"], &path.child("managedFields"), errs);
}

/// Keys are label keys in any case; everything together has a size.
pub fn validate_annotations(annotations: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut size = 0;
    for (key, value) in annotations.members() {
        invalid_each(errs, path, key, format::label_key(&key.to_lowercase()));
        size += key.len() + value.str_or_empty().len();
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errs.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn validate_owner_references(list: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut first: Option<String> = None;
    for r in list.items() {
        let api_version = r.text("apiVersion");
        let version = api_version.rsplit('/').next().unwrap_or("");
        if version.is_empty() {
            errs.push(FieldError::invalid(
                &path.child("apiVersion"),
                api_version,
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if r.text(field).is_empty() {
                errs.push(FieldError::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if api_version == "v1" && r.text("kind") == "Event" {
            errs.push(FieldError::invalid(
                path,
                r.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if r.flag("controller") {
            let this = format!("{}/{}", r.text("kind"), r.text("name"));
            match &first {
                Some(other) => errs.push(FieldError::invalid(
                    path,
                    list.clone(),
                    format!("Only one reference can have Controller set to true. Found \"true\" in references for {other} and {this}"),
                )),
                None => first = Some(this),
            }
        }
    }
}

fn validate_finalizers(list: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for f in list.items() {
        invalid_each(errs, path, f.str_or_empty(), format::label_key(f.str_or_empty()));
    }
    let has = |name| list.items().iter().any(|f| f.as_str() == Some(name));
    if has(ORPHAN) && has(FOREGROUND_DELETION) {
        errs.push(FieldError::invalid(
            path,
            list.clone(),
            format!("finalizer {ORPHAN} and {FOREGROUND_DELETION} cannot be both set"),
        ));
    }
}

/// A finalizer without a domain must be one of Kubernetes' own.
pub fn validate_kube_finalizer(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if !name.contains('/') && !matches!(name, "kubernetes" | ORPHAN | FOREGROUND_DELETION) {
        errs.push(FieldError::invalid(
            path,
            name,
            "name is neither a standard finalizer name nor is it fully qualified",
        ));
    }
}

fn validate_kube_finalizers(meta: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("finalizers");
    for (i, f) in meta.list("finalizers").iter().enumerate() {
        validate_kube_finalizer(f.str_or_empty(), &at.index(i), errs);
    }
}

/// A field manager's name: 128 bytes of printable characters.
pub fn validate_field_manager(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if name.len() > FIELD_MANAGER_MAX {
        errs.push(FieldError::too_long(path, FIELD_MANAGER_MAX));
    }
    for (i, c) in name.char_indices() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            errs.push(FieldError::invalid(
                path,
                name,
                format!("invalid character U+{:04X} (at position {i})", u32::from(c)),
            ));
        }
    }
}

fn validate_managed_fields(list: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for (i, entry) in list.items().iter().enumerate() {
        let at = path.index(i);
        let operation = entry.text("operation");
        if !matches!(operation, "Apply" | "Update") {
            errs.push(FieldError::invalid(&at.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = entry.text("fieldsType");
        if !fields_type.is_empty() && fields_type != "FieldsV1" {
            errs.push(FieldError::invalid(&at.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        validate_field_manager(entry.text("manager"), &at.child("manager"), errs);
        if entry.text("subresource").len() > SUBRESOURCE_MAX {
            errs.push(FieldError::too_long(&at.child("subresource"), SUBRESOURCE_MAX));
        }
    }
}

/// The metadata of an update: what may not change, and the checks that create makes too.
pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    validate_update_of_any(new, old, errs);
    validate_kube_finalizers(new, &Path::new("metadata"), errs);
}

/// What the API server checks of every update before the kind's own rules, which check it again:
/// upstream's clients see such an error twice among the causes.
pub fn validate_update_of_any(new: &Value, old: &Value, errs: &mut ErrorList) {
    let path = Path::new("metadata");
    if old.has("deletionTimestamp") {
        let had = |f: &Value| old.list("finalizers").contains(f);
        let mut extra: Vec<&str> =
            new.list("finalizers").iter().filter(|f| !had(f)).map(Value::str_or_empty).collect();
        extra.sort_unstable();
        extra.dedup();
        if !extra.is_empty() {
            let list: Vec<String> = extra.iter().map(|f| format!("{f:?}")).collect();
            errs.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
            ));
        }
    }
    if new.text("resourceVersion").is_empty() {
        errs.push(FieldError::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    if new.int("generation") < old.int("generation") {
        errs.push(FieldError::invalid(
            &path.child("generation"),
            new.int("generation"),
            "must not be decremented",
        ));
    }
    for field in ["name", "namespace", "uid"] {
        if new.text(field) != old.text(field) {
            errs.push(FieldError::invalid(&path.child(field), new.text(field), IMMUTABLE));
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !same(&new[field], &old[field]) {
            errs.push(FieldError::invalid(&path.child(field), new[field].clone(), IMMUTABLE));
        }
    }
    validate_common(new, &path, errs);
}

/// Labels and annotations of a template (`spec.template.metadata`).
pub fn validate_template(meta: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    validate_labels(&meta["labels"], &path.child("labels"), errs);
    validate_annotations(&meta["annotations"], &path.child("annotations"), errs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn a_generated_names_prefix_may_end_in_a_dash() {
        assert!(check_prefix(NameRule::DnsLabel, "a-").is_empty());
        assert!(!check_prefix(NameRule::DnsLabel, "A-").is_empty());
        assert!(check_prefix(NameRule::PathSegment, "..").is_empty());
    }

    #[test]
    fn what_may_not_change() {
        let old = value!({"name": "a", "uid": "1", "resourceVersion": "3", "deletionTimestamp": "2020-01-01T00:00:00Z"});
        let new = value!({"name": "a", "uid": "2", "finalizers": ["x.example.com/y"], "deletionTimestamp": "2020-01-01T00:00:00Z"});
        let mut errs = Vec::new();
        validate_update(&new, &old, &mut errs);
        let text: Vec<String> = errs.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x.example.com/y\"}",
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }
}
