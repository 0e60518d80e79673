//! ReplicationController.

use crate::kinds::{Kind, Rules, Served, Subresource, selectable};
use crate::types::core::pod_warnings;
use crate::types::core::replication_controller;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| replication_controller::validate(o, e)),
    validate_update: |new, old| errors(|e| replication_controller::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| replication_controller::validate_status(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "template"]),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    storage_prefix: "/registry/controllers",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.ReplicationController",
        default: replication_controller::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::SCALE, Subresource::status("ReplicationController")],
    selectable: &[("status.replicas", |o| selectable::number(o, &["status", "replicas"]))],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
