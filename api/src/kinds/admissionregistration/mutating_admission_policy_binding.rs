//! MutatingAdmissionPolicyBinding.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/mutatingadmissionpolicybindings",
    versions: &[Served { group: "admissionregistration.k8s.io", version: "v1", message: "admissionregistration/v1.MutatingAdmissionPolicyBinding", ..Served::HUB }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
