//! ControllerRevision.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::{Kind, NameRule, Rules, Served};
use crate::tree::Value;
use crate::types::errors;
use crate::types::fields::{Fields, immutable, non_negative};
use crate::types::meta::object_meta::{self, Scope};

const RULES: Rules = Rules {
    validate: |o| errors(|e| validate(o, e)),
    validate_update: |new, old| {
        errors(|e| {
            object_meta::validate_update(&new["metadata"], &old["metadata"], e);
            validate_content(new, e);
            immutable(e, &Path::new("data"), &new["data"], &old["data"]);
        })
    },
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    storage_prefix: "/registry/controllerrevisions",
    versions: &[
        Served { group: "apps", version: "v1", message: "apps/v1.ControllerRevision", ..Served::HUB },
        Served {
            group: "apps",
            version: "v1beta2",
            message: "apps/v1beta2.ControllerRevision",
            deprecation: Some(
                "apps/v1beta2 ControllerRevision is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 ControllerRevision",
            ),
            ..Served::HUB
        },
        Served {
            group: "apps",
            version: "v1beta1",
            message: "apps/v1beta1.ControllerRevision",
            deprecation: Some(
                "apps/v1beta1 ControllerRevision is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 ControllerRevision",
            ),
            ..Served::HUB
        },
    ],
    rules: RULES,
    ..Kind::ROW
};

fn validate(revision: &Value, errs: &mut ErrorList) {
    object_meta::validate(&revision["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_content(revision, errs);
}

fn validate_content(revision: &Value, errs: &mut ErrorList) {
    if !revision.has("data") {
        errs.push(FieldError::required(&Path::new("data"), "data is mandatory"));
    }
    non_negative(errs, &Path::new("revision"), revision.int("revision"));
}
