//! ResourceClaim.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::errors;
use crate::types::meta::plain;
use crate::types::resource;

const RULES: Rules = Rules {
    validate: |o| errors(|e| resource::validate_claim(o, e)),
    validate_update: |new, old| errors(|e| resource::validate_claim_update(new, old, e)),
    validate_status: plain::update,
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    storage_prefix: "/registry/resourceclaims",
    versions: &[Served {
        group: "resource.k8s.io",
        version: "v1",
        message: "resource/v1.ResourceClaim",
        default: resource::default_claim,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("ResourceClaim")],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
