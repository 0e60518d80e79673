//! APIService.

use crate::kinds::{Kind, NameRule, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/apiregistration.k8s.io/apiservices",
    versions: &[Served { group: "apiregistration.k8s.io", version: "v1", message: "apiregistration/v1.APIService", ..Served::HUB }],
    subresources: &[
        Subresource::status("APIService"),
    ],
    unconditional_update: false,
    name_rule: NameRule::PathSegment,
    rules: RULES,
    ..Kind::ROW
};
