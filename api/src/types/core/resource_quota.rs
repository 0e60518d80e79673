//! `core/v1.ResourceQuota`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::resources::{default_list, quantity, validate_amount, validate_quota_name};
use crate::types::fields::{Fields, Fill, IMMUTABLE};
use crate::types::meta::object_meta::{self, Scope};

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const PAIRS: &[(&str, &str)] = &[("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];

pub fn default(quota: &mut Value) {
    quota.within("spec", |s| s.within("hard", default_list));
    quota.within("status", |s| {
        s.within("hard", default_list);
        s.within("used", default_list);
    });
}

fn validate_list(holder: &Value, list: &'static str, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child(list);
    for (name, value) in holder.pairs(list) {
        validate_quota_name(name, &at.key(name), errs);
        validate_amount(name, &quantity(value), &at.key(name), errs);
    }
}

pub fn validate(quota: &Value, errs: &mut ErrorList) {
    object_meta::validate(&quota["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&quota["spec"], errs);
    validate_lists(&quota["status"], errs);
}

fn validate_lists(status: &Value, errs: &mut ErrorList) {
    let path = Path::new("status");
    validate_list(status, "hard", &path, errs);
    validate_list(status, "used", &path, errs);
}

/// Which counted resources a scope makes sense for.
fn scope_fits(scope: &str, resource: &str) -> bool {
    let pod = matches!(
        resource,
        "pods" | "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"
    ) || resource.contains("ephemeral-storage")
        || resource.contains("hugepages-");
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => pod,
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    validate_list(spec, "hard", &path, errs);
    let hard: BTreeSet<&str> =
        spec.pairs("hard").iter().map(|(k, _)| &**k).filter(|k| !k.contains('/')).collect();
    let at = path.child("scopes");
    let scopes: Vec<&str> = spec.list("scopes").iter().map(Value::str_or_empty).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errs.push(FieldError::invalid(&at, spec["scopes"].clone(), "unsupported scope"));
        }
        for _ in hard.iter().filter(|r| !scope_fits(scope, r)) {
            errs.push(FieldError::invalid(
                &at,
                spec["scopes"].clone(),
                "unsupported scope applied to resource",
            ));
        }
    }
    validate_pairs(&scopes, spec, &at, errs);
    validate_scope_selector(spec, &hard, &path, errs);
}

fn validate_pairs(scopes: &[&str], spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for (a, b) in PAIRS {
        if scopes.contains(a) && scopes.contains(b) {
            errs.push(FieldError::invalid(path, spec["scopes"].clone(), "conflicting scopes"));
        }
    }
}

fn validate_scope_selector(spec: &Value, hard: &BTreeSet<&str>, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(selector) = spec.opt("scopeSelector") else { return };
    let at_selector = path.child("scopeSelector");
    let at = at_selector.child("matchExpressions");
    let mut scopes = Vec::new();
    for e in selector.list("matchExpressions") {
        let (scope, operator, values) = (e.text("scopeName"), e.text("operator"), e.list("values"));
        if !SCOPES.contains(&scope) {
            errs.push(FieldError::invalid(&at.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in hard.iter().filter(|r| !scope_fits(scope, r)) {
            errs.push(FieldError::invalid(&at, selector.clone(), "unsupported scope applied to resource"));
        }
        let exists_only =
            !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
        if exists_only && operator != "Exists" {
            errs.push(FieldError::invalid(&at.child("operator"), operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errs.push(FieldError::required(
                &at.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errs.push(FieldError::invalid(
                &at.child("values"),
                e["values"].clone(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errs.push(FieldError::invalid(&at.child("operator"), other, "not a valid selector operator"))
            }
        }
        scopes.push(scope);
    }
    validate_pairs(&scopes, spec, &at, errs);
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
    let set = |q: &Value| -> BTreeSet<String> {
        q["spec"].list("scopes").iter().map(|s| s.str_or_empty().to_owned()).collect()
    };
    if set(new) != set(old) {
        let spec = Path::new("spec");
        errs.push(FieldError::invalid(&spec.child("scopes"), new["spec"]["scopes"].clone(), IMMUTABLE));
    }
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_lists(&new["status"], errs);
}
