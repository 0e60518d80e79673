//! StatefulSet.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::apps::stateful_set;
use crate::types::core::pod_warnings;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| stateful_set::validate(o, e)),
    validate_update: |new, old| errors(|e| stateful_set::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| stateful_set::validate_status(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "template"]),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    storage_prefix: "/registry/statefulsets",
    versions: &[
        Served {
            group: "apps",
            version: "v1",
            message: "apps/v1.StatefulSet",
            default: stateful_set::default,
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta2",
            message: "apps/v1beta2.StatefulSet",
            deprecation: Some(
                "apps/v1beta2 StatefulSet is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 StatefulSet",
            ),
            default: convert::legacy::stateful_set_v1beta2,
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta1",
            message: "apps/v1beta1.StatefulSet",
            deprecation: Some(
                "apps/v1beta1 StatefulSet is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 StatefulSet",
            ),
            default: convert::legacy::stateful_set_v1beta1,
            ..Served::HUB
        },
    ],
    subresources: &[Subresource::SCALE, Subresource::status("StatefulSet")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
