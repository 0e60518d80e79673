//! PersistentVolume.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    storage_prefix: "/registry/persistentvolumes",
    versions: &[Served { group: "", version: "v1", message: "core/v1.PersistentVolume", ..Served::HUB }],
    subresources: &[
        Subresource::status("PersistentVolume"),
    ],
    rules: RULES,
    ..Kind::ROW
};
