//! ComponentStatus.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "ComponentStatus",
    plural: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    namespaced: false,
    versions: &[Served { group: "", version: "v1", message: "core/v1.ComponentStatus", ..Served::HUB }],
    verbs: &["get", "list"],
    virtual_kind: true,
    rules: RULES,
    ..Kind::ROW
};
