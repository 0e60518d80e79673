//! ResourceSlice.

use crate::kinds::{Kind, Rules, Served, selectable};
use crate::types::meta::plain;

const RULES: Rules =
    Rules { validate: plain::cluster, validate_update: plain::update, ..Rules::generic(false, true) };

pub static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    storage_prefix: "/registry/resourceslices",
    versions: &[Served {
        group: "resource.k8s.io",
        version: "v1",
        message: "resource/v1.ResourceSlice",
        ..Served::HUB
    }],
    selectable: &[
        ("spec.nodeName", |o| selectable::text(o, &["spec", "nodeName"])),
        ("spec.driver", |o| selectable::text(o, &["spec", "driver"])),
    ],
    has_generation: true,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
