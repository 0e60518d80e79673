//! Binding.

use crate::kinds::{Kind, Rules, Served};
use crate::types::core::pod_update;
use crate::types::errors;

const RULES: Rules =
    Rules { validate: |o| errors(|e| pod_update::validate_binding(o, e)), ..Rules::generic(false, false) };

pub static KIND: Kind = Kind {
    group: "",
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Binding", ..Served::HUB }],
    verbs: &["create"],
    virtual_kind: true,
    rules: RULES,
    ..Kind::ROW
};
