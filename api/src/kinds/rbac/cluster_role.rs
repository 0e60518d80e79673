//! ClusterRole.

use crate::kinds::{Kind, NameRule, Rules, Served};
use crate::types::errors;
use crate::types::meta::object_meta::Scope;
use crate::types::rbac;

const RULES: Rules = Rules {
    validate: |o| errors(|e| rbac::validate_role(o, Scope::Cluster, e)),
    validate_update: |new, old| errors(|e| rbac::validate_role_update(new, old, Scope::Cluster, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    storage_prefix: "/registry/clusterroles",
    versions: &[Served {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        message: "rbac/v1.ClusterRole",
        ..Served::HUB
    }],
    create_on_update: true,
    name_rule: NameRule::PathSegment,
    rules: RULES,
    ..Kind::ROW
};
