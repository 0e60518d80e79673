//! Lease.

use crate::kinds::{Kind, Rules, Served};
use crate::types::coordination;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| coordination::validate(o, e)),
    validate_update: |new, old| errors(|e| coordination::validate_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    storage_prefix: "/registry/leases",
    versions: &[Served {
        group: "coordination.k8s.io",
        version: "v1",
        message: "coordination/v1.Lease",
        ..Served::HUB
    }],
    create_on_update: true,
    unconditional_update: false,
    rules: RULES,
    ..Kind::ROW
};
