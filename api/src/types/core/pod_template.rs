//! `core/v1.PodTemplateSpec`, wherever a workload embeds it.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::pod::validate_pod_annotations;
use crate::types::core::pod_spec::{self, Place};
use crate::types::fields::Fields;
use crate::types::fields::Fill;
use crate::types::meta::label_selector::{self};
use crate::types::meta::object_meta;

pub fn default(template: &mut Value) {
    pod_spec::default(template.message("spec"));
}

pub fn validate(template: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    // The errors of template metadata lie at the template, without `metadata`.
    object_meta::validate_template(&template["metadata"], path, errs);
    validate_pod_annotations(&template["metadata"], &template["spec"], &path.child("annotations"), errs);
    pod_spec::validate(&template["spec"], Place::Template, &path.child("spec"), errs);
    if !template["spec"].list("ephemeralContainers").is_empty() {
        errs.push(FieldError::forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// The template of a workload that keeps replicas running: its labels are selected, and its pods
/// restart always. `kind` is named in the error about a deadline.
pub fn validate_for_replicas(
    template: &Value,
    selects: impl FnOnce(&Value) -> bool,
    kind: &str,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    if template.is_null() {
        errs.push(FieldError::required(path, ""));
        return;
    }
    let labels = &template["metadata"]["labels"];
    if !selects(labels) {
        unmatched(labels, path, errs);
    }
    validate(template, path, errs);
    let spec = path.child("spec");
    let policy = template["spec"].text("restartPolicy");
    if policy != "Always" {
        errs.push(FieldError::not_supported(&spec.child("restartPolicy"), policy, &["Always"]));
    }
    if template["spec"].has("activeDeadlineSeconds") {
        errs.push(FieldError::forbidden(
            &spec.child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        ));
    }
}

/// The labels of a template that its selector does not select.
pub fn unmatched(labels: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    errs.push(FieldError::invalid(
        &path.child("metadata").child("labels"),
        crate::types::fields::sorted(labels),
        "`selector` does not match template `labels`",
    ));
}

/// Whether a `meta/v1.LabelSelector` selects the labels; one that selects everything passes.
pub fn selected_by(selector: &Value) -> impl Fn(&Value) -> bool + '_ {
    move |labels| label_selector::is_empty(selector) || label_selector::matches(selector, labels)
}
