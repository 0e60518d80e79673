//! `apps/v1.StatefulSet`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::apps::strategy::{
    is_nothing, is_usable, validate_count_or_percent, validate_not_over_100, validate_selector,
};
use crate::types::core::{persistent_volume_claim, pod_template};
use crate::types::fields::{Fields, Fill, invalid_each, non_negative, one_of, required_one_of, same};
use crate::types::format;
use crate::types::meta::label_selector;
use crate::types::meta::object_meta::{self, Scope};

const HISTORY: i64 = 10;
const UPDATABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

pub fn default(set: &mut Value) {
    let spec = set.message("spec");
    pod_template::default(spec.message("template"));
    spec.fill_zero("podManagementPolicy", "OrderedReady");
    let strategy = spec.message("updateStrategy");
    if strategy.text("type").is_empty() {
        strategy.put("type", "RollingUpdate");
        if !strategy.has("rollingUpdate") {
            strategy.put("rollingUpdate", crate::value!({"partition": 0}));
        }
    }
    if strategy.text("type") == "RollingUpdate" {
        strategy.within("rollingUpdate", |r| r.fill_absent("partition", 0));
    }
    let retention = spec.message("persistentVolumeClaimRetentionPolicy");
    retention.fill_zero("whenDeleted", "Retain");
    retention.fill_zero("whenScaled", "Retain");
    spec.fill_absent("replicas", 1);
    spec.fill_absent("revisionHistoryLimit", HISTORY);
    spec.each("volumeClaimTemplates", |claim| {
        claim.fill_zero("apiVersion", "v1");
        claim.fill_zero("kind", "PersistentVolumeClaim");
        persistent_volume_claim::default(claim);
    });
}

pub fn validate(set: &Value, errs: &mut ErrorList) {
    let name_at = Path::new("metadata");
    let before = errs.len();
    object_meta::validate(&set["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    // Pods take the name as a label, so it is held to that rule where it passes the wider one.
    let name = set["metadata"].text("name");
    if errs.len() == before {
        invalid_each(errs, &name_at.child("name"), name, format::dns_label(name));
    }
    validate_spec(&set["spec"], errs);
}

fn validate_spec(spec: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    let policy = spec.text("podManagementPolicy");
    let at = path.child("podManagementPolicy");
    match policy {
        "" => errs.push(FieldError::required(&at, "")),
        "OrderedReady" | "Parallel" => {}
        other => errs.push(FieldError::invalid(&at, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    validate_strategy(&spec["updateStrategy"], &path.child("updateStrategy"), errs);
    let at = path.child("persistentVolumeClaimRetentionPolicy");
    if let Some(retention) = spec.opt("persistentVolumeClaimRetentionPolicy") {
        for field in ["whenDeleted", "whenScaled"] {
            one_of(errs, &at.child(field), retention.text(field), &["Delete", "Retain"]);
        }
    }
    non_negative(errs, &path.child("replicas"), spec.int("replicas"));
    non_negative(errs, &path.child("minReadySeconds"), spec.int("minReadySeconds"));
    if let Some(ordinals) = spec.opt("ordinals") {
        let at = path.child("ordinals");
        non_negative(errs, &at.child("start"), ordinals.int("start"));
    }
    let selector = &spec["selector"];
    let at_template = path.child("template");
    validate_selector(selector, "statefulset", &path.child("selector"), errs);
    if !selector.is_null() && !is_usable(selector) {
        errs.push(FieldError::invalid(&path.child("selector"), selector.clone(), ""));
    } else {
        let labels = &spec["template"]["metadata"]["labels"];
        if !label_selector::is_empty(selector) && !label_selector::matches(selector, labels) {
            pod_template::unmatched(labels, &at_template, errs);
        }
        pod_template::validate(&with_claims(spec), &at_template, errs);
    }
    let at_spec = at_template.child("spec");
    let policy = spec["template"]["spec"].text("restartPolicy");
    if policy != "Always" {
        errs.push(FieldError::not_supported(&at_spec.child("restartPolicy"), policy, &["Always"]));
    }
    if spec["template"]["spec"].has("activeDeadlineSeconds") {
        errs.push(FieldError::forbidden(
            &at_spec.child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in StatefulSet is not Supported",
        ));
    }
    if let Some(limit) = spec.opt_int("revisionHistoryLimit") {
        non_negative(errs, &path.child("revisionHistoryLimit"), limit);
    }
}

/// The template as its pods will be: a claim template gives a volume of its name, over one that
/// the template has itself.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = spec.list("volumeClaimTemplates");
    let named = |v: &Value| claims.iter().any(|c| c["metadata"].text("name") == v.text("name"));
    let pod_spec = template.message("spec");
    let mut volumes: Vec<Value> = pod_spec.list("volumes").iter().filter(|v| !named(v)).cloned().collect();
    volumes.extend(claims.iter().map(|c| {
        let name = c["metadata"].text("name");
        crate::value!({"name": name, "persistentVolumeClaim": {"claimName": name}})
    }));
    if !volumes.is_empty() {
        pod_spec.put("volumes", Value::Array(volumes));
    }
    template
}

fn validate_strategy(strategy: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let kind = strategy.text("type");
    match kind {
        "" => errs.push(FieldError::required(&path.child("type"), "")),
        "OnDelete" => {
            if strategy.has("rollingUpdate") {
                errs.push(FieldError::invalid(
                    &path.child("rollingUpdate"),
                    strategy["rollingUpdate"].clone(),
                    "only allowed for updateStrategy 'RollingUpdate'",
                ));
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = strategy.opt("rollingUpdate") else { return };
            let at = path.child("rollingUpdate");
            non_negative(errs, &at.child("partition"), rolling.int("partition"));
            if let Some(max) = rolling.opt("maxUnavailable") {
                let at = at.child("maxUnavailable");
                validate_count_or_percent(max, &at, errs);
                if is_nothing(max) {
                    errs.push(FieldError::invalid(&at, max.clone(), "cannot be 0"));
                }
                validate_not_over_100(max, &at, errs);
            }
        }
        other => required_one_of(errs, &path.child("type"), other, &["RollingUpdate", "OnDelete"]),
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_spec(&new["spec"], errs);
    let mut put_back = new["spec"].clone();
    for field in [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "persistentVolumeClaimRetentionPolicy",
        "revisionHistoryLimit",
    ] {
        match old["spec"].opt(field) {
            Some(v) => put_back.put(field, v.clone()),
            None => {
                put_back.drop_field(field);
            }
        }
    }
    if !same(&put_back, &old["spec"]) {
        errs.push(FieldError::forbidden(&Path::new("spec"), UPDATABLE));
    }
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let (status, path) = (&new["status"], Path::new("status"));
    for field in [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
    ] {
        non_negative(errs, &path.child(field), status.int(field));
    }
    let mut at_most = |field: &'static str, limit: &str, name: &str| {
        if status.int(field) > status.int(limit) {
            errs.push(FieldError::invalid(
                &path.child(field),
                status.int(field),
                format!("cannot be greater than {name}"),
            ));
        }
    };
    at_most("readyReplicas", "replicas", "status.replicas");
    at_most("currentReplicas", "replicas", "status.replicas");
    at_most("updatedReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "readyReplicas", "status.readyReplicas");
}
