//! ControllerRevision.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    storage_prefix: "/registry/controllerrevisions",
    versions: &[
        Served { group: "apps", version: "v1", message: "apps/v1.ControllerRevision", ..Served::HUB },
        Served {
            group: "apps",
            version: "v1beta2",
            message: "apps/v1beta2.ControllerRevision",
            deprecation: Some(
                "apps/v1beta2 ControllerRevision is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 ControllerRevision",
            ),
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta1",
            message: "apps/v1beta1.ControllerRevision",
            deprecation: Some(
                "apps/v1beta1 ControllerRevision is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 ControllerRevision",
            ),
            ..Served::HUB
        },
    ],
    rules: RULES,
    ..Kind::ROW
};
