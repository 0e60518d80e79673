//! PodTemplate.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "",
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    storage_prefix: "/registry/podtemplates",
    versions: &[Served { group: "", version: "v1", message: "core/v1.PodTemplate", ..Served::HUB }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
