//! `apiregistration.k8s.io/v1`: APIService.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, invalid_each, required_text};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const PORT: i64 = 443;

pub fn default(service: &mut Value) {
    service.within("spec", |s| s.within("service", |r| r.fill_absent("port", PORT)));
}

pub fn validate(service: &Value, errs: &mut ErrorList) {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let (group, version) = (spec.text("group"), spec.text("version"));
    let expected = format!("{version}.{group}");
    let name = service["metadata"].text("name");
    object_meta::validate(&service["metadata"], Scope::Cluster, NameRule::PathSegment, errs);
    if name != expected {
        let metadata = Path::new("metadata");
        errs.push(FieldError::invalid(
            &metadata.child("name"),
            name,
            format!("must be `spec.version+\".\"+spec.group`: {expected:?}"),
        ));
    }
    if group.is_empty() {
        if version != "v1" {
            errs.push(FieldError::required(
                &path.child("group"),
                "only v1 may have an empty group and it better be legacy kube",
            ));
        }
    } else {
        invalid_each(errs, &path.child("group"), group, format::dns_subdomain(group));
    }
    invalid_each(errs, &path.child("version"), version, format::dns_1035_label(version));
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.int(field);
        if priority <= 0 || priority > max {
            errs.push(FieldError::invalid(
                &path.child(field),
                priority,
                format!("must be positive and less than {max}"),
            ));
        }
    }
    let at = path.child("service");
    match spec.opt("service") {
        Some(r) => {
            required_text(errs, &at.child("namespace"), r.text("namespace"));
            required_text(errs, &at.child("name"), r.text("name"));
            if let Some(port) = r.opt_int("port") {
                let at = at.child("port");
                errs.extend(format::port_number(port).into_iter().map(|m| FieldError::invalid(&at, port, m)));
            }
            if spec.flag("insecureSkipTLSVerify") && !spec.text("caBundle").is_empty() {
                errs.push(FieldError::invalid(
                    &path.child("insecureSkipTLSVerify"),
                    true,
                    "may not be true if caBundle is present",
                ));
            }
        }
        None => {
            if !spec.text("caBundle").is_empty() {
                errs.push(FieldError::invalid(
                    &path.child("caBundle"),
                    format!("{} bytes", spec.text("caBundle").len()),
                    "local APIServices may not have a caBundle",
                ));
            }
            if spec.flag("insecureSkipTLSVerify") {
                errs.push(FieldError::invalid(
                    &path.child("insecureSkipTLSVerify"),
                    true,
                    "local APIServices may not have insecureSkipTLSVerify",
                ));
            }
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate(new, errs);
}
