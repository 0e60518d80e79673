//! Lease.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    storage_prefix: "/registry/leases",
    versions: &[Served { group: "coordination.k8s.io", version: "v1", message: "coordination/v1.Lease", ..Served::HUB }],
    create_on_update: true,
    unconditional_update: false,
    rules: RULES,
    ..Kind::ROW
};
