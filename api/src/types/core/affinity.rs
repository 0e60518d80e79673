//! `core/v1.Affinity`, `core/v1.NodeSelector` and their terms.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, invalid_each};
use crate::types::format;
use crate::types::meta::label_selector::{self, validate_label_name};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NOT_OPERATOR: &str = "not a valid selector operator";

pub fn validate(affinity: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(node) = affinity.opt("nodeAffinity") {
        validate_node_affinity(node, &path.child("nodeAffinity"), errs);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        if let Some(pod) = affinity.opt(field) {
            validate_pod_affinity(pod, &path.child(field), errs);
        }
    }
}

fn validate_node_affinity(affinity: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(required) = affinity.opt(REQUIRED) {
        validate_node_selector(required, &path.child(REQUIRED), errs);
    }
    let preferred = path.child(PREFERRED);
    for (i, term) in affinity.list(PREFERRED).iter().enumerate() {
        let at = preferred.index(i);
        validate_weight(term, &at, errs);
        // Upstream never checks label values of a preference: it can hold with any.
        validate_term(&term["preference"], false, &at.child("preference"), errs);
    }
}

fn validate_weight(term: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let weight = term.int("weight");
    if !(1..=100).contains(&weight) {
        errs.push(FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

pub fn validate_node_selector(selector: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let terms = path.child("nodeSelectorTerms");
    if selector.list("nodeSelectorTerms").is_empty() {
        errs.push(FieldError::required(&terms, "must have at least one node selector term"));
    }
    for (i, term) in selector.list("nodeSelectorTerms").iter().enumerate() {
        validate_term(term, true, &terms.index(i), errs);
    }
}

fn validate_term(term: &Value, check_values: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let expressions = path.child("matchExpressions");
    for (i, e) in term.list("matchExpressions").iter().enumerate() {
        validate_requirement(e, check_values, &expressions.index(i), errs);
    }
    let fields = path.child("matchFields");
    for (i, e) in term.list("matchFields").iter().enumerate() {
        validate_field_requirement(e, &fields.index(i), errs);
    }
}

fn validate_requirement(e: &Value, check_values: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let values = e.list("values");
    let at = path.child("values");
    match e.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errs.push(FieldError::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errs.push(FieldError::forbidden(
                &at,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errs.push(FieldError::required(
                &at,
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errs.push(FieldError::invalid(&path.child("operator"), other, NOT_OPERATOR)),
    }
    validate_label_name(e.text("key"), &path.child("key"), errs);
    if check_values {
        for (i, v) in values.iter().enumerate() {
            invalid_each(errs, &at.index(i), v.str_or_empty(), format::label_value(v.str_or_empty()));
        }
    }
}

fn validate_field_requirement(e: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let values = e.list("values");
    match e.text("operator") {
        "In" | "NotIn" if values.len() != 1 => errs.push(FieldError::required(
            &path.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        "In" | "NotIn" => {}
        other => errs.push(FieldError::invalid(&path.child("operator"), other, NOT_OPERATOR)),
    }
    if e.text("key") != "metadata.name" {
        errs.push(FieldError::invalid(&path.child("key"), e.text("key"), "not a valid field selector key"));
        return;
    }
    let at = path.child("values");
    for (i, v) in values.iter().enumerate() {
        invalid_each(errs, &at.index(i), v.str_or_empty(), format::dns_subdomain(v.str_or_empty()));
    }
}

fn validate_pod_affinity(affinity: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let required = path.child(REQUIRED);
    for (i, term) in affinity.list(REQUIRED).iter().enumerate() {
        validate_pod_term(term, &required.index(i), errs);
    }
    let preferred = path.child(PREFERRED);
    for (i, term) in affinity.list(PREFERRED).iter().enumerate() {
        let at = preferred.index(i);
        validate_weight(term, &at, errs);
        validate_pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), errs);
    }
}

fn validate_pod_term(term: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    label_selector::validate(&term["labelSelector"], &path.child("labelSelector"), errs);
    label_selector::validate(&term["namespaceSelector"], &path.child("namespaceSelector"), errs);
    for ns in term.list("namespaces") {
        invalid_each(errs, &path.child("namespace"), ns.str_or_empty(), format::dns_label(ns.str_or_empty()));
    }
    validate_label_keys(term, path, errs);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errs.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    validate_label_name(key, &path.child("topologyKey"), errs);
}

/// `matchLabelKeys` and `mismatchLabelKeys` of a term, against each other and the selector.
fn validate_label_keys(term: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let selector = &term["labelSelector"];
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (keys, at) = (term.list(field), path.child(field));
        if !keys.is_empty() && selector.is_null() {
            errs.push(FieldError::forbidden(&at, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            validate_label_name(key.str_or_empty(), &at.index(i), errs);
        }
    }
    let keys = term.list("matchLabelKeys");
    let mut selected: BTreeSet<&str> = selector.pairs("matchLabels").iter().map(|(k, _)| &**k).collect();
    for e in selector.list("matchExpressions") {
        let key = e.text("key");
        if let Some(i) = keys.iter().rposition(|k| k.str_or_empty() == key).filter(|_| selected.contains(key))
        {
            errs.push(FieldError::invalid(
                &path.index(i),
                key,
                "exists in both matchLabelKeys and labelSelector",
            ));
        }
        selected.insert(key);
    }
    let at = path.child("matchLabelKeys");
    for (i, key) in keys.iter().enumerate() {
        if term.list("mismatchLabelKeys").contains(key) {
            errs.push(FieldError::invalid(
                &at.index(i),
                key.str_or_empty(),
                "exists in both matchLabelKeys and mismatchLabelKeys",
            ));
        }
    }
}
