//! Job.

use crate::kinds::{Context, generic};
use crate::kinds::{Kind, Rules, Served, Subresource, selectable};
use crate::tree::Value;
use crate::types::batch::job;
use crate::types::core::pod_warnings;
use crate::types::errors;

const RULES: Rules = Rules {
    prepare_create: create,
    validate: |o| errors(|e| job::validate(o, e)),
    validate_update: |new, old| errors(|e| job::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| job::validate_status(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "template"]),
    ..Rules::generic(true, true)
};

fn create(new: &mut Value, context: &Context<'_>) {
    generic::drop_status(new, context);
    generic::first_generation(new, context);
    job::generate_selector(new);
}

pub static KIND: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    storage_prefix: "/registry/jobs",
    versions: &[Served {
        group: "batch",
        version: "v1",
        message: "batch/v1.Job",
        default: job::default,
        ..Served::HUB
    }],
    subresources: &[Subresource::status("Job")],
    selectable: &[("status.successful", |o| selectable::number(o, &["status", "succeeded"]))],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
