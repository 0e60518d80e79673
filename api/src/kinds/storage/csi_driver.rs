//! CSIDriver.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::storage;

const RULES: Rules = Rules {
    validate: |o| errors(|e| storage::validate_csi_driver(o, e)),
    validate_update: |new, old| errors(|e| storage::validate_csi_driver_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    storage_prefix: "/registry/csidrivers",
    versions: &[Served {
        group: "storage.k8s.io",
        version: "v1",
        message: "storage/v1.CSIDriver",
        default: storage::default_csi_driver,
        ..Served::HUB
    }],
    unconditional_update: false,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
