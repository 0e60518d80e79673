//! SelfSubjectRulesReview.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "authorization.k8s.io",
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    namespaced: false,
    versions: &[Served {
        group: "authorization.k8s.io",
        version: "v1",
        message: "authorization/v1.SelfSubjectRulesReview",
        ..Served::HUB
    }],
    verbs: &["create"],
    virtual_kind: true,
    rules: RULES,
    ..Kind::ROW
};
