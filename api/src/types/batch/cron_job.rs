//! `batch/v1.CronJob`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::batch::{cron_schedule, job};
use crate::types::fields::{Fields, Fill, non_negative, required_one_of};
use crate::types::meta::object_meta::{self, Scope};

const SUCCESSFUL: i64 = 3;
const FAILED: i64 = 1;

pub fn default(cron_job: &mut Value) {
    let spec = cron_job.message("spec");
    spec.fill_zero("concurrencyPolicy", "Allow");
    spec.fill_absent("suspend", false);
    spec.fill_absent("successfulJobsHistoryLimit", SUCCESSFUL);
    spec.fill_absent("failedJobsHistoryLimit", FAILED);
    job::default_shared(spec.message("jobTemplate").message("spec"));
}

pub fn validate(cron_job: &Value, errs: &mut ErrorList) {
    object_meta::validate(&cron_job["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_spec(&cron_job["spec"], None, errs);
    job::validate_cron_name(cron_job["metadata"].text("name"), errs);
}

fn validate_spec(spec: &Value, old: Option<&Value>, errs: &mut ErrorList) {
    let path = Path::new("spec");
    let schedule = spec.text("schedule");
    if schedule.is_empty() {
        errs.push(FieldError::required(&path.child("schedule"), ""));
    } else {
        validate_schedule(spec, old, &path, errs);
    }
    if let Some(seconds) = spec.opt_int("startingDeadlineSeconds") {
        non_negative(errs, &path.child("startingDeadlineSeconds"), seconds);
    }
    if let Some(zone) = spec.opt_text("timeZone") {
        validate_zone(
            zone,
            old.is_some_and(|o| o.opt_text("timeZone") == Some(zone)),
            &path.child("timeZone"),
            errs,
        );
    }
    required_one_of(
        errs,
        &path.child("concurrencyPolicy"),
        spec.text("concurrencyPolicy"),
        &["Allow", "Forbid", "Replace"],
    );
    validate_job_template(&spec["jobTemplate"], &path.child("jobTemplate"), errs);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        if let Some(limit) = spec.opt_int(field) {
            non_negative(errs, &path.child(field), limit);
        }
    }
}

fn validate_schedule(spec: &Value, old: Option<&Value>, path: &Path<'_>, errs: &mut ErrorList) {
    let (schedule, at) = (spec.text("schedule"), path.child("schedule"));
    if let Err(why) = cron_schedule::check(schedule) {
        errs.push(FieldError::invalid(&at, schedule, why));
    }
    // TZ anywhere, as upstream looks for it.
    let zoned = schedule.contains("TZ");
    if zoned && spec.has("timeZone") {
        errs.push(FieldError::invalid(
            &at,
            schedule,
            "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        ));
    } else if zoned && old.is_none_or(|o| !o.text("schedule").contains("TZ")) {
        errs.push(FieldError::invalid(
            &at,
            schedule,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    }
}

/// Names are checked by form only: the zones themselves are known where schedules run.
fn validate_zone(zone: &str, unchanged: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let part = |p: &str| {
        let b = p.as_bytes();
        (1..=14).contains(&b.len())
            && (b[0].is_ascii_alphabetic() || b[0] == b'.' || b[0] == b'_')
            && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_+.".contains(c))
    };
    let formed = zone.split('/').all(part);
    if zone.is_empty() {
        errs.push(FieldError::invalid(path, zone, "timeZone must be nil or non-empty string"));
    } else if unchanged {
    } else if zone.eq_ignore_ascii_case("local") {
        errs.push(FieldError::invalid(
            path,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ));
    } else if !formed || zone.split('/').any(|p| p == "." || p == "..") {
        errs.push(FieldError::invalid(path, zone, format!("unknown time zone {zone}")));
    }
}

fn validate_job_template(template: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let spec_path = path.child("spec");
    job::validate_template_spec(&template["spec"], &spec_path, errs);
    if template["spec"].flag("manualSelector") {
        errs.push(FieldError::invalid(
            &spec_path.child("manualSelector"),
            true,
            "`manualSelector` may not be true for a job template",
        ));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], Some(&old["spec"]), errs);
}
