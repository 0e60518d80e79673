//! Node.

use crate::kinds::{Kind, Rules, Served, Subresource, selectable};
use crate::types::core::node;
use crate::types::errors;

const RULES: Rules = Rules {
    // A kubelet registers its node with its status.
    prepare_create: |_, _| {},
    validate: |o| errors(|e| node::validate(o, e)),
    validate_status: |new, old| errors(|e| node::validate_update(new, old, e)),
    validate_update: |new, old| errors(|e| node::validate_update(new, old, e)),
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    storage_prefix: "/registry/minions",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.Node",
        default: node::default,
        ..Served::HUB
    }],
    subresources: &[
        Subresource {
            name: "proxy",
            kind: "NodeProxyOptions",
            group_version: None,
            verbs: &["create", "delete", "get", "patch", "update"],
        },
        Subresource::status("Node"),
    ],
    selectable: &[("spec.unschedulable", |o| selectable::flag(o, &["spec", "unschedulable"]))],
    rules: RULES,
    ..Kind::ROW
};
