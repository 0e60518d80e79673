//! VolumeAttachment.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    storage_prefix: "/registry/volumeattachments",
    versions: &[Served { group: "storage.k8s.io", version: "v1", message: "storage/v1.VolumeAttachment", ..Served::HUB }],
    subresources: &[
        Subresource::status("VolumeAttachment"),
    ],
    unconditional_update: false,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
