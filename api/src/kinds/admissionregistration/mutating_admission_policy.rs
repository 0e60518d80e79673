//! MutatingAdmissionPolicy.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/mutatingadmissionpolicies",
    versions: &[Served { group: "admissionregistration.k8s.io", version: "v1", message: "admissionregistration/v1.MutatingAdmissionPolicy", ..Served::HUB }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
