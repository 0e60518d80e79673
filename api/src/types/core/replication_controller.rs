//! `core/v1.ReplicationController`, and the status that it shares with ReplicaSet.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::pod_template;
use crate::types::fields::{Fields, Fill, non_negative};
use crate::types::meta::label_selector::set_matches;
use crate::types::meta::object_meta::{self, Scope};

/// Selector and labels come from the template where they are empty.
pub fn default(controller: &mut Value) {
    let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
    let spec = controller.message("spec");
    spec.fill_absent("replicas", 1);
    spec.within("template", pod_template::default);
    if labels.members().is_empty() {
        return;
    }
    spec.fill_zero("selector", labels.clone());
    controller.message("metadata").fill_zero("labels", labels);
}

pub fn validate(controller: &Value, errs: &mut ErrorList) {
    object_meta::validate(&controller["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&controller["spec"], errs);
}

pub fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    non_negative(errs, &path.child("minReadySeconds"), spec.int("minReadySeconds"));
    let selector = &spec["selector"];
    if selector.members().is_empty() {
        errs.push(FieldError::required(&path.child("selector"), ""));
    }
    non_negative(errs, &path.child("replicas"), spec.int("replicas"));
    pod_template::validate_for_replicas(
        &spec["template"],
        |labels| set_matches(selector, labels),
        "ReplicationController",
        &path.child("template"),
        errs,
    );
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_replica_counts(&new["status"], errs);
}

/// `status` of a ReplicationController or a ReplicaSet.
pub fn validate_replica_counts(status: &Value, errs: &mut ErrorList) {
    let path = Path::new("status");
    for field in
        ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"]
    {
        non_negative(errs, &path.child(field), status.int(field));
    }
    let mut at_most = |field: &'static str, limit: &str, name: &str| {
        if status.int(field) > status.int(limit) {
            errs.push(FieldError::invalid(
                &path.child(field),
                status.int(field),
                format!("cannot be greater than {name}"),
            ));
        }
    };
    at_most("fullyLabeledReplicas", "replicas", "status.replicas");
    at_most("readyReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "readyReplicas", "readyReplicas");
}
