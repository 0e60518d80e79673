//! `coordination.k8s.io/v1`: Lease.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, non_negative};
use crate::types::meta::object_meta::{self, Scope};

pub fn validate(lease: &Value, errs: &mut ErrorList) {
    object_meta::validate(&lease["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&lease["spec"], errs);
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(seconds) = spec.opt_int("leaseDurationSeconds").filter(|s| *s <= 0) {
        errs.push(FieldError::invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    if let Some(count) = spec.opt_int("leaseTransitions") {
        non_negative(errs, &path.child("leaseTransitions"), count);
    }
    if spec.has("preferredHolder") && spec.text("strategy").is_empty() {
        errs.push(FieldError::forbidden(
            &path.child("preferredHolder"),
            "may only be specified if `strategy` is defined",
        ));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
}
