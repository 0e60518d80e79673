//! Role.

use crate::kinds::{Kind, NameRule, Rules, Served};
use crate::types::errors;
use crate::types::meta::object_meta::Scope;
use crate::types::rbac;

const RULES: Rules = Rules {
    validate: |o| errors(|e| rbac::validate_role(o, Scope::Namespaced, e)),
    validate_update: |new, old| errors(|e| rbac::validate_role_update(new, old, Scope::Namespaced, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    kind: "Role",
    plural: "roles",
    singular: "role",
    storage_prefix: "/registry/roles",
    versions: &[Served {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        message: "rbac/v1.Role",
        ..Served::HUB
    }],
    create_on_update: true,
    name_rule: NameRule::PathSegment,
    rules: RULES,
    ..Kind::ROW
};
