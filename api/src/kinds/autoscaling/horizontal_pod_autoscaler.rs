//! HorizontalPodAutoscaler.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::autoscaling::hpa;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| hpa::validate(o, e)),
    validate_update: |new, old| errors(|e| hpa::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| hpa::validate_status(new, old, e)),
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    storage_prefix: "/registry/horizontalpodautoscalers",
    versions: &[
        Served {
            group: "autoscaling",
            version: "v2",
            message: "autoscaling/v2.HorizontalPodAutoscaler",
            default: hpa::default,
            ..Served::HUB
        },
        Served {
            group: "autoscaling",
            version: "v1",
            message: "autoscaling/v1.HorizontalPodAutoscaler",
            to_hub: Some(convert::autoscaling::to_v2),
            from_hub: Some(convert::autoscaling::from_v2),
            ..Served::HUB
        },
    ],
    subresources: &[Subresource::status("HorizontalPodAutoscaler")],
    rules: RULES,
    ..Kind::ROW
};
