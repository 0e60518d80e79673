//! IPAddress.

use crate::kinds::{Kind, Rules, Served};
use crate::types::meta::plain;

const RULES: Rules =
    Rules { validate: plain::cluster, validate_update: plain::update, ..Rules::generic(false, false) };

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    storage_prefix: "/registry/ipaddresses",
    versions: &[Served {
        group: "networking.k8s.io",
        version: "v1",
        message: "networking/v1.IPAddress",
        ..Served::HUB
    }],
    rules: RULES,
    ..Kind::ROW
};
