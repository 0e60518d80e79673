//! APIService.

use crate::kinds::{Kind, NameRule, Rules, Served, Subresource};
use crate::types::apiregistration;
use crate::types::errors;
use crate::types::meta::plain;

const RULES: Rules = Rules {
    validate: |o| errors(|e| apiregistration::validate(o, e)),
    validate_update: |new, old| errors(|e| apiregistration::validate_update(new, old, e)),
    validate_status: plain::update,
    ..Rules::generic(true, false)
};

pub static KIND: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/apiregistration.k8s.io/apiservices",
    versions: &[Served {
        group: "apiregistration.k8s.io",
        version: "v1",
        message: "apiregistration/v1.APIService",
        default: apiregistration::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("APIService")],
    unconditional_update: false,
    name_rule: NameRule::PathSegment,
    rules: RULES,
    ..Kind::ROW
};
