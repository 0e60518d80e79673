//! NetworkPolicy.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::networking::network_policy;

const RULES: Rules = Rules {
    validate: |o| errors(|e| network_policy::validate(o, e)),
    validate_update: |new, old| errors(|e| network_policy::validate_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    storage_prefix: "/registry/networkpolicies",
    versions: &[Served {
        group: "networking.k8s.io",
        version: "v1",
        message: "networking/v1.NetworkPolicy",
        default: network_policy::default,
        ..Served::HUB
    }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
