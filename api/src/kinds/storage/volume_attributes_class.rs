//! VolumeAttributesClass.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    storage_prefix: "/registry/volumeattributesclasses",
    versions: &[Served { group: "storage.k8s.io", version: "v1", message: "storage/v1.VolumeAttributesClass", ..Served::HUB }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
