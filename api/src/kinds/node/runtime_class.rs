//! RuntimeClass.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::node;

const RULES: Rules = Rules {
    validate: |o| errors(|e| node::validate(o, e)),
    validate_update: |new, old| errors(|e| node::validate_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    storage_prefix: "/registry/runtimeclasses",
    versions: &[Served {
        group: "node.k8s.io",
        version: "v1",
        message: "node/v1.RuntimeClass",
        default: node::default,
        ..Served::HUB
    }],
    create_on_update: true,
    unconditional_update: false,
    rules: RULES,
    ..Kind::ROW
};
