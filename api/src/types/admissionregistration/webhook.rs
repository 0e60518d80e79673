//! Validating and mutating webhook configurations.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::admissionregistration::rules;
use crate::types::fields::{Fields, Fill, one_of};
use crate::types::format;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

const TIMEOUT_SECONDS: i64 = 10;
const TIMEOUT_SECONDS_MAX: i64 = 30;
const PORT: i64 = 443;
const MATCH_CONDITIONS_MAX: usize = 64;

pub fn default_validating(configuration: &mut Value) {
    configuration.each("webhooks", default_webhook);
}

pub fn default_mutating(configuration: &mut Value) {
    configuration.each("webhooks", |w| {
        default_webhook(w);
        w.fill_absent("reinvocationPolicy", "Never");
    });
}

fn default_webhook(webhook: &mut Value) {
    webhook.fill_absent("failurePolicy", "Fail");
    webhook.fill_absent("matchPolicy", "Equivalent");
    webhook.fill_absent("namespaceSelector", Value::object());
    webhook.fill_absent("objectSelector", Value::object());
    webhook.fill_absent("timeoutSeconds", TIMEOUT_SECONDS);
    webhook.each("rules", rules::default);
    webhook.within("clientConfig", |c| c.within("service", |s| s.fill_absent("port", PORT)));
}

pub fn validate(configuration: &Value, errs: &mut ErrorList) {
    object_meta::validate(&configuration["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let path = Path::new("webhooks");
    let mut names = BTreeSet::new();
    for (i, w) in configuration.list("webhooks").iter().enumerate() {
        let at = path.index(i);
        validate_webhook(w, &at, errs);
        validate_review_versions(w, &at.child("admissionReviewVersions"), errs);
        if !names.insert(w.text("name")) {
            errs.push(FieldError::duplicate(&at.child("name"), w.text("name")));
        }
    }
}

/// At least three segments.
fn validate_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let messages = format::dns_subdomain(name);
    if name.is_empty() {
        errs.push(FieldError::required(path, ""));
    } else if !messages.is_empty() {
        errs.push(FieldError::invalid(path, name, messages.join(",")));
    } else if name.split('.').count() < 3 {
        errs.push(FieldError::invalid(
            path,
            name,
            "should be a domain with at least three segments separated by dots",
        ));
    }
}

fn validate_webhook(w: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    validate_name(w.text("name"), &path.child("name"), errs);
    let at = path.child("rules");
    for (i, rule) in w.list("rules").iter().enumerate() {
        rules::validate(rule, &at.index(i), errs);
    }
    if let Some(policy) = w.opt_text("failurePolicy") {
        one_of(errs, &path.child("failurePolicy"), policy, &["Fail", "Ignore"]);
    }
    if let Some(policy) = w.opt_text("matchPolicy") {
        one_of(errs, &path.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    }
    let at = path.child("sideEffects");
    match w.opt_text("sideEffects") {
        None => errs.push(FieldError::required(&at, "must specify one of None, NoneOnDryRun")),
        Some(effects) => one_of(errs, &at, effects, &["None", "NoneOnDryRun"]),
    }
    if let Some(policy) = w.opt_text("reinvocationPolicy") {
        one_of(errs, &path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
    }
    if let Some(seconds) = w.opt_int("timeoutSeconds").filter(|s| !(1..=TIMEOUT_SECONDS_MAX).contains(s)) {
        errs.push(FieldError::invalid(
            &path.child("timeoutSeconds"),
            seconds,
            format!("the timeout value must be between 1 and {TIMEOUT_SECONDS_MAX} seconds"),
        ));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector::validate(&w[field], &path.child(field), errs);
    }
    validate_client_config(&w["clientConfig"], &path.child("clientConfig"), errs);
    validate_match_conditions(w.list("matchConditions"), &path.child("matchConditions"), errs);
}

/// Names and presence; the expressions are CEL.
pub fn validate_match_conditions(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    if list.len() > MATCH_CONDITIONS_MAX {
        errs.push(FieldError::too_many(path, list.len(), MATCH_CONDITIONS_MAX));
    }
    let mut names = BTreeSet::new();
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        let name = c.text("name");
        if c.text("expression").trim().is_empty() {
            errs.push(FieldError::required(&at.child("expression"), ""));
        }
        if name.is_empty() {
            errs.push(FieldError::required(&at.child("name"), ""));
        } else {
            label_selector::validate_label_name(name, &at.child("name"), errs);
            if !names.insert(name) {
                errs.push(FieldError::duplicate(&at.child("name"), name));
            }
        }
    }
}

fn validate_client_config(config: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match (config.opt_text("url"), config.opt("service")) {
        (None, None) | (Some(_), Some(_)) => {
            errs.push(FieldError::required(path, "exactly one of url or service is required"));
        }
        (Some(url), None) => validate_url(url, &path.child("url"), errs),
        (None, Some(service)) => {
            let at = path.child("service");
            for (field, message) in
                [("name", "service name is required"), ("namespace", "service namespace is required")]
            {
                if service.text(field).is_empty() {
                    errs.push(FieldError::required(&at.child(field), message));
                }
            }
            if let Some(path) = service.opt_text("path")
                && !path.starts_with('/')
            {
                errs.push(FieldError::invalid(&at.child("path"), path, "must start with a '/'"));
            }
            let port = service.int("port");
            let at = at.child("port");
            errs.extend(
                format::port_number(port)
                    .into_iter()
                    .map(|m| FieldError::invalid(&at, port, format!("port is not valid: {m}"))),
            );
        }
    }
}

fn validate_url(url: &str, path: &Path<'_>, errs: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some((scheme, rest)) = url.split_once("://") else {
        errs.push(FieldError::required(path, format!("url must be a valid URL{FORM}")));
        return;
    };
    let mut refuse = |value: &str, what: &str| {
        errs.push(FieldError::invalid(path, value, format!("{what}{FORM}")));
    };
    if scheme != "https" {
        refuse(scheme, "'https' is the only allowed URL scheme");
    }
    let (authority, tail) =
        rest.split_once(['/', '?', '#']).map_or((rest, ""), |(a, _)| (a, &rest[a.len()..]));
    if authority.is_empty() {
        refuse(authority, "host must be specified");
    }
    if let Some((user, _)) = authority.split_once('@') {
        refuse(user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = tail.split_once('#') {
        refuse(fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = tail.split_once('?') {
        refuse(query, "query parameters are not permitted in the URL");
    }
}

fn validate_review_versions(w: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let versions = w.list("admissionReviewVersions");
    if versions.is_empty() {
        errs.push(FieldError::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    let mut seen = BTreeSet::new();
    let mut known = false;
    for (i, v) in versions.iter().enumerate() {
        let version = v.str_or_empty();
        if !seen.insert(version) {
            errs.push(FieldError::invalid(&path.index(i), version, "duplicate version"));
            continue;
        }
        for message in format::dns_1035_label(version) {
            errs.push(FieldError::invalid(&path.index(i), version, message));
        }
        known |= matches!(version, "v1" | "v1beta1");
    }
    if !known {
        errs.push(FieldError::invalid(
            path,
            w["admissionReviewVersions"].clone(),
            "must include at least one of v1, v1beta1",
        ));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate(new, errs);
}
