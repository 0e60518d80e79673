//! Binding.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

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
