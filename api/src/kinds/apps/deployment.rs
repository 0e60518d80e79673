//! Deployment.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::core::pod_warnings;
use crate::types::errors;
use crate::types::apps::deployment;

const RULES: Rules = Rules {
    validate: |o| errors(|e| deployment::validate(o, e)),
    validate_update: |new, old| errors(|e| deployment::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| deployment::validate_status(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "template"]),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    storage_prefix: "/registry/deployments",
    versions: &[
        Served { group: "apps", version: "v1", message: "apps/v1.Deployment", default: deployment::default, ..Served::HUB },
        Served {
            group: "apps",
            version: "v1beta2",
            message: "apps/v1beta2.Deployment",
            deprecation: Some(
                "apps/v1beta2 Deployment is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 Deployment",
            ),
            default: convert::legacy::deployment_v1beta2,
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta1",
            message: "apps/v1beta1.Deployment",
            deprecation: Some(
                "apps/v1beta1 Deployment is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 Deployment",
            ),
            to_hub: Some(convert::apps::rollback_to_hub),
            from_hub: Some(convert::apps::rollback_from_hub),
            default: convert::legacy::deployment_v1beta1,
            ..Served::HUB
        },
        Served {
            group: "extensions",
            version: "v1beta1",
            message: "extensions/v1beta1.Deployment",
            deprecation: Some(
                "extensions/v1beta1 Deployment is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 Deployment",
            ),
            to_hub: Some(convert::apps::rollback_to_hub),
            from_hub: Some(convert::apps::rollback_from_hub),
            default: convert::legacy::deployment_extensions,
            ..Served::HUB
        },
    ],
    subresources: &[
        Subresource::SCALE,
        Subresource::status("Deployment"),
    ],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
