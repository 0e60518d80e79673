//! Node.

use crate::kinds::{selectable, Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    storage_prefix: "/registry/minions",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Node", ..Served::HUB }],
    subresources: &[
        Subresource {
            name: "proxy",
            kind: "NodeProxyOptions",
            group_version: None,
            verbs: &["create", "delete", "get", "patch", "update"],
        },
        Subresource::status("Node"),
    ],
    selectable: &[
        ("spec.unschedulable", |o| selectable::flag(o, &["spec", "unschedulable"])),
    ],
    rules: RULES,
    ..Kind::ROW
};
