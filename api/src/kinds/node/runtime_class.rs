//! RuntimeClass.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    storage_prefix: "/registry/runtimeclasses",
    versions: &[Served { group: "node.k8s.io", version: "v1", message: "node/v1.RuntimeClass", ..Served::HUB }],
    unconditional_update: false,
    rules: RULES,
    ..Kind::ROW
};
