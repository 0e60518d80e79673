//! ValidatingAdmissionPolicy.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::admissionregistration::policy;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| policy::validate(o, e)),
    validate_update: |new, old| errors(|e| policy::validate_update(new, old, e)),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/validatingadmissionpolicies",
    versions: &[Served {
        group: "admissionregistration.k8s.io",
        version: "v1",
        message: "admissionregistration/v1.ValidatingAdmissionPolicy",
        default: policy::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("ValidatingAdmissionPolicy")],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
