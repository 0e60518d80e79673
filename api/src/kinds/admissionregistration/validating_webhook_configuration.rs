//! ValidatingWebhookConfiguration.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/validatingwebhookconfigurations",
    versions: &[Served { group: "admissionregistration.k8s.io", version: "v1", message: "admissionregistration/v1.ValidatingWebhookConfiguration", ..Served::HUB }],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
