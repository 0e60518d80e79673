//! SelfSubjectAccessReview.

use crate::kinds::{Kind, Rules, Served};
use crate::types::authorization;
use crate::types::errors;

const RULES: Rules =
    Rules { validate: |o| errors(|e| authorization::validate_self(o, e)), ..Rules::generic(false, false) };

pub static KIND: Kind = Kind {
    group: "authorization.k8s.io",
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    namespaced: false,
    versions: &[Served {
        group: "authorization.k8s.io",
        version: "v1",
        message: "authorization/v1.SelfSubjectAccessReview",
        ..Served::HUB
    }],
    verbs: &["create"],
    virtual_kind: true,
    rules: RULES,
    ..Kind::ROW
};
