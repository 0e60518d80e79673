//! Secret.

use crate::kinds::{selectable, Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    storage_prefix: "/registry/secrets",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Secret", ..Served::HUB }],
    selectable: &[
        ("type", |o| selectable::text(o, &["type"])),
    ],
    rules: RULES,
    ..Kind::ROW
};
