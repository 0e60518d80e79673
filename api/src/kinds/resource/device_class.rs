//! DeviceClass.

use crate::kinds::{Kind, Rules, Served};
use crate::types::meta::plain;

const RULES: Rules =
    Rules { validate: plain::cluster, validate_update: plain::update, ..Rules::generic(false, true) };

pub static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    storage_prefix: "/registry/deviceclasses",
    versions: &[Served {
        group: "resource.k8s.io",
        version: "v1",
        message: "resource/v1.DeviceClass",
        ..Served::HUB
    }],
    has_generation: true,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
