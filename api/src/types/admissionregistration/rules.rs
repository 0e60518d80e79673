//! Which requests a webhook or policy sees: operations, groups, versions, resources, scope.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, one_of};

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

pub fn default(rule: &mut Value) {
    rule.fill_absent("scope", "*");
}

/// `policy`: resource names may be given, subresources need their resource.
pub fn validate(rule: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let operations = rule.list("operations");
    let at = path.child("operations");
    if operations.is_empty() {
        errs.push(FieldError::required(&at, ""));
    } else if operations.len() > 1 && operations.iter().any(|o| *o == "*") {
        errs.push(FieldError::invalid(
            &at,
            rule["operations"].clone(),
            "if '*' is present, must not specify other operations",
        ));
    }
    for (i, o) in operations.iter().enumerate() {
        one_of(errs, &at.index(i), o.str_or_empty(), OPERATIONS);
    }
    validate_list(rule, "apiGroups", "API groups", path, errs);
    validate_list(rule, "apiVersions", "API versions", path, errs);
    let at = path.child("apiVersions");
    for (i, v) in rule.list("apiVersions").iter().enumerate() {
        if v.str_or_empty().is_empty() {
            errs.push(FieldError::required(&at.index(i), ""));
        }
    }
    validate_resources(rule, &path.child("resources"), errs);
    if let Some(scope) = rule.opt_text("scope") {
        one_of(errs, &path.child("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

fn validate_list(rule: &Value, field: &'static str, what: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let list = rule.list(field);
    if list.is_empty() {
        errs.push(FieldError::required(&path.child(field), ""));
    } else if list.len() > 1 && list.iter().any(|v| *v == "*") {
        errs.push(FieldError::invalid(
            &path.child(field),
            rule[field].clone(),
            format!("if '*' is present, must not specify other {what}"),
        ));
    }
}

fn validate_resources(rule: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let list: Vec<&str> = rule.list("resources").iter().map(Value::str_or_empty).collect();
    if list.is_empty() {
        errs.push(FieldError::required(path, ""));
    }
    let has = |name: &str| list.contains(&name);
    for (i, name) in list.iter().enumerate() {
        if name.is_empty() {
            errs.push(FieldError::required(&path.index(i), ""));
        }
        if let Some((resource, sub)) = name.split_once('/')
            && resource != "*"
            && sub != "*"
            && (has(&format!("{resource}/*")) || has(&format!("*/{sub}")))
        {
            let wide =
                if has(&format!("{resource}/*")) { format!("{resource}/*") } else { format!("*/{sub}") };
            errs.push(FieldError::invalid(
                &path.index(i),
                *name,
                format!("if '{wide}' is present, must not specify {name}"),
            ));
        }
    }
    if list.len() > 1 && has("*/*") {
        errs.push(FieldError::invalid(
            path,
            rule["resources"].clone(),
            "if '*/*' is present, must not specify other resources",
        ));
    } else if has("*") && list.iter().any(|n| *n != "*" && !n.contains('/')) {
        errs.push(FieldError::invalid(
            path,
            rule["resources"].clone(),
            "if '*' is present, must not specify other resources without subresources",
        ));
    }
}
