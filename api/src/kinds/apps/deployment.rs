//! Deployment.

use crate::convert;
use crate::kinds::{Context, generic};
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::tree::Value;
use crate::types::apps::deployment;
use crate::types::core::pod_warnings;
use crate::types::errors;
use crate::types::fields::{Fields, Fill, same};

const RULES: Rules = Rules {
    prepare_update: update,
    prepare_status: status,
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
        Served {
            group: "apps",
            version: "v1",
            message: "apps/v1.Deployment",
            default: deployment::default,
            ..Served::HUB
        },
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
    subresources: &[Subresource::SCALE, Subresource::status("Deployment")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};

/// Annotations count as desired state: they carry what a rollout is told.
fn update(new: &mut Value, old: &Value, context: &Context<'_>) {
    (Rules::generic(true, true).prepare_update)(new, old, context);
    let generation = old["metadata"].int("generation");
    let annotated = !same(&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    if annotated && new["metadata"].int("generation") == generation {
        new.message("metadata").put("generation", generation + 1);
    }
}

/// Through `status` labels stay as they are.
fn status(new: &mut Value, old: &Value, context: &Context<'_>) {
    generic::only_status(new, old, context);
    let labels = old["metadata"]["labels"].clone();
    let metadata = new.message("metadata");
    if labels.is_null() {
        metadata.drop_field("labels");
    } else {
        metadata.put("labels", labels);
    }
}
