//! PriorityClass.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, true);

pub static KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    storage_prefix: "/registry/priorityclasses",
    versions: &[Served { group: "scheduling.k8s.io", version: "v1", message: "scheduling/v1.PriorityClass", ..Served::HUB }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
