//! PriorityLevelConfiguration.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    storage_prefix: "/registry/prioritylevelconfigurations",
    versions: &[Served { group: "flowcontrol.apiserver.k8s.io", version: "v1", message: "flowcontrol/v1.PriorityLevelConfiguration", ..Served::HUB }],
    subresources: &[
        Subresource::status("PriorityLevelConfiguration"),
    ],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
