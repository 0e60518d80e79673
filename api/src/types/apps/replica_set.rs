//! `apps/v1.ReplicaSet`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::apps::strategy::{is_usable, validate_selector};
use crate::types::core::pod_template;
use crate::types::core::replication_controller::validate_replica_counts;
use crate::types::fields::{Fields, Fill, immutable, non_negative};
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

/// The template, whose labels become the object's where it has none.
pub fn default(set: &mut Value) {
    let spec = set.message("spec");
    spec.fill_absent("replicas", 1);
    pod_template::default(spec.message("template"));
}

pub fn validate(set: &Value, errs: &mut ErrorList) {
    object_meta::validate(&set["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&set["spec"], errs);
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    non_negative(errs, &path.child("replicas"), spec.int("replicas"));
    non_negative(errs, &path.child("minReadySeconds"), spec.int("minReadySeconds"));
    let selector = &spec["selector"];
    validate_selector(selector, "deployment", &path.child("selector"), errs);
    if !selector.is_null() && !is_usable(selector) {
        errs.push(FieldError::invalid(&path.child("selector"), selector.clone(), "invalid label selector"));
        return;
    }
    // A template that nothing selects would never be counted.
    pod_template::validate_for_replicas(
        &spec["template"],
        |labels| label_selector::is_empty(selector) || label_selector::matches(selector, labels),
        "ReplicaSet",
        &path.child("template"),
        errs,
    );
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
    let path = Path::new("spec");
    immutable(errs, &path.child("selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_replica_counts(&new["status"], errs);
}
