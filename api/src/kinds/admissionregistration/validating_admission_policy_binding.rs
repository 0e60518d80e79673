//! ValidatingAdmissionPolicyBinding.

use crate::kinds::{Kind, Rules, Served};
use crate::types::admissionregistration::policy;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| policy::validate_binding(o, e)),
    validate_update: |new, old| errors(|e| policy::validate_binding_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/validatingadmissionpolicybindings",
    versions: &[Served {
        group: "admissionregistration.k8s.io",
        version: "v1",
        message: "admissionregistration/v1.ValidatingAdmissionPolicyBinding",
        default: policy::default_binding,
        ..Served::HUB
    }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
