//! EndpointSlice.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    storage_prefix: "/registry/endpointslices",
    versions: &[Served { group: "discovery.k8s.io", version: "v1", message: "discovery/v1.EndpointSlice", ..Served::HUB }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
