//! EndpointSlice.

use crate::kinds::{Kind, Rules, Served};
use crate::types::discovery;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| discovery::validate(o, e)),
    validate_update: |new, old| errors(|e| discovery::validate_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    storage_prefix: "/registry/endpointslices",
    versions: &[Served {
        group: "discovery.k8s.io",
        version: "v1",
        message: "discovery/v1.EndpointSlice",
        default: discovery::default,
        ..Served::HUB
    }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
