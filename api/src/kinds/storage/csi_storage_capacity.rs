//! CSIStorageCapacity.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::storage;

const RULES: Rules = Rules {
    validate: |o| errors(|e| storage::validate_capacity(o, e)),
    validate_update: |new, old| errors(|e| storage::validate_capacity_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    storage_prefix: "/registry/csistoragecapacities",
    versions: &[Served {
        group: "storage.k8s.io",
        version: "v1",
        message: "storage/v1.CSIStorageCapacity",
        ..Served::HUB
    }],
    unconditional_update: false,
    rules: RULES,
    ..Kind::ROW
};
