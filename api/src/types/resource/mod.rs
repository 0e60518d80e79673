//! `resource.k8s.io/v1`: claims for devices.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, immutable, invalid_each, one_of};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const REQUESTS_MAX: usize = 32;

pub fn default_claim(claim: &mut Value) {
    default_spec(claim.message("spec"));
}

pub fn default_template(template: &mut Value) {
    default_spec(template.message("spec").message("spec"));
}

fn default_spec(spec: &mut Value) {
    spec.within("devices", |devices| {
        devices.each("requests", |r| {
            r.within("exactly", default_count);
            r.each("firstAvailable", default_count);
        });
    });
}

/// A request without a mode is for an exact count, of one.
fn default_count(request: &mut Value) {
    request.fill_zero("allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" {
        request.fill_zero("count", 1);
    }
}

pub fn validate_claim(claim: &Value, errs: &mut ErrorList) {
    object_meta::validate(&claim["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&claim["spec"], &Path::new("spec"), errs);
}

pub fn validate_template(template: &Value, errs: &mut ErrorList) {
    object_meta::validate(&template["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let path = Path::new("spec");
    object_meta::validate_template(&template["spec"]["metadata"], &path.child("metadata"), errs);
    validate_spec(&template["spec"]["spec"], &path.child("spec"), errs);
}

fn validate_spec(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let devices = path.child("devices");
    let at = devices.child("requests");
    let requests = spec["devices"].list("requests");
    if requests.len() > REQUESTS_MAX {
        errs.push(FieldError::too_many(&at, requests.len(), REQUESTS_MAX));
    }
    let mut names = BTreeSet::new();
    for (i, r) in requests.iter().enumerate() {
        let at = at.index(i);
        let name = r.text("name");
        if name.is_empty() {
            errs.push(FieldError::required(&at.child("name"), ""));
        } else if !names.insert(name) {
            errs.push(FieldError::duplicate(&at, name));
        } else {
            invalid_each(errs, &at.child("name"), name, format::dns_label(name));
        }
        match (r.opt("exactly"), !r.list("firstAvailable").is_empty()) {
            (Some(_), true) => errs.push(FieldError::invalid(
                &at,
                Value::Null,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            )),
            (None, false) => {
                errs.push(FieldError::required(
                    &at,
                    "exactly one of `exactly` or `firstAvailable` is required",
                ));
            }
            (Some(exact), false) => validate_request(exact, &at.child("exactly"), errs),
            (None, true) => {
                let at = at.child("firstAvailable");
                for (j, sub) in r.list("firstAvailable").iter().enumerate() {
                    validate_request(sub, &at.index(j), errs);
                }
            }
        }
    }
}

fn validate_request(request: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let class = request.text("deviceClassName");
    if class.is_empty() {
        errs.push(FieldError::required(&path.child("deviceClassName"), ""));
    } else {
        invalid_each(errs, &path.child("deviceClassName"), class, format::dns_subdomain(class));
    }
    let (mode, count) = (request.text("allocationMode"), request.int("count"));
    one_of(errs, &path.child("allocationMode"), mode, &["All", "ExactCount"]);
    if mode == "All" && count != 0 {
        errs.push(FieldError::invalid(
            &path.child("count"),
            count,
            "must not be specified when allocationMode is 'All'",
        ));
    }
    if mode == "ExactCount" && count <= 0 {
        errs.push(FieldError::invalid(&path.child("count"), count, "must be greater than zero"));
    }
}

pub fn validate_claim_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    immutable(errs, &Path::new("spec"), &new["spec"], &old["spec"]);
}
