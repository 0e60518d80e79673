//! Secret.

use crate::kinds::{Kind, Rules, Served, selectable};
use crate::types::core::secret;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| secret::validate(o, e)),
    validate_update: |new, old| errors(|e| secret::validate_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    storage_prefix: "/registry/secrets",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.Secret",
        default: secret::default,
        ..Served::HUB
    }],
    selectable: &[("type", |o| selectable::text(o, &["type"]))],
    rules: RULES,
    ..Kind::ROW
};
