//! `core/v1.TopologySpreadConstraint`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, NOT_POSITIVE, one_of};
use crate::types::meta::label_selector::{self, validate_label_name};

pub fn validate(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        let (topology_key, action) = (c.text("topologyKey"), c.text("whenUnsatisfiable"));
        if c.int("maxSkew") <= 0 {
            errs.push(FieldError::invalid(&at.child("maxSkew"), c.int("maxSkew"), NOT_POSITIVE));
        }
        if topology_key.is_empty() {
            errs.push(FieldError::required(&at.child("topologyKey"), "can not be empty"));
        }
        one_of(errs, &at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let again =
            |o: &Value| o.text("topologyKey") == topology_key && o.text("whenUnsatisfiable") == action;
        if list[i + 1..].iter().any(again) {
            errs.push(FieldError::duplicate(
                &at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{topology_key}, {action}}}"),
            ));
        }
        validate_min_domains(c, &at.child("minDomains"), errs);
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = c.opt_text(field) {
                one_of(errs, &at.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        validate_match_label_keys(c, &at.child("matchLabelKeys"), errs);
        label_selector::validate(&c["labelSelector"], &at.child("labelSelector"), errs);
    }
}

fn validate_min_domains(c: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(min) = c.opt_int("minDomains") else { return };
    if min <= 0 {
        errs.push(FieldError::invalid(path, min, NOT_POSITIVE));
    }
    let action = c.text("whenUnsatisfiable");
    if action != "DoNotSchedule" {
        errs.push(FieldError::invalid(
            path,
            min,
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"),
        ));
    }
}

fn validate_match_label_keys(c: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let keys = c.list("matchLabelKeys");
    if keys.is_empty() {
        return;
    }
    let selector = &c["labelSelector"];
    if selector.is_null() {
        errs.push(FieldError::forbidden(path, "must not be specified when labelSelector is not set"));
    }
    for (i, key) in keys.iter().enumerate() {
        let (key, at) = (key.str_or_empty(), path.index(i));
        validate_label_name(key, &at, errs);
        let selected = selector["matchLabels"].get(key).is_some()
            || selector.list("matchExpressions").iter().any(|e| e.text("key") == key);
        if selected {
            errs.push(FieldError::invalid(&at, key, "exists in both matchLabelKeys and labelSelector"));
        }
    }
}
