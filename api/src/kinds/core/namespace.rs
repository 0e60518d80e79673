//! Namespace.

use crate::kinds::{selectable, Kind, NameRule, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    storage_prefix: "/registry/namespaces",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Namespace", ..Served::HUB }],
    subresources: &[
        Subresource {
            name: "finalize",
            kind: "Namespace",
            group_version: None,
            verbs: &["update"],
        },
        Subresource::status("Namespace"),
    ],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    name_rule: NameRule::DnsLabel,
    selectable: &[
        ("status.phase", |o| selectable::text(o, &["status", "phase"])),
    ],
    rules: RULES,
    ..Kind::ROW
};
