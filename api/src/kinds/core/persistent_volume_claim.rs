//! PersistentVolumeClaim.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    storage_prefix: "/registry/persistentvolumeclaims",
    versions: &[Served { group: "", version: "v1", message: "core/v1.PersistentVolumeClaim", ..Served::HUB }],
    subresources: &[
        Subresource::status("PersistentVolumeClaim"),
    ],
    rules: RULES,
    ..Kind::ROW
};
