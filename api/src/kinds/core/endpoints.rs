//! Endpoints.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    storage_prefix: "/registry/services/endpoints",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Endpoints", ..Served::HUB }],
    create_on_update: true,
    rules: RULES,
    ..Kind::ROW
};
