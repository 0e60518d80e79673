//! ResourceQuota.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::core::resource_quota;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| resource_quota::validate(o, e)),
    validate_update: |new, old| errors(|e| resource_quota::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| resource_quota::validate_status(new, old, e)),
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    storage_prefix: "/registry/resourcequotas",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.ResourceQuota",
        default: resource_quota::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("ResourceQuota")],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
