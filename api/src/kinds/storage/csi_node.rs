//! CSINode.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::meta::plain;
use crate::types::storage;

const RULES: Rules = Rules {
    validate: |o| errors(|e| storage::validate_csi_node(o, e)),
    validate_update: plain::update,
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    storage_prefix: "/registry/csinodes",
    versions: &[Served {
        group: "storage.k8s.io",
        version: "v1",
        message: "storage/v1.CSINode",
        ..Served::HUB
    }],
    unconditional_update: false,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
