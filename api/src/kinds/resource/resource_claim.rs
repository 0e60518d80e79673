//! ResourceClaim.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    storage_prefix: "/registry/resourceclaims",
    versions: &[Served { group: "resource.k8s.io", version: "v1", message: "resource/v1.ResourceClaim", ..Served::HUB }],
    subresources: &[
        Subresource::status("ResourceClaim"),
    ],
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
