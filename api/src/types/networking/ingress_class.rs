//! `networking.k8s.io/v1.IngressClass`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, immutable, invalid_each, one_of, required_text};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const CONTROLLER_MAX: usize = 250;

pub fn default(class: &mut Value) {
    class.within("spec", |s| s.within("parameters", |p| p.fill_absent("scope", "Cluster")));
}

pub fn validate(class: &Value, errs: &mut ErrorList) {
    object_meta::validate(&class["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&class["spec"], Path::new("spec"));
    let (controller, at) = (spec.text("controller"), path.child("controller"));
    if controller.len() > CONTROLLER_MAX {
        errs.push(FieldError::too_long(&at, CONTROLLER_MAX));
    }
    if controller.is_empty() {
        errs.push(FieldError::required(&at, ""));
    } else {
        for (value, message) in format::domain_prefixed_path(controller) {
            errs.push(FieldError::invalid(&at, value, message));
        }
    }
    if let Some(parameters) = spec.opt("parameters") {
        let at = path.child("parameters");
        required_text(errs, &at.child("kind"), parameters.text("kind"));
        required_text(errs, &at.child("name"), parameters.text("name"));
        let scope = parameters.text("scope");
        one_of(errs, &at.child("scope"), scope, &["Cluster", "Namespace"]);
        let namespace = parameters.opt_text("namespace");
        match (scope, namespace) {
            ("Namespace", None | Some("")) => errs.push(FieldError::required(
                &at.child("namespace"),
                "`parameters.scope` is set to 'Namespace'",
            )),
            ("Namespace", Some(ns)) => invalid_each(errs, &at.child("namespace"), ns, format::dns_label(ns)),
            ("Cluster", Some(_)) => errs.push(FieldError::forbidden(
                &at.child("namespace"),
                "`parameters.scope` is set to 'Cluster'",
            )),
            _ => {}
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("spec");
    immutable(errs, &path.child("controller"), &new["spec"]["controller"], &old["spec"]["controller"]);
    validate(new, errs);
}
