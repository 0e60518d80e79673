//! Job.

use crate::kinds::{selectable, Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    storage_prefix: "/registry/jobs",
    versions: &[Served { group: "batch", version: "v1", message: "batch/v1.Job", ..Served::HUB }],
    subresources: &[
        Subresource::status("Job"),
    ],
    selectable: &[
        ("status.successful", |o| selectable::number(o, &["status", "succeeded"])),
    ],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
