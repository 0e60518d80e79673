//! StorageClass.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::storage;

const RULES: Rules = Rules {
    validate: |o| errors(|e| storage::validate_storage_class(o, e)),
    validate_update: |new, old| errors(|e| storage::validate_storage_class_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    storage_prefix: "/registry/storageclasses",
    versions: &[Served {
        group: "storage.k8s.io",
        version: "v1",
        message: "storage/v1.StorageClass",
        default: storage::default_storage_class,
        ..Served::HUB
    }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
