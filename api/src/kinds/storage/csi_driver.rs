//! CSIDriver.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    storage_prefix: "/registry/csidrivers",
    versions: &[Served { group: "storage.k8s.io", version: "v1", message: "storage/v1.CSIDriver", ..Served::HUB }],
    unconditional_update: false,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
