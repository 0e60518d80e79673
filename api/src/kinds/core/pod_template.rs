//! PodTemplate.

use crate::field_error::Path;
use crate::kinds::{Kind, NameRule, Rules, Served};
use crate::types::core::pod_template;
use crate::types::core::pod_warnings;
use crate::types::errors;
use crate::types::fields::Fill;
use crate::types::meta::object_meta::{self, Scope};

const RULES: Rules = Rules {
    validate: |o| {
        errors(|e| {
            object_meta::validate(&o["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, e);
            pod_template::validate(&o["template"], &Path::new("template"), e);
        })
    },
    validate_update: |new, old| {
        errors(|e| {
            object_meta::validate_update(&new["metadata"], &old["metadata"], e);
            pod_template::validate(&new["template"], &Path::new("template"), e);
        })
    },
    warnings: |new, old| pod_warnings::template(new, old, &["template"]),
    ..Rules::generic(false, true)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    storage_prefix: "/registry/podtemplates",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.PodTemplate",
        default: |o| pod_template::default(o.message("template")),
        ..Served::HUB
    }],
    has_generation: true,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};
