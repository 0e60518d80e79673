//! MutatingAdmissionPolicy.

use crate::kinds::{Kind, Rules, Served};
use crate::types::admissionregistration::policy;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| policy::validate(o, e)),
    validate_update: |new, old| errors(|e| policy::validate_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/mutatingadmissionpolicies",
    versions: &[Served {
        group: "admissionregistration.k8s.io",
        version: "v1",
        message: "admissionregistration/v1.MutatingAdmissionPolicy",
        default: policy::default,
        ..Served::HUB
    }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
