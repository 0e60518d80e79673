//! ServiceCIDR.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::meta::plain;

const RULES: Rules =
    Rules { validate: plain::cluster, validate_update: plain::update, ..Rules::generic(true, false) };

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    storage_prefix: "/registry/servicecidrs",
    versions: &[Served {
        group: "networking.k8s.io",
        version: "v1",
        message: "networking/v1.ServiceCIDR",
        ..Served::HUB
    }],
    subresources: &[Subresource::status("ServiceCIDR")],
    rules: RULES,
    ..Kind::ROW
};
