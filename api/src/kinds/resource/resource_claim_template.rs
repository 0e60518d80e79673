//! ResourceClaimTemplate.

use crate::kinds::{Kind, Rules, Served};
use crate::types::errors;
use crate::types::resource;

const RULES: Rules = Rules {
    validate: |o| errors(|e| resource::validate_template(o, e)),
    validate_update: |new, old| errors(|e| resource::validate_claim_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    storage_prefix: "/registry/resourceclaimtemplates",
    versions: &[Served {
        group: "resource.k8s.io",
        version: "v1",
        message: "resource/v1.ResourceClaimTemplate",
        default: resource::default_template,
        ..Served::HUB
    }],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
