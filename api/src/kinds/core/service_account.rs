//! ServiceAccount.

use crate::kinds::generic;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::tree::Value;
use crate::types::fields::{Fields, Fill};
use crate::types::meta::plain;

const RULES: Rules = Rules {
    prepare_create: |new, _| names_of_secrets(new),
    prepare_update: |new, old, context| {
        names_of_secrets(new);
        generic::keep_generation(new, old, context);
    },
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
    subresources: &[Subresource {
        name: "token",
        kind: "TokenRequest",
        group_version: Some(("authentication.k8s.io", "v1")),
        verbs: &["create"],
    }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};

/// Secrets are in the account's namespace: of a reference only the name is kept.
fn names_of_secrets(account: &mut Value) {
    account.each("secrets", |s| {
        let mut name = Value::object();
        name.put("name", s.text("name"));
        *s = name;
    });
}
