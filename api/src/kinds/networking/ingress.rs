//! Ingress.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::errors;
use crate::types::networking::ingress;

const RULES: Rules = Rules {
    validate: |o| errors(|e| ingress::validate_create(o, e)),
    validate_update: |new, old| errors(|e| ingress::validate_update(new, old, e)),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    storage_prefix: "/registry/ingress",
    versions: &[Served {
        group: "networking.k8s.io",
        version: "v1",
        message: "networking/v1.Ingress",
        ..Served::HUB
    }],
    subresources: &[Subresource::status("Ingress")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
