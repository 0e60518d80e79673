//! ResourceClaimTemplate.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    storage_prefix: "/registry/resourceclaimtemplates",
    versions: &[Served { group: "resource.k8s.io", version: "v1", message: "resource/v1.ResourceClaimTemplate", ..Served::HUB }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
