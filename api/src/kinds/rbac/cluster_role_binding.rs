//! ClusterRoleBinding.

use crate::kinds::{Kind, NameRule, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    storage_prefix: "/registry/clusterrolebindings",
    versions: &[Served { group: "rbac.authorization.k8s.io", version: "v1", message: "rbac/v1.ClusterRoleBinding", ..Served::HUB }],
    create_on_update: true,
    name_rule: NameRule::PathSegment,
    rules: RULES,
    ..Kind::ROW
};
