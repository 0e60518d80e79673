//! CustomResourceDefinition.

use crate::kinds::{Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/apiextensions.k8s.io/customresourcedefinitions",
    versions: &[Served { group: "apiextensions.k8s.io", version: "v1", message: "apiextensions/v1.CustomResourceDefinition", ..Served::HUB }],
    subresources: &[
        Subresource::status("CustomResourceDefinition"),
    ],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
