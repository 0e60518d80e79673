//! ValidatingWebhookConfiguration.

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
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/validatingwebhookconfigurations",
    versions: &[Served {
        group: "admissionregistration.k8s.io",
        version: "v1",
        message: "admissionregistration/v1.ValidatingWebhookConfiguration",
        default: webhook::default_validating,
        ..Served::HUB
    }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
