//! `core/v1.Event`, which is also `events.k8s.io/v1.Event`: the hub is core's form.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, immutable, invalid_each, is_zero};
use crate::types::format;
use crate::types::meta::label_selector::validate_label_name;
use crate::types::meta::object_meta::{self, Scope};

const REPORTING_INSTANCE_MAX: usize = 128;
const ACTION_MAX: usize = 128;
const REASON_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// The event came in the form of `events.k8s.io/v1`, which asks for more.
fn is_new_form(event: &Value) -> bool {
    event.has("eventTime")
}

pub fn validate(event: &Value, errs: &mut ErrorList) {
    if is_new_form(event) {
        object_meta::validate(&event["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
        validate_new_form(event, errs);
    }
    validate_namespace(event, errs);
}

/// An event of the old form lies in the namespace of what it is about; those about things without
/// one lie in `default` (or, of the new form, `kube-system`).
fn validate_namespace(event: &Value, errs: &mut ErrorList) {
    let own = event["metadata"].text("namespace");
    let about = event["involvedObject"].text("namespace");
    let involved = Path::new("involvedObject");
    let at = involved.child("namespace");
    if about.is_empty() {
        let home: &[&str] = if is_new_form(event) { &["default", "kube-system"] } else { &["default", ""] };
        if !home.contains(&own) {
            errs.push(FieldError::invalid(&at, about, "does not match event.namespace"));
        }
    } else if own != about && !is_new_form(event) {
        errs.push(FieldError::invalid(&at, about, "does not match event.namespace"));
    }
    invalid_each(errs, &Path::new("namespace"), own, format::dns_subdomain(own));
}

fn validate_new_form(event: &Value, errs: &mut ErrorList) {
    let controller = event.text("reportingComponent");
    let at = Path::new("reportingController");
    if controller.is_empty() {
        errs.push(FieldError::required(&at, ""));
    }
    validate_label_name(controller, &at, errs);
    for (field, max) in
        [("reportingInstance", REPORTING_INSTANCE_MAX), ("action", ACTION_MAX), ("reason", REASON_MAX)]
    {
        let text = event.text(field);
        if text.is_empty() {
            errs.push(FieldError::required(&Path::new(field), ""));
        }
        if text.len() > max {
            errs.push(FieldError::invalid(
                &Path::new(field),
                "",
                format!("can have at most {max} characters"),
            ));
        }
    }
    if event.text("message").len() > NOTE_MAX {
        errs.push(FieldError::invalid(
            &Path::new("message"),
            "",
            format!("can have at most {NOTE_MAX} characters"),
        ));
    }
    // Through core/v1, which the hub cannot tell from events.k8s.io/v1, the type may be left out.
    let kind = event.text("type");
    if !matches!(kind, "" | "Normal" | "Warning") {
        errs.push(FieldError::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    validate(new, errs);
    if !is_new_form(new) && !is_new_form(old) {
        return;
    }
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        let shown = match field {
            "reportingComponent" => "reportingController",
            other => other,
        };
        let both_unset = is_zero(&new[field]) && is_zero(&old[field]);
        if !both_unset {
            immutable(errs, &Path::new(shown), &new[field], &old[field]);
        }
    }
}
