//! IngressClass.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::networking::ingress_class;

const RULES: Rules = Rules {
    validate: |o| errors(|e| ingress_class::validate(o, e)),
    validate_update: |new, old| errors(|e| ingress_class::validate_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    storage_prefix: "/registry/ingressclasses",
    versions: &[Served {
        group: "networking.k8s.io",
        version: "v1",
        message: "networking/v1.IngressClass",
        default: ingress_class::default,
        ..Served::HUB
    }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
