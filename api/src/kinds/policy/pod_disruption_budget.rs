//! PodDisruptionBudget.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::errors;
use crate::types::policy;

const RULES: Rules = Rules {
    validate: |o| errors(|e| policy::validate(o, e)),
    validate_update: |new, old| errors(|e| policy::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| policy::validate_status(new, old, e)),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    storage_prefix: "/registry/poddisruptionbudgets",
    versions: &[Served {
        group: "policy",
        version: "v1",
        message: "policy/v1.PodDisruptionBudget",
        ..Served::HUB
    }],
    subresources: &[Subresource::status("PodDisruptionBudget")],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
