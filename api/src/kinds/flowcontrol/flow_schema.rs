//! FlowSchema.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::errors;
use crate::types::flowcontrol;
use crate::types::meta::{object_meta, plain};

const RULES: Rules = Rules {
    validate: |o| errors(|e| flowcontrol::validate_flow_schema(o, e)),
    validate_update: |new, old| {
        errors(|e| {
            object_meta::validate_update(&new["metadata"], &old["metadata"], e);
            flowcontrol::validate_flow_schema(new, e);
        })
    },
    validate_status: plain::update,
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    storage_prefix: "/registry/flowschemas",
    versions: &[Served {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        message: "flowcontrol/v1.FlowSchema",
        default: flowcontrol::default_flow_schema,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("FlowSchema")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
