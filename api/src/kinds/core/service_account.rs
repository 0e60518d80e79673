//! ServiceAccount.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::meta::plain;

const RULES: Rules = Rules {
    validate: plain::namespaced,
    validate_update: plain::update,
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    storage_prefix: "/registry/serviceaccounts",
    versions: &[Served { group: "", version: "v1", message: "core/v1.ServiceAccount", ..Served::HUB }],
    subresources: &[
        Subresource {
            name: "token",
            kind: "TokenRequest",
            group_version: Some(("authentication.k8s.io", "v1")),
            verbs: &["create"],
        },
    ],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
