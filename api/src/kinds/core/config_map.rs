//! ConfigMap.

use crate::kinds::{Kind, Rules, Served};
use crate::types::core::config_map;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| config_map::validate(o, e)),
    validate_update: |new, old| errors(|e| config_map::validate_update(new, old, e)),
    ..Rules::generic(false, false)
};

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
