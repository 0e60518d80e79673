//! TokenReview.

use crate::kinds::{Kind, Rules, Served};

const RULES: Rules = Rules::generic(false, false);

pub static KIND: Kind = Kind {
    group: "authentication.k8s.io",
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    namespaced: false,
    versions: &[Served {
        group: "authentication.k8s.io",
        version: "v1",
        message: "authentication/v1.TokenReview",
        ..Served::HUB
    }],
    verbs: &["create"],
    virtual_kind: true,
    rules: RULES,
    ..Kind::ROW
};
