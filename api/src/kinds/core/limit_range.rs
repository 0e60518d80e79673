//! LimitRange.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    storage_prefix: "/registry/limitranges",
    versions: &[Served { group: "", version: "v1", message: "core/v1.LimitRange", ..Served::HUB }],
    create_on_update: true,
    rules: RULES,
    ..Kind::ROW
};
