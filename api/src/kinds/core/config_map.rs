//! ConfigMap.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    storage_prefix: "/registry/configmaps",
    versions: &[Served { group: "", version: "v1", message: "core/v1.ConfigMap", ..Served::HUB }],
    rules: RULES,
    ..Kind::ROW
};
