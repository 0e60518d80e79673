//! `batch/v1.Job` and the Job template of a CronJob.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::{Key, Value};
use crate::types::batch::pod_failure_policy;
use crate::types::core::pod_template;
use crate::types::fields::{
    Fields, Fill, IMMUTABLE, invalid_each, non_negative, one_of, required_one_of, same,
};
use crate::types::format;
use crate::types::internal;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";
const BACKOFF_LIMIT: i64 = 6;
const INDEXED_COMPLETIONS_MAX: i64 = 1_000_000;
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const MANAGED_BY_MAX: usize = 63;

/// Defaults of a Job's spec, in a CronJob too (where `completions` and the rest apply alike).
pub fn default_spec(spec: &mut Value) {
    if !spec.has("completions") && !spec.has("parallelism") {
        spec.put("completions", 1);
    }
    spec.fill_absent("parallelism", 1);
    let per_index = spec.has("backoffLimitPerIndex");
    spec.fill_absent("backoffLimit", if per_index { i64::from(i32::MAX) } else { BACKOFF_LIMIT });
    spec.fill_absent("completionMode", "NonIndexed");
    spec.fill_absent("suspend", false);
    spec.fill_absent("manualSelector", false);
    let has_policy = spec.has("podFailurePolicy");
    spec.fill_absent("podReplacementPolicy", if has_policy { "Failed" } else { "TerminatingOrFailed" });
    default_shared(spec);
}

/// What a CronJob's template gets of a Job's defaults: the pods', and conditions of the policy.
pub fn default_shared(spec: &mut Value) {
    pod_template::default(spec.message("template"));
    spec.within("podFailurePolicy", |p| {
        p.each("rules", |r| r.each("onPodConditions", |c| c.fill_zero("status", "True")));
    });
}

pub fn default(job: &mut Value) {
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    default_spec(job.message("spec"));
    if !labels.members().is_empty() {
        job.message("metadata").fill_zero("labels", labels);
    }
}

/// The selector and the labels that only this Job's pods have, unless the author selects.
pub fn generate_selector(job: &mut Value) {
    let (name, uid) = (job["metadata"].text("name").to_owned(), job["metadata"].text("uid").to_owned());
    if job["spec"].flag("manualSelector") {
        return;
    }
    let labels = job.make(&["spec", "template", "metadata", "labels"]);
    for (key, value) in
        [(OLD_CONTROLLER_UID, &uid), (OLD_JOB_NAME, &name), (CONTROLLER_UID, &uid), (JOB_NAME, &name)]
    {
        if !labels.contains_key(key) {
            labels.insert(Key::Static(key), value.as_str());
        }
    }
    let generated = Value::Object(labels.clone());
    job.make(&["spec", "selector", "matchLabels"]).insert(Key::Static(CONTROLLER_UID), uid);
    // Defaults ran before the labels were there: the object takes its template's.
    let metadata = job.message("metadata");
    metadata.fill_zero("labels", generated);
}

pub fn validate(job: &Value, errs: &mut ErrorList) {
    object_meta::validate(&job["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_generated_selector(job, errs);
    validate_spec(&job["spec"], &Path::new("spec"), errs);
    let spec = &job["spec"];
    if spec.text("completionMode") == "Indexed" && spec.int("completions") > 0 {
        let name = format!("{}-{}", job["metadata"].text("name"), spec.int("completions") - 1);
        for message in format::dns_label(&name) {
            let metadata = Path::new("metadata");
            errs.push(FieldError::invalid(
                &metadata.child("name"),
                job["metadata"].text("name"),
                format!("will not able to create pod with invalid DNS name: {name}: {message}"),
            ));
        }
    }
}

fn validate_generated_selector(job: &Value, errs: &mut ErrorList) {
    let spec = &job["spec"];
    if spec.flag("manualSelector") || spec["selector"].is_null() {
        return;
    }
    let uid = job["metadata"].text("uid");
    let path = Path::new("spec");
    let template = path.child("template");
    let metadata = template.child("metadata");
    let labels = metadata.child("labels");
    let mut expected_label = |key: &str, value: &str| {
        let own = spec["template"]["metadata"]["labels"].opt_text(key);
        match own {
            None => errs.push(FieldError::required(&labels.key(key), format!("must be '{value}'"))),
            Some(other) if other != value => errs.push(FieldError::invalid(
                &labels.key(key),
                spec["template"]["metadata"]["labels"].clone(),
                format!("must be '{value}'"),
            )),
            Some(_) => {}
        }
    };
    expected_label(OLD_CONTROLLER_UID, uid);
    expected_label(OLD_JOB_NAME, job["metadata"].text("name"));
    expected_label(CONTROLLER_UID, uid);
    expected_label(JOB_NAME, job["metadata"].text("name"));
    let expected = [OLD_CONTROLLER_UID, CONTROLLER_UID].iter().any(|key| {
        let mut selector = Value::object();
        selector.make(&["matchLabels"]).insert(Key::Static(key), uid);
        same(&selector, &spec["selector"])
    });
    if !expected {
        let mut shown = spec["selector"].clone();
        if let Some(m) = shown.get_mut("matchLabels") {
            *m = crate::types::fields::sorted(m);
        }
        errs.push(FieldError::invalid(&path.child("selector"), shown, "`selector` not auto-generated"));
    }
}

/// A Job's spec with its selector.
pub fn validate_spec(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    validate_template_spec(spec, path, errs);
    let selector = &spec["selector"];
    if selector.is_null() {
        errs.push(FieldError::required(&path.child("selector"), ""));
    } else {
        label_selector::validate(selector, &path.child("selector"), errs);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if label_selector::conversion_error(selector).is_none()
        && !label_selector::is_empty(selector)
        && !label_selector::matches(selector, labels)
    {
        pod_template::unmatched(labels, &path.child("template"), errs);
    }
}

/// What a Job and the template of one have in common.
pub fn validate_template_spec(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        if let Some(value) = spec.opt_int(field) {
            non_negative(errs, &path.child(field), value);
        }
    }
    let per_index = spec.has("backoffLimitPerIndex");
    if spec.has("maxFailedIndexes") && !per_index {
        errs.push(FieldError::required(
            &path.child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        ));
    }
    if let Some(manager) = spec.opt_text("managedBy") {
        let at = path.child("managedBy");
        for (value, message) in format::domain_prefixed_path(manager) {
            errs.push(FieldError::invalid(&at, value, message));
        }
        if manager.len() > MANAGED_BY_MAX {
            errs.push(FieldError::too_long(&at, MANAGED_BY_MAX));
        }
    }
    validate_completion_mode(spec, per_index, path, errs);
    pod_failure_policy::validate(spec, path, errs);
    pod_template::validate(&spec["template"], &path.child("template"), errs);
    let template = path.child("template");
    let at_spec = template.child("spec");
    let at = at_spec.child("restartPolicy");
    let policy = spec["template"]["spec"].text("restartPolicy");
    match policy {
        "" | "Always" => {
            errs.push(FieldError::required(&at, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" | "Never" => {}
        other => errs.push(FieldError::not_supported(&at, other, &["OnFailure", "Never"])),
    }
    if spec.has("podFailurePolicy") && policy != "Never" {
        errs.push(FieldError::invalid(
            &at,
            policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        ));
    }
    if let Some(replacement) = spec.opt_text("podReplacementPolicy") {
        let at = path.child("podReplacementPolicy");
        if spec.has("podFailurePolicy") {
            one_of(errs, &at, replacement, &["Failed"]);
        } else {
            one_of(errs, &at, replacement, &["Failed", "TerminatingOrFailed"]);
        }
    }
}

fn validate_completion_mode(spec: &Value, per_index: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let mode = spec.opt_text("completionMode");
    let indexed = mode == Some("Indexed");
    if let Some(mode) = mode {
        required_one_of(errs, &path.child("completionMode"), mode, &["Indexed", "NonIndexed"]);
    }
    let completions = spec.opt_int("completions");
    if indexed {
        match completions {
            None => {
                errs.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"))
            }
            Some(n) if n > INDEXED_COMPLETIONS_MAX => errs.push(FieldError::invalid(
                &path.child("completions"),
                n,
                format!(
                    "must be less than or equal to {INDEXED_COMPLETIONS_MAX} when completion mode is Indexed"
                ),
            )),
            Some(_) => {}
        }
        if spec.int("parallelism") > INDEXED_PARALLELISM_MAX {
            errs.push(FieldError::invalid(
                &path.child("parallelism"),
                spec.int("parallelism"),
                format!(
                    "must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
                ),
            ));
        }
        if let (Some(max), Some(n)) = (spec.opt_int("maxFailedIndexes"), completions)
            && max > n
        {
            errs.push(FieldError::invalid(
                &path.child("maxFailedIndexes"),
                max,
                "must be less than or equal to completions",
            ));
        }
    } else if per_index {
        errs.push(FieldError::invalid(
            &path.child("backoffLimitPerIndex"),
            spec["backoffLimitPerIndex"].clone(),
            "requires indexed completion mode",
        ));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("spec");
    let (now, before) = (&new["spec"], &old["spec"]);
    validate_spec(now, &path, errs);
    let changed = |field: &str| !same(&now[field], &before[field]);
    let refuse = |field: &'static str, errs: &mut ErrorList| {
        errs.push(FieldError::invalid(&path.child(field), now[field].clone(), IMMUTABLE));
    };
    // An indexed Job may be scaled, with its parallelism.
    let elastic = now.text("completionMode") == "Indexed"
        && now.opt_int("completions").is_some()
        && now.opt_int("completions") == now.opt_int("parallelism");
    if changed("completions") && !elastic {
        refuse("completions", errs);
    }
    if changed("selector") {
        refuse("selector", errs);
    }
    validate_template_update(new, old, &path, errs);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        if changed(field) {
            refuse(field, errs);
        }
    }
}

/// A suspended Job that never started may change where its pods may run.
fn validate_template_update(new: &Value, old: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (now, before) = (&new["spec"]["template"], &old["spec"]["template"]);
    let mut put_back = now.clone();
    let not_started = old["spec"].flag("suspend") && !old["status"].has("startTime");
    if not_started {
        for (holder, fields) in [
            ("metadata", &["annotations", "labels"][..]),
            ("spec", &["nodeSelector", "tolerations", "schedulingGates"]),
        ] {
            for field in fields {
                match before[holder].opt(field) {
                    Some(v) => put_back.message(holder).put(field, v.clone()),
                    None => {
                        put_back.message(holder).drop_field(field);
                    }
                }
            }
        }
        let affinity = before["spec"]["affinity"]["nodeAffinity"].clone();
        if put_back["spec"].has("affinity") || !affinity.is_null() {
            let target = put_back.message("spec").message("affinity");
            if affinity.is_null() {
                target.drop_field("nodeAffinity");
            } else {
                target.put("nodeAffinity", affinity);
            }
        }
    }
    let template = path.child("template");
    let metadata_same = same(&put_back["metadata"], &before["metadata"]);
    if same(&put_back["spec"], &before["spec"]) {
        if !metadata_same {
            errs.push(FieldError::invalid(&template, now.clone(), IMMUTABLE));
        }
        return;
    }
    errs.push(FieldError::invalid(
        &template.child("spec"),
        internal::shown("core/v1.PodSpec", &put_back["spec"]),
        IMMUTABLE,
    ));
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let (status, path) = (&new["status"], Path::new("status"));
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        if let Some(n) = status.opt_int(field) {
            non_negative(errs, &path.child(field), n);
        }
    }
    let uncounted = path.child("uncountedTerminatedPods");
    for list in ["succeeded", "failed"] {
        let at = uncounted.child(list);
        for (i, uid) in status["uncountedTerminatedPods"].list(list).iter().enumerate() {
            if uid.str_or_empty().is_empty() {
                errs.push(FieldError::invalid(&at.index(i), "", "must not be empty"));
            }
        }
    }
}

/// The name of a CronJob must leave room for the suffix of its Jobs.
pub fn validate_cron_name(name: &str, errs: &mut ErrorList) {
    if name.len() > format::DNS_LABEL_MAX - 11 {
        let metadata = Path::new("metadata");
        invalid_each(errs, &metadata.child("name"), name, ["must be no more than 52 characters"]);
    }
}
