//! PersistentVolumeClaim.

use crate::kinds::generic;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::core::persistent_volume_claim;
use crate::types::errors;
use crate::types::fields::Fill;

const RULES: Rules = Rules {
    prepare_create: |new, _| {
        new.put("status", crate::value!({"phase": "Pending"}));
        persistent_volume_claim::fill_data_sources(new);
    },
    prepare_update: |new, old, context| {
        persistent_volume_claim::fill_data_sources(new);
        generic::keep_status(new, old, context);
    },
    validate: |o| errors(|e| persistent_volume_claim::validate(o, e)),
    validate_update: |new, old| errors(|e| persistent_volume_claim::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| persistent_volume_claim::validate_status(new, old, e)),
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    storage_prefix: "/registry/persistentvolumeclaims",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.PersistentVolumeClaim",
        default: persistent_volume_claim::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("PersistentVolumeClaim")],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
