//! MutatingWebhookConfiguration.

use crate::kinds::{Kind, Rules, Served};
use crate::types::admissionregistration::webhook;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| webhook::validate(o, e)),
    validate_update: |new, old| errors(|e| webhook::validate_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/mutatingwebhookconfigurations",
    versions: &[Served {
        group: "admissionregistration.k8s.io",
        version: "v1",
        message: "admissionregistration/v1.MutatingWebhookConfiguration",
        default: webhook::default_mutating,
        ..Served::HUB
    }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
