//! DaemonSet.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::apps::daemon_set;
use crate::types::core::pod_warnings;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| daemon_set::validate(o, e)),
    validate_update: |new, old| errors(|e| daemon_set::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| daemon_set::validate_status(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "template"]),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    storage_prefix: "/registry/daemonsets",
    versions: &[
        Served {
            group: "apps",
            version: "v1",
            message: "apps/v1.DaemonSet",
            default: daemon_set::default,
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta2",
            message: "apps/v1beta2.DaemonSet",
            deprecation: Some(
                "apps/v1beta2 DaemonSet is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 DaemonSet",
            ),
            default: convert::legacy::daemon_set_v1beta2,
            ..Served::HUB
        },
        Served {
            group: "extensions",
            version: "v1beta1",
            message: "extensions/v1beta1.DaemonSet",
            deprecation: Some(
                "extensions/v1beta1 DaemonSet is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 DaemonSet",
            ),
            to_hub: Some(convert::apps::template_generation_to_hub),
            from_hub: Some(convert::apps::template_generation_from_hub),
            default: convert::legacy::daemon_set_extensions,
            ..Served::HUB
        },
    ],
    subresources: &[Subresource::status("DaemonSet")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
