//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::admissionregistration::{rules, webhook};
use crate::types::fields::{Fields, Fill, one_of, required_text};
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

pub fn default(policy: &mut Value) {
    let spec = policy.message("spec");
    spec.fill_absent("failurePolicy", "Fail");
    spec.within("matchConstraints", default_match);
}

pub fn default_binding(binding: &mut Value) {
    binding.within("spec", |spec| spec.within("matchResources", default_match));
}

fn default_match(resources: &mut Value) {
    resources.fill_absent("namespaceSelector", Value::object());
    resources.fill_absent("objectSelector", Value::object());
    resources.fill_absent("matchPolicy", "Equivalent");
    for field in ["resourceRules", "excludeResourceRules"] {
        resources.each(field, rules::default);
    }
}

pub fn validate(policy: &Value, errs: &mut ErrorList) {
    object_meta::validate(&policy["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    if let Some(failure) = spec.opt_text("failurePolicy") {
        one_of(errs, &path.child("failurePolicy"), failure, &["Fail", "Ignore"]);
    }
    if let Some(kind) = spec.opt("paramKind") {
        let at = path.child("paramKind");
        required_text(errs, &at.child("apiVersion"), kind.text("apiVersion"));
        required_text(errs, &at.child("kind"), kind.text("kind"));
    }
    let at = path.child("matchConstraints");
    match spec.opt("matchConstraints") {
        None => errs.push(FieldError::required(&at, "")),
        Some(resources) => {
            if resources.list("resourceRules").is_empty() {
                errs.push(FieldError::required(&at.child("resourceRules"), ""));
            }
            validate_match(resources, &at, errs);
        }
    }
    webhook::validate_match_conditions(spec.list("matchConditions"), &path.child("matchConditions"), errs);
    validate_validations(spec, &path, errs);
}

fn validate_validations(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("validations");
    if spec.list("validations").is_empty()
        && spec.list("auditAnnotations").is_empty()
        && !spec.has("mutations")
    {
        errs.push(FieldError::required(&at, "validations or auditAnnotations must be specified"));
    }
    for (i, v) in spec.list("validations").iter().enumerate() {
        let at = at.index(i);
        if v.text("expression").trim().is_empty() {
            errs.push(FieldError::required(&at.child("expression"), "expression is not specified"));
        }
        if let Some(reason) = v.opt_text("reason") {
            one_of(errs, &at.child("reason"), reason, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
        }
    }
}

fn validate_match(resources: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector::validate(&resources[field], &path.child(field), errs);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        let at = path.child(field);
        for (i, rule) in resources.list(field).iter().enumerate() {
            rules::validate(rule, &at.index(i), errs);
        }
    }
    if let Some(policy) = resources.opt_text("matchPolicy") {
        one_of(errs, &path.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate(new, errs);
}

/// A ValidatingAdmissionPolicyBinding.
pub fn validate_binding(binding: &Value, errs: &mut ErrorList) {
    object_meta::validate(&binding["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&binding["spec"], Path::new("spec"));
    required_text(errs, &path.child("policyName"), spec.text("policyName"));
    if let Some(resources) = spec.opt("matchResources") {
        validate_match(resources, &path.child("matchResources"), errs);
    }
    let (actions, at) = (spec.list("validationActions"), path.child("validationActions"));
    if actions.is_empty() {
        errs.push(FieldError::required(&at, ""));
    }
    let mut seen = BTreeSet::new();
    for action in actions {
        let action = action.str_or_empty();
        one_of(errs, &at, action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action) {
            errs.push(FieldError::duplicate(&at, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errs.push(FieldError::invalid(
            &at,
            spec["validationActions"].clone(),
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ));
    }
}

pub fn validate_binding_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_binding(new, errs);
}
