//! FlowSchema.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    storage_prefix: "/registry/flowschemas",
    versions: &[Served { group: "flowcontrol.apiserver.k8s.io", version: "v1", message: "flowcontrol/v1.FlowSchema", ..Served::HUB }],
    subresources: &[
        Subresource::status("FlowSchema"),
    ],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
