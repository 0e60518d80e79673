//! `networking.k8s.io/v1.Ingress`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, invalid_each, required_text};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];
const ABSOLUTE: &str = "must be an absolute path";

pub fn validate_create(ingress: &Value, errs: &mut ErrorList) {
    validate(ingress, errs);
    let annotation = ingress["metadata"]["annotations"].opt_text(CLASS_ANNOTATION);
    if let (Some(class), true) = (annotation, ingress["spec"].has("ingressClassName")) {
        let metadata = Path::new("metadata");
        errs.push(FieldError::invalid(
            &metadata.child("annotations").child(CLASS_ANNOTATION),
            class,
            "can not be set when the class field is also set",
        ));
    }
}

pub fn validate(ingress: &Value, errs: &mut ErrorList) {
    object_meta::validate(&ingress["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&ingress["spec"], Path::new("spec"));
    if spec.list("rules").is_empty() && !spec.has("defaultBackend") {
        errs.push(FieldError::invalid(
            &path,
            Value::Null,
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if let Some(backend) = spec.opt("defaultBackend") {
        validate_backend(backend, &path.child("defaultBackend"), errs);
    }
    let rules = path.child("rules");
    for (i, rule) in spec.list("rules").iter().enumerate() {
        validate_rule(rule, &rules.index(i), errs);
    }
    let tls = path.child("tls");
    for (i, t) in spec.list("tls").iter().enumerate() {
        let at = tls.index(i);
        let hosts = at.child("hosts");
        for (j, host) in t.list("hosts").iter().enumerate() {
            validate_host(host.str_or_empty(), &hosts.index(j), errs);
        }
        let secret = t.text("secretName");
        if !secret.is_empty() {
            invalid_each(errs, &at.child("secretName"), secret, format::dns_subdomain(secret));
        }
    }
    if let Some(class) = spec.opt_text("ingressClassName") {
        invalid_each(errs, &path.child("ingressClassName"), class, format::dns_subdomain(class));
    }
}

fn validate_host(host: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let messages =
        if host.contains('*') { format::wildcard_subdomain(host) } else { format::dns_subdomain(host) };
    invalid_each(errs, path, host, messages);
}

fn validate_rule(rule: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let host = rule.text("host");
    if !host.is_empty() {
        let at = path.child("host");
        if format::parse_ip(host).is_some() {
            errs.push(FieldError::invalid(&at, host, "must be a DNS name, not an IP address"));
        }
        validate_host(host, &at, errs);
    }
    let Some(http) = rule.opt("http") else { return };
    let at_http = path.child("http");
    let at = at_http.child("paths");
    if http.list("paths").is_empty() {
        errs.push(FieldError::required(&at, ""));
    }
    for (i, p) in http.list("paths").iter().enumerate() {
        validate_path(p, &at.index(i), errs);
    }
}

fn validate_path(p: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let text = p.text("path");
    let at = path.child("path");
    match p.opt_text("pathType") {
        None => errs.push(FieldError::required(&path.child("pathType"), "pathType must be specified")),
        Some("Exact" | "Prefix") => {
            if !text.starts_with('/') {
                errs.push(FieldError::invalid(&at, text, ABSOLUTE));
            }
            for bad in BAD_SEQUENCES.iter().filter(|b| text.contains(**b)) {
                errs.push(FieldError::invalid(&at, text, format!("must not contain '{bad}'")));
            }
            for bad in BAD_ENDS.iter().filter(|b| text.ends_with(**b)) {
                errs.push(FieldError::invalid(&at, text, format!("cannot end with '{bad}'")));
            }
        }
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !text.starts_with('/') {
                errs.push(FieldError::invalid(&at, text, ABSOLUTE));
            }
        }
        Some(other) => errs.push(FieldError::not_supported(
            &path.child("pathType"),
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    validate_backend(&p["backend"], &path.child("backend"), errs);
}

fn validate_backend(backend: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match (backend.opt("service"), backend.opt("resource")) {
        (Some(_), Some(_)) => {
            errs.push(FieldError::invalid(path, "", "cannot set both resource and service backends"));
        }
        (None, Some(resource)) => {
            let at = path.child("resource");
            required_text(errs, &at.child("kind"), resource.text("kind"));
            required_text(errs, &at.child("name"), resource.text("name"));
        }
        (Some(service), None) => {
            let at = path.child("service");
            let name = service.text("name");
            if name.is_empty() {
                errs.push(FieldError::required(&at.child("name"), ""));
            } else {
                invalid_each(errs, &at.child("name"), name, format::dns_label(name));
            }
            let (port, at) = (&service["port"], at.child("port"));
            let (number, port_name) = (port.int("number"), port.text("name"));
            match (number != 0, !port_name.is_empty()) {
                (true, true) => {
                    errs.push(FieldError::invalid(&at, "", "cannot set both port name & port number"));
                }
                (false, true) => {
                    invalid_each(errs, &at.child("name"), port_name, format::port_name(port_name))
                }
                (true, false) => {
                    let at = at.child("number");
                    errs.extend(
                        format::port_number(number).into_iter().map(|m| FieldError::invalid(&at, number, m)),
                    );
                }
                (false, false) => errs.push(FieldError::required(&at, "port name or number is required")),
            }
        }
        (None, None) => errs.push(FieldError::required(path, "resource or service backend is required")),
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate(new, errs);
}
