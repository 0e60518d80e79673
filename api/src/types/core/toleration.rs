//! `core/v1.Toleration` and `core/v1.Taint`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, invalid_each, one_of, same, struct_shown};
use crate::types::format;
use crate::types::meta::label_selector::validate_label_name;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn validate_tolerations(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    for (i, t) in list.iter().enumerate() {
        let at = path.index(i);
        let (key, operator, value, effect) =
            (t.text("key"), t.text("operator"), t.text("value"), t.text("effect"));
        if !key.is_empty() {
            validate_label_name(key, &at.child("key"), errs);
        }
        if key.is_empty() && operator != "Exists" {
            errs.push(FieldError::invalid(
                &at.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if t.has("tolerationSeconds") && effect != "NoExecute" {
            errs.push(FieldError::invalid(
                &at.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match operator {
            "Equal" | "" => {
                let messages = format::label_value(value);
                if !messages.is_empty() {
                    errs.push(FieldError::invalid(&at.child("operator"), value, messages.join(";")));
                }
            }
            "Exists" if !value.is_empty() => errs.push(FieldError::invalid(
                &at.child("operator"),
                value,
                "value must be empty when `operator` is 'Exists'",
            )),
            "Exists" => {}
            other => errs.push(FieldError::not_supported(&at.child("operator"), other, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            one_of(errs, &at.child("effect"), effect, EFFECTS);
        }
    }
}

/// Tolerations of a pod may be added and their `tolerationSeconds` changed, nothing else.
pub fn validate_only_added(new: &[Value], old: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    let kept = |t: &Value| {
        new.iter().any(|n| ["key", "operator", "value", "effect"].iter().all(|f| same(&n[*f], &t[*f])))
    };
    if !old.iter().all(kept) {
        errs.push(FieldError::forbidden(
            path,
            "existing toleration can not be modified except its tolerationSeconds",
        ));
        return;
    }
    validate_tolerations(new, path, errs);
}

pub fn validate_taints(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, taint) in list.iter().enumerate() {
        let at = path.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        validate_label_name(key, &at.child("key"), errs);
        let messages = format::label_value(value);
        if !messages.is_empty() {
            invalid_each(errs, &at.child("value"), value, [messages.join(";")]);
        }
        if effect.is_empty() {
            errs.push(FieldError::required(&at.child("effect"), ""));
        } else {
            one_of(errs, &at.child("effect"), effect, EFFECTS);
        }
        if !seen.insert((effect, key)) {
            let shown = struct_shown([
                ("Key", key.into()),
                ("Value", value.into()),
                ("Effect", effect.into()),
                ("TimeAdded", taint["timeAdded"].clone()),
            ]);
            errs.push(
                FieldError::duplicate(&at, shown).with_detail("taints must be unique by key and effect pair"),
            );
        }
    }
}
