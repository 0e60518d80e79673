//! VolumeAttachment.

use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::errors;
use crate::types::meta::plain;
use crate::types::storage;

const RULES: Rules = Rules {
    validate: |o| errors(|e| storage::validate_attachment(o, e)),
    validate_update: |new, old| errors(|e| storage::validate_attachment_update(new, old, e)),
    validate_status: plain::update,
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    storage_prefix: "/registry/volumeattachments",
    versions: &[Served {
        group: "storage.k8s.io",
        version: "v1",
        message: "storage/v1.VolumeAttachment",
        ..Served::HUB
    }],
    subresources: &[Subresource::status("VolumeAttachment")],
    unconditional_update: false,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
