//! ReplicaSet.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, Subresource, selectable};
use crate::types::apps::replica_set;
use crate::types::core::pod_warnings;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| replica_set::validate(o, e)),
    validate_update: |new, old| errors(|e| replica_set::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| replica_set::validate_status(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "template"]),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    storage_prefix: "/registry/replicasets",
    versions: &[
        Served {
            group: "apps",
            version: "v1",
            message: "apps/v1.ReplicaSet",
            default: replica_set::default,
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta2",
            message: "apps/v1beta2.ReplicaSet",
            deprecation: Some(
                "apps/v1beta2 ReplicaSet is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 ReplicaSet",
            ),
            default: convert::legacy::replica_set_v1beta2,
            ..Served::HUB
        },
        Served {
            group: "extensions",
            version: "v1beta1",
            message: "extensions/v1beta1.ReplicaSet",
            deprecation: Some(
                "extensions/v1beta1 ReplicaSet is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 ReplicaSet",
            ),
            default: convert::legacy::replica_set_extensions,
            ..Served::HUB
        },
    ],
    subresources: &[Subresource::SCALE, Subresource::status("ReplicaSet")],
    selectable: &[("status.replicas", |o| selectable::number(o, &["status", "replicas"]))],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
