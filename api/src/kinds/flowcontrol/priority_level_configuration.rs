//! PriorityLevelConfiguration.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::errors;
use crate::types::flowcontrol;
use crate::types::meta::{object_meta, plain};

const RULES: Rules = Rules {
    validate: |o| errors(|e| flowcontrol::validate_priority_level(o, e)),
    validate_update: |new, old| {
        errors(|e| {
            object_meta::validate_update(&new["metadata"], &old["metadata"], e);
            flowcontrol::validate_priority_level(new, e);
        })
    },
    validate_status: plain::update,
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    storage_prefix: "/registry/prioritylevelconfigurations",
    versions: &[Served {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        message: "flowcontrol/v1.PriorityLevelConfiguration",
        default: flowcontrol::default_priority_level,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("PriorityLevelConfiguration")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
