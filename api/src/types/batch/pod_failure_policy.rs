//! `podFailurePolicy` and `successPolicy` of a Job.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, required_one_of};
use crate::types::meta::label_selector::validate_label_name;

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

pub fn validate(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(policy) = spec.opt("podFailurePolicy") {
        validate_policy(spec, policy, &path.child("podFailurePolicy"), errs);
    }
    if let Some(policy) = spec.opt("successPolicy") {
        validate_success(spec, policy, &path.child("successPolicy"), errs);
    }
}

fn validate_policy(spec: &Value, policy: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (rules, at) = (policy.list("rules"), path.child("rules"));
    if rules.len() > RULES_MAX {
        errs.push(FieldError::too_many(&at, rules.len(), RULES_MAX));
    }
    let names: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|f| spec["template"]["spec"].list(f))
        .map(|c| c.text("name"))
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(spec, rule, &names, &at.index(i), errs);
    }
}

fn validate_rule(spec: &Value, rule: &Value, names: &BTreeSet<&str>, path: &Path<'_>, errs: &mut ErrorList) {
    let action = rule.text("action");
    let at = path.child("action");
    if action == "FailIndex" && !spec.has("backoffLimitPerIndex") {
        errs.push(FieldError::invalid(&at, action, "requires the backoffLimitPerIndex to be set"));
    }
    required_one_of(errs, &at, action, &["Count", "FailIndex", "FailJob", "Ignore"]);
    let (codes, conditions) = (rule.opt("onExitCodes"), rule.list("onPodConditions"));
    if let Some(codes) = codes {
        validate_exit_codes(codes, names, &path.child("onExitCodes"), errs);
    }
    let at = path.child("onPodConditions");
    if conditions.len() > PATTERNS_MAX {
        errs.push(FieldError::too_many(&at, conditions.len(), PATTERNS_MAX));
    }
    for (i, c) in conditions.iter().enumerate() {
        let at = at.index(i);
        validate_label_name(c.text("type"), &at.child("type"), errs);
        required_one_of(errs, &at.child("status"), c.text("status"), &["False", "True", "Unknown"]);
    }
    let message = match (codes.is_some(), !conditions.is_empty()) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errs.push(FieldError::invalid(path, rule.clone(), message));
}

fn validate_exit_codes(codes: &Value, names: &BTreeSet<&str>, path: &Path<'_>, errs: &mut ErrorList) {
    let operator = codes.text("operator");
    required_one_of(errs, &path.child("operator"), operator, &["In", "NotIn"]);
    if let Some(name) = codes.opt_text("containerName").filter(|n| !names.contains(n)) {
        errs.push(FieldError::invalid(
            &path.child("containerName"),
            name,
            "must be one of the container or initContainer names in the pod template",
        ));
    }
    let (values, at) = (codes.list("values"), path.child("values"));
    if values.is_empty() {
        errs.push(FieldError::invalid(&at, Value::Array(Vec::new()), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errs.push(FieldError::too_many(&at, values.len(), EXIT_CODES_MAX));
    }
    let mut seen = BTreeSet::new();
    let mut ordered = true;
    let mut previous = i64::MIN;
    for (i, v) in values.iter().enumerate() {
        let code = v.as_i64().unwrap_or(0);
        if !seen.insert(code) {
            errs.push(FieldError::duplicate(&at.index(i), code));
        }
        if operator == "In" && code == 0 {
            errs.push(FieldError::invalid(&at.index(i), code, "must not be 0 for the In operator"));
        }
        ordered &= previous <= code;
        previous = code;
    }
    if !ordered {
        errs.push(FieldError::invalid(&at, codes["values"].clone(), "must be ordered"));
    }
}

fn validate_success(spec: &Value, policy: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if spec.text("completionMode") != "Indexed" {
        errs.push(FieldError::invalid(path, policy.clone(), "requires indexed completion mode"));
        return;
    }
    let (rules, at) = (policy.list("rules"), path.child("rules"));
    if rules.is_empty() {
        errs.push(FieldError::required(
            &at,
            "at least one rules must be specified when the successPolicy is specified",
        ));
    }
    if rules.len() > RULES_MAX {
        errs.push(FieldError::too_many(&at, rules.len(), RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        if !rule.has("succeededIndexes") && !rule.has("succeededCount") {
            errs.push(FieldError::required(
                &at,
                "at least one of succeededCount or succeededIndexes must be specified",
            ));
        }
        if let Some(count) = rule.opt_int("succeededCount") {
            if count <= 0 {
                errs.push(FieldError::invalid(
                    &at.child("succeededCount"),
                    count,
                    "must be greater than zero",
                ));
            }
            if count > spec.int("completions") {
                errs.push(FieldError::invalid(
                    &at.child("succeededCount"),
                    count,
                    format!(
                        "must be less than or equal to {} (the number of specified completions)",
                        spec.int("completions")
                    ),
                ));
            }
        }
    }
}
