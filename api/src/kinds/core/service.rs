//! Service.

use crate::kinds::{Context, generic};
use crate::kinds::{Kind, NameRule, Rules, Served, Subresource, selectable};
use crate::tree::Value;
use crate::types::core::service;
use crate::types::core::{service_ips, service_update, service_warnings};
use crate::types::errors;
use crate::types::fields::Fill;

const RULES: Rules = Rules {
    prepare_create: create,
    prepare_update: update,
    warnings: service_warnings::warnings,
    validate: |o| errors(|e| service::validate(o, e)),
    validate_update: |new, old| errors(|e| service_update::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| service_update::validate_status(new, old, e)),
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    storage_prefix: "/registry/services/specs",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.Service",
        default: service::default,
        ..Served::HUB
    }],
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
    returns_deleted: true,
    ..Kind::ROW
};

fn create(new: &mut Value, context: &Context<'_>) {
    generic::drop_status(new, context);
    service_update::sync_cluster_ips(new, None);
}

fn update(new: &mut Value, old: &Value, context: &Context<'_>) {
    service_update::patch_allocated(new, old);
    service_update::sync_cluster_ips(new, Some(old));
    service_update::drop_other_types(new, old);
    service_ips::infer_on_update(new.message("spec"), &old["spec"]);
    generic::keep_status(new, old, context);
}
