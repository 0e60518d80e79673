//! StorageClass.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    storage_prefix: "/registry/storageclasses",
    versions: &[Served { group: "storage.k8s.io", version: "v1", message: "storage/v1.StorageClass", ..Served::HUB }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
