//! LimitRange.

use crate::kinds::{Kind, Rules, Served};
use crate::types::core::limit_range;
use crate::types::errors;
use crate::types::meta::object_meta;

const RULES: Rules = Rules {
    validate: |o| errors(|e| limit_range::validate(o, e)),
    validate_update: |new, old| {
        errors(|e| {
            object_meta::validate_update(&new["metadata"], &old["metadata"], e);
            limit_range::validate(new, e);
        })
    },
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    storage_prefix: "/registry/limitranges",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.LimitRange",
        default: limit_range::default,
        ..Served::HUB
    }],
    create_on_update: true,
    rules: RULES,
    ..Kind::ROW
};
