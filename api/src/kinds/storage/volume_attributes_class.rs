//! VolumeAttributesClass.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::storage;

const RULES: Rules = Rules {
    validate: |o| errors(|e| storage::validate_attributes_class(o, e)),
    validate_update: |new, old| errors(|e| storage::validate_attributes_class_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    storage_prefix: "/registry/volumeattributesclasses",
    versions: &[Served {
        group: "storage.k8s.io",
        version: "v1",
        message: "storage/v1.VolumeAttributesClass",
        ..Served::HUB
    }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
