//! NetworkPolicy.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    storage_prefix: "/registry/networkpolicies",
    versions: &[Served { group: "networking.k8s.io", version: "v1", message: "networking/v1.NetworkPolicy", ..Served::HUB }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
