//! MutatingAdmissionPolicyBinding.

use crate::kinds::{Kind, Rules, Served};
use crate::types::admissionregistration::policy;
use crate::types::meta::plain;

const RULES: Rules =
    Rules { validate: plain::cluster, validate_update: plain::update, ..Rules::generic(false, true) };

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/mutatingadmissionpolicybindings",
    versions: &[Served {
        group: "admissionregistration.k8s.io",
        version: "v1",
        message: "admissionregistration/v1.MutatingAdmissionPolicyBinding",
        default: policy::default_binding,
        ..Served::HUB
    }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
