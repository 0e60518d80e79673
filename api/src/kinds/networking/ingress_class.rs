//! IngressClass.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    storage_prefix: "/registry/ingressclasses",
    versions: &[Served { group: "networking.k8s.io", version: "v1", message: "networking/v1.IngressClass", ..Served::HUB }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
