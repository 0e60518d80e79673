//! ResourceQuota.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "",
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    storage_prefix: "/registry/resourcequotas",
    versions: &[Served { group: "", version: "v1", message: "core/v1.ResourceQuota", ..Served::HUB }],
    subresources: &[
        Subresource::status("ResourceQuota"),
    ],
    rules: RULES,
    ..Kind::ROW
};
