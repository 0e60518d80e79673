//! Endpoints.

use crate::kinds::{Kind, Rules, Served};
use crate::types::core::endpoints;
use crate::types::errors;
use crate::types::meta::object_meta;

const RULES: Rules = Rules {
    validate: |o| errors(|e| endpoints::validate(o, e)),
    validate_update: |new, old| {
        errors(|e| {
            object_meta::validate_update(&new["metadata"], &old["metadata"], e);
            endpoints::validate(new, e);
        })
    },
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    storage_prefix: "/registry/services/endpoints",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.Endpoints",
        default: endpoints::default,
        ..Served::HUB
    }],
    create_on_update: true,
    rules: RULES,
    ..Kind::ROW
};
