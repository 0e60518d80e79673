//! CSIStorageCapacity.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    storage_prefix: "/registry/csistoragecapacities",
    versions: &[Served { group: "storage.k8s.io", version: "v1", message: "storage/v1.CSIStorageCapacity", ..Served::HUB }],
    unconditional_update: false,
    rules: RULES,
    ..Kind::ROW
};
