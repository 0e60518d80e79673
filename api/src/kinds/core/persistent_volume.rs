//! PersistentVolume.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::core::persistent_volume;
use crate::types::errors;
use crate::types::fields::Fill;

const RULES: Rules = Rules {
    prepare_create: |new, _| new.put("status", crate::value!({"phase": "Pending"})),
    validate: |o| errors(|e| persistent_volume::validate(o, e)),
    validate_update: |new, old| errors(|e| persistent_volume::validate_update(new, old, e)),
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    storage_prefix: "/registry/persistentvolumes",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.PersistentVolume",
        default: persistent_volume::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("PersistentVolume")],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
