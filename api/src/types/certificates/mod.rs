//! `certificates.k8s.io/v1`: CertificateSigningRequest.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::{Context, NameRule};
use crate::tree::Value;
use crate::types::core::config_map::decoded;
use crate::types::fields::{Fields, Fill, immutable};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const EXPIRATION_SECONDS_MIN: i64 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub fn validate(request: &Value, errs: &mut ErrorList) {
    object_meta::validate(&request["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    validate_spec(request, errs);
}

fn validate_spec(request: &Value, errs: &mut ErrorList) {
    let (spec, path) = (&request["spec"], Path::new("spec"));
    let text = decoded(&spec["request"]);
    if let Some(why) = pem_error(&String::from_utf8_lossy(&text)) {
        errs.push(FieldError::invalid(&path.child("request"), spec.text("request"), why));
    }
    let at = path.child("usages");
    if spec.list("usages").is_empty() {
        errs.push(FieldError::required(&at, ""));
    }
    let mut seen = BTreeSet::new();
    for (i, usage) in spec.list("usages").iter().enumerate() {
        let usage = usage.str_or_empty();
        if !USAGES.contains(&usage) {
            errs.push(FieldError::not_supported(&at.index(i), usage, USAGES));
        }
        if !seen.insert(usage) {
            errs.push(FieldError::duplicate(&at.index(i), usage));
        }
    }
    validate_signer_name(spec.text("signerName"), &path.child("signerName"), errs);
    if let Some(seconds) = spec.opt_int("expirationSeconds").filter(|s| *s < EXPIRATION_SECONDS_MIN) {
        errs.push(FieldError::invalid(
            &path.child("expirationSeconds"),
            seconds,
            "may not specify a duration less than 600 seconds (10 minutes)",
        ));
    }
}

/// The outer form alone: whoever signs reads what is inside.
fn pem_error(text: &str) -> Option<&'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    const END: &str = "-----END CERTIFICATE REQUEST-----";
    let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.split_once(END));
    match body {
        Some(_) => None,
        None => Some("PEM block type must be CERTIFICATE REQUEST"),
    }
}

/// `example.com/signer-name`
pub fn validate_signer_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if name.is_empty() {
        errs.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        errs.push(FieldError::invalid(
            path,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ));
        return;
    };
    for (part, value, messages) in [
        ("validating label", domain, format::dns_subdomain(domain)),
        ("validating label", rest, rest.split('.').flat_map(format::dns_label).collect()),
    ] {
        for message in messages {
            errs.push(FieldError::invalid(path, name, format!("{part} {value:?}: {message}")));
        }
    }
    if !domain.contains('.') {
        errs.push(FieldError::invalid(
            path,
            domain,
            "should be a domain with at least two segments separated by dots",
        ));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    validate_spec(new, errs);
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    immutable(errs, &Path::new("spec"), &new["spec"], &old["spec"]);
    validate_conditions_kept(new, old, &["Approved", "Denied", "Failed"], errs);
}

/// Through `status` a certificate is issued once; decisions are made through `approval`.
pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("status");
    let (now, before) = (&new["status"], &old["status"]);
    if !before.text("certificate").is_empty() && now.text("certificate") != before.text("certificate") {
        errs.push(FieldError::forbidden(
            &path.child("certificate"),
            "updates may not set certificate content",
        ));
    }
    validate_conditions_kept(new, old, &["Approved", "Denied"], errs);
    let has = |o: &Value, kind: &str| o["status"].list("conditions").iter().any(|c| c.text("type") == kind);
    for kind in ["Approved", "Denied"] {
        if has(new, kind) && !has(old, kind) {
            errs.push(FieldError::forbidden(
                &path.child("conditions"),
                format!("updates may not add a condition of type {kind:?}"),
            ));
        }
    }
}

fn validate_conditions_kept(new: &Value, old: &Value, kinds: &[&str], errs: &mut ErrorList) {
    let path = Path::new("status");
    let at = path.child("conditions");
    let count = |o: &Value, kind: &str| {
        o["status"].list("conditions").iter().filter(|c| c.text("type") == kind).count()
    };
    for kind in kinds {
        if count(old, kind) > count(new, kind) {
            errs.push(FieldError::forbidden(
                &at,
                format!("updates may not remove a condition of type {kind:?}"),
            ));
        }
    }
    if count(new, "Approved") > 0 && count(new, "Denied") > 0 {
        errs.push(FieldError::invalid(
            &at,
            "Denied",
            "Approved and Denied conditions are mutually exclusive",
        ));
    }
}

/// Through `approval` conditions are taken, all else stays.
pub fn prepare_approval(new: &mut Value, old: &Value, context: &Context<'_>) {
    let conditions = new["status"]["conditions"].clone();
    let metadata = new["metadata"].clone();
    *new = old.clone();
    new.put("metadata", metadata);
    if conditions.is_null() {
        new.message("status").drop_field("conditions");
    } else {
        new.message("status").put("conditions", conditions);
    }
    stamp_conditions(new, old, context.now);
}

/// Conditions get the times that their author left out.
pub fn stamp_conditions(new: &mut Value, old: &Value, now: &str) {
    let before = old["status"].list("conditions");
    new.message("status").each("conditions", |c| {
        c.fill_absent("lastUpdateTime", now);
        let same =
            before.iter().find(|o| o.text("type") == c.text("type") && o.text("status") == c.text("status"));
        let since = same.and_then(|o| o.opt_text("lastTransitionTime")).unwrap_or(now).to_owned();
        c.fill_absent("lastTransitionTime", since);
    });
}

/// Approved or denied, not both, and not taken back.
pub fn validate_approval(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_conditions_kept(new, old, &["Approved", "Denied", "Failed"], errs);
}
