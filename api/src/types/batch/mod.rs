//! `batch/v1`.

pub mod cron_job;
pub mod cron_schedule;
pub mod job;
pub mod pod_failure_policy;
