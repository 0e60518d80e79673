//! `rbac.authorization.k8s.io/v1`: roles and their bindings.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, invalid_each, one_of, required_text, same};
use crate::types::format;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role (`Namespaced`) or a ClusterRole.
pub fn validate_role(role: &Value, scope: Scope, errs: &mut ErrorList) {
    object_meta::validate(&role["metadata"], scope, NameRule::PathSegment, errs);
    let path = Path::new("rules");
    for (i, rule) in role.list("rules").iter().enumerate() {
        validate_rule(rule, scope, &path.index(i), errs);
    }
    if let Some(aggregation) = role.opt("aggregationRule") {
        let at_rule = Path::new("aggregationRule");
        let at = at_rule.child("clusterRoleSelectors");
        let selectors = aggregation.list("clusterRoleSelectors");
        if selectors.is_empty() {
            errs.push(FieldError::required(
                &at,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            ));
        }
        for (i, selector) in selectors.iter().enumerate() {
            label_selector::validate(selector, &at.index(i), errs);
        }
    }
}

fn validate_rule(rule: &Value, scope: Scope, path: &Path<'_>, errs: &mut ErrorList) {
    if rule.list("verbs").is_empty() {
        errs.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if !rule.list("nonResourceURLs").is_empty() {
        let at = path.child("nonResourceURLs");
        let mut refuse =
            |message: &str| errs.push(FieldError::invalid(&at, rule["nonResourceURLs"].clone(), message));
        if scope == Scope::Namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|f| !rule.list(f).is_empty()) {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if rule.list("apiGroups").is_empty() {
        errs.push(FieldError::required(
            &path.child("apiGroups"),
            "resource rules must supply at least one api group",
        ));
    }
    if rule.list("resources").is_empty() {
        errs.push(FieldError::required(
            &path.child("resources"),
            "resource rules must supply at least one resource",
        ));
    }
}

pub fn default_binding(binding: &mut Value) {
    binding.message("roleRef").fill_zero("apiGroup", GROUP);
    binding.each("subjects", |s| {
        if matches!(s.text("kind"), "User" | "Group") {
            s.fill_zero("apiGroup", GROUP);
        }
    });
}

/// A RoleBinding (`Namespaced`) or a ClusterRoleBinding.
pub fn validate_binding(binding: &Value, scope: Scope, errs: &mut ErrorList) {
    object_meta::validate(&binding["metadata"], scope, NameRule::PathSegment, errs);
    let (role, path) = (&binding["roleRef"], Path::new("roleRef"));
    one_of(errs, &path.child("apiGroup"), role.text("apiGroup"), &[GROUP]);
    let kinds: &[&str] = if scope == Scope::Namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    one_of(errs, &path.child("kind"), role.text("kind"), kinds);
    if role.text("name").is_empty() {
        errs.push(FieldError::required(&path.child("name"), ""));
    } else {
        invalid_each(errs, &path.child("name"), role.text("name"), format::path_segment(role.text("name")));
    }
    let path = Path::new("subjects");
    for (i, subject) in binding.list("subjects").iter().enumerate() {
        validate_subject(subject, scope, &path.index(i), errs);
    }
}

fn validate_subject(subject: &Value, scope: Scope, path: &Path<'_>, errs: &mut ErrorList) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    required_text(errs, &path.child("name"), name);
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                invalid_each(errs, &path.child("name"), name, format::dns_subdomain(name));
            }
            one_of(errs, &path.child("apiGroup"), group, &[""]);
            if scope == Scope::Cluster {
                required_text(errs, &path.child("namespace"), subject.text("namespace"));
            }
        }
        "User" | "Group" => one_of(errs, &path.child("apiGroup"), group, &[GROUP]),
        other => one_of(errs, &path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

pub fn validate_role_update(new: &Value, old: &Value, scope: Scope, errs: &mut ErrorList) {
    validate_role(new, scope, errs);
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
}

pub fn validate_binding_update(new: &Value, old: &Value, scope: Scope, errs: &mut ErrorList) {
    validate_binding(new, scope, errs);
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    if !same(&new["roleRef"], &old["roleRef"]) {
        let shown = crate::types::internal::shown("rbac/v1.RoleRef", &new["roleRef"]);
        errs.push(FieldError::invalid(&Path::new("roleRef"), shown, "cannot change roleRef"));
    }
}
