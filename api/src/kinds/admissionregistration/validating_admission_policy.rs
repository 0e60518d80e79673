//! ValidatingAdmissionPolicy.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/validatingadmissionpolicies",
    versions: &[Served { group: "admissionregistration.k8s.io", version: "v1", message: "admissionregistration/v1.ValidatingAdmissionPolicy", ..Served::HUB }],
    subresources: &[
        Subresource::status("ValidatingAdmissionPolicy"),
    ],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
