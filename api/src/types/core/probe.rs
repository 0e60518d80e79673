//! `core/v1.Probe`, `core/v1.Lifecycle` and their handlers.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, invalid_each, non_negative, one_of, required_text};
use crate::types::format;

const SECOND_HANDLER: &str = "may not specify more than 1 handler type";

pub fn default_probe(probe: &mut Value) {
    default_handler(probe);
    probe.within("grpc", |g| g.fill_absent("service", ""));
    probe.fill_zero("timeoutSeconds", 1);
    probe.fill_zero("periodSeconds", 10);
    probe.fill_zero("successThreshold", 1);
    probe.fill_zero("failureThreshold", 3);
}

pub fn default_lifecycle(lifecycle: &mut Value) {
    lifecycle.within("postStart", default_handler);
    lifecycle.within("preStop", default_handler);
}

fn default_handler(handler: &mut Value) {
    handler.within("httpGet", |get| {
        get.fill_zero("path", "/");
        get.fill_zero("scheme", "HTTP");
    });
}

/// Which probe of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Liveness,
    Readiness,
    Startup,
}

/// `grace`: the pod's `terminationGracePeriodSeconds`.
pub fn validate_probe(probe: &Value, kind: Kind, grace: Option<i64>, path: &Path<'_>, errs: &mut ErrorList) {
    if probe.is_null() {
        return;
    }
    validate_handler(probe, grace, path, errs);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        non_negative(errs, &path.child(field), probe.int(field));
    }
    let own_grace = probe.opt_int("terminationGracePeriodSeconds");
    if let Some(seconds) = own_grace.filter(|s| *s <= 0) {
        errs.push(FieldError::invalid(
            &path.child("terminationGracePeriodSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    match (kind, own_grace) {
        (Kind::Readiness, Some(seconds)) => errs.push(FieldError::invalid(
            &path.child("terminationGracePeriodSeconds"),
            seconds,
            "must not be set for readinessProbes",
        )),
        (Kind::Liveness | Kind::Startup, _) if probe.int("successThreshold") != 1 => {
            errs.push(FieldError::invalid(
                &path.child("successThreshold"),
                probe.int("successThreshold"),
                "must be 1",
            ));
        }
        _ => {}
    }
}

pub fn validate_lifecycle(lifecycle: &Value, grace: Option<i64>, path: &Path<'_>, errs: &mut ErrorList) {
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = lifecycle.opt(hook) {
            validate_handler(handler, grace, &path.child(hook), errs);
        }
    }
}

fn validate_handler(handler: &Value, grace: Option<i64>, path: &Path<'_>, errs: &mut ErrorList) {
    let mut found = false;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.opt(kind) else { continue };
        let at = path.child(kind);
        if std::mem::replace(&mut found, true) {
            errs.push(FieldError::forbidden(&at, SECOND_HANDLER));
            continue;
        }
        match kind {
            "exec" => {
                if action.list("command").is_empty() {
                    errs.push(FieldError::required(&at.child("command"), ""));
                }
            }
            "httpGet" => validate_http_get(action, &at, errs),
            "sleep" => validate_sleep(action.int("seconds"), grace, &at, errs),
            _ => validate_port(&action["port"], &at.child("port"), errs),
        }
    }
    if !found {
        errs.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn validate_http_get(get: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    required_text(errs, &path.child("path"), get.text("path"));
    validate_port(&get["port"], &path.child("port"), errs);
    one_of(errs, &path.child("scheme"), get.text("scheme"), &["HTTP", "HTTPS"]);
    for header in get.list("httpHeaders") {
        let name = header.text("name");
        invalid_each(errs, &path.child("httpHeaders"), name, format::http_header(name));
    }
}

fn validate_sleep(seconds: i64, grace: Option<i64>, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(grace) = grace.filter(|g| seconds < 0 || seconds > *g) {
        errs.push(FieldError::invalid(
            path,
            seconds,
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        ));
    }
}

/// A port's number or its name (an IntOrString; absent is 0).
pub fn validate_port(port: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    match port {
        Value::String(name) => invalid_each(errs, path, name, format::port_name(name)),
        other => {
            let number = other.as_i64().unwrap_or(0);
            errs.extend(
                format::port_number(number).into_iter().map(|m| FieldError::invalid(path, number, m)),
            );
        }
    }
}
