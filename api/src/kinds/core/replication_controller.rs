//! ReplicationController.

use crate::kinds::{selectable, Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "",
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    storage_prefix: "/registry/controllers",
    versions: &[Served { group: "", version: "v1", message: "core/v1.ReplicationController", ..Served::HUB }],
    subresources: &[
        Subresource::SCALE,
        Subresource::status("ReplicationController"),
    ],
    selectable: &[
        ("status.replicas", |o| selectable::number(o, &["status", "replicas"])),
    ],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
