//! PriorityClass.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::scheduling;

const RULES: Rules = Rules {
    validate: |o| errors(|e| scheduling::validate(o, e)),
    validate_update: |new, old| errors(|e| scheduling::validate_update(new, old, e)),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    storage_prefix: "/registry/priorityclasses",
    versions: &[Served {
        group: "scheduling.k8s.io",
        version: "v1",
        message: "scheduling/v1.PriorityClass",
        default: scheduling::default,
        ..Served::HUB
    }],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
