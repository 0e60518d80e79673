//! Namespace.

use crate::kinds::{Context, Through, generic};
use crate::kinds::{Kind, NameRule, Rules, Served, Subresource, selectable};
use crate::tree::Value;
use crate::types::core::namespace;
use crate::types::errors;
use crate::types::fields::{Fields, Fill};

const RULES: Rules = Rules {
    prepare_create: |new, _| namespace::prepare_create(new),
    prepare_update: namespace_update,
    validate: |o| errors(|e| namespace::validate(o, e)),
    validate_update: |new, old| errors(|e| namespace::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| namespace::validate_status(new, old, e)),
    ..Rules::generic(true, false)
};

pub(in crate::kinds) const FINALIZE: Through = Through {
    // Finalizers alone are taken; the status is the namespace controller's.
    prepare: |new, old, context| generic::keep_status(new, old, context),
    validate: |new, old| errors(|e| namespace::validate_finalize(new, old, e)),
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    storage_prefix: "/registry/namespaces",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.Namespace",
        default: namespace::default,
        ..Served::HUB
    }],
    subresources: &[
        Subresource { name: "finalize", kind: "Namespace", group_version: None, verbs: &["update"] },
        Subresource::status("Namespace"),
    ],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    name_rule: NameRule::DnsLabel,
    selectable: &[("status.phase", |o| selectable::text(o, &["status", "phase"]))],
    rules: RULES,
    ..Kind::ROW
};

/// Finalizers change through `finalize` alone.
fn namespace_update(new: &mut Value, old: &Value, context: &Context<'_>) {
    new.message("spec").drop_field("finalizers");
    if old["spec"].has("finalizers") {
        new.message("spec").put("finalizers", old["spec"]["finalizers"].clone());
    }
    generic::keep_status(new, old, context);
}
