//! Service.

use crate::kinds::{selectable, Kind, NameRule, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    storage_prefix: "/registry/services/specs",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Service", ..Served::HUB }],
    subresources: &[
        Subresource {
            name: "proxy",
            kind: "ServiceProxyOptions",
            group_version: None,
            verbs: &["create", "delete", "get", "patch", "update"],
        },
        Subresource::status("Service"),
    ],
    create_on_update: true,
    name_rule: NameRule::Dns1035Label,
    selectable: &[
        ("spec.clusterIP", |o| selectable::text(o, &["spec", "clusterIP"])),
        ("spec.type", |o| selectable::text(o, &["spec", "type"])),
    ],
    rules: RULES,
    ..Kind::ROW
};
