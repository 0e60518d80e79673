//! CustomResourceDefinition.

use crate::kinds::Context;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::tree::Value;
use crate::types::apiextensions::definition;
use crate::types::errors;

const RULES: Rules = Rules {
    prepare_create: |new, _| definition::prepare_create(new),
    prepare_update: update,
    validate: |o| errors(|e| definition::validate(o, e)),
    validate_update: |new, old| errors(|e| definition::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| definition::validate_status(new, old, e)),
    ..Rules::generic(true, true)
};

fn update(new: &mut Value, old: &Value, context: &Context<'_>) {
    (Rules::generic(true, true).prepare_update)(new, old, context);
    definition::remember_storage_version(new);
}

pub static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    storage_prefix: "/registry/apiextensions.k8s.io/customresourcedefinitions",
    versions: &[Served {
        group: "apiextensions.k8s.io",
        version: "v1",
        message: "apiextensions/v1.CustomResourceDefinition",
        default: definition::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("CustomResourceDefinition")],
    unconditional_update: false,
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
