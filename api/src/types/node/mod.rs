//! `node.k8s.io/v1`: RuntimeClass.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::resources::{self, Level, default_list};
use crate::types::core::toleration::validate_tolerations;
use crate::types::fields::{Fields, Fill, immutable, invalid_each};
use crate::types::format;
use crate::types::meta::label_selector::validate_labels;
use crate::types::meta::object_meta::{self, Scope};

pub fn default(class: &mut Value) {
    class.within("overhead", |o| o.within("podFixed", default_list));
}

pub fn validate(class: &Value, errs: &mut ErrorList) {
    object_meta::validate(&class["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let handler = class.text("handler");
    invalid_each(errs, &Path::new("handler"), handler, format::dns_label(handler));
    if let Some(overhead) = class["overhead"].opt("podFixed") {
        let mut requirements = Value::object();
        requirements.put("limits", overhead.clone());
        let path = Path::new("overhead");
        resources::validate_requirements(
            &requirements,
            Level::Container,
            &BTreeSet::new(),
            &path.child("podFixed"),
            errs,
        );
    }
    let (scheduling, path) = (&class["scheduling"], Path::new("scheduling"));
    validate_labels(&scheduling["nodeSelector"], &path.child("nodeSelector"), errs);
    validate_tolerations(scheduling.list("tolerations"), &path.child("tolerations"), errs);
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    immutable(errs, &Path::new("handler"), &new["handler"], &old["handler"]);
}
