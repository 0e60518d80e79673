//! CronJob.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, Subresource};
use crate::types::batch::cron_job;
use crate::types::core::pod_warnings;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| cron_job::validate(o, e)),
    validate_update: |new, old| errors(|e| cron_job::validate_update(new, old, e)),
    warnings: |new, old| pod_warnings::template(new, old, &["spec", "jobTemplate", "spec", "template"]),
    ..Rules::generic(true, true)
};

pub static KIND: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    storage_prefix: "/registry/cronjobs",
    versions: &[
        Served {
            group: "batch",
            version: "v1",
            message: "batch/v1.CronJob",
            default: cron_job::default,
            ..Served::HUB
        },
        Served {
            group: "batch",
            version: "v1beta1",
            message: "batch/v1beta1.CronJob",
            deprecation: Some(
                "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
            ),
            default: convert::legacy::cron_job,
            ..Served::HUB
        },
        Served {
            group: "batch",
            version: "v2alpha1",
            message: "batch/v1beta1.CronJob",
            deprecation: Some(
                "batch/v2alpha1 CronJob is deprecated in v1.8+, unavailable in v1.21+; use batch/v1 CronJob",
            ),
            default: convert::legacy::cron_job,
            ..Served::HUB
        },
    ],
    subresources: &[Subresource::status("CronJob")],
    has_generation: true,
    rules: RULES,
    ..Kind::ROW
};
