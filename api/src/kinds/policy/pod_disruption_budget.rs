//! PodDisruptionBudget.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    storage_prefix: "/registry/poddisruptionbudgets",
    versions: &[Served { group: "policy", version: "v1", message: "policy/v1.PodDisruptionBudget", ..Served::HUB }],
    subresources: &[
        Subresource::status("PodDisruptionBudget"),
    ],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
