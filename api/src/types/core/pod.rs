//! `core/v1.Pod`: what holds for a pod beyond its spec, on create. Updates are in
//! [`crate::types::core::pod_update`].

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::{Key, Value};
use crate::types::core::container::validate_in_pod;
use crate::types::core::pod_spec::{self, Place};
use crate::types::core::{qos, resources};
use crate::types::fields::{Fields, Fill};
use crate::types::meta::object_meta::{self, Scope};

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub const APP_ARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Defaults of a pod: those of its spec, and what a template does not get.
pub fn default(pod: &mut Value) {
    let spec = pod.message("spec");
    pod_spec::default(spec);
    for field in ["containers", "initContainers"] {
        spec.each(field, |c| c.within("resources", resources::requests_from_limits));
    }
    default_pod_level(spec);
    spec.fill_absent("enableServiceLinks", true);
    if spec.flag("hostNetwork") {
        for field in ["containers", "initContainers"] {
            spec.each(field, |c| {
                c.each("ports", |p| {
                    let port = p.int("containerPort");
                    if port != 0 {
                        p.fill_zero("hostPort", port);
                    }
                });
            });
        }
    }
}

/// Resources of the pod as a whole, filled in from those of its containers where some are set.
fn default_pod_level(spec: &mut Value) {
    if !spec["resources"].is_object() {
        return;
    }
    let requests = resources::aggregate(spec, "requests");
    let huge_limits: Vec<_> = resources::aggregate(spec, "limits")
        .into_iter()
        .filter(|(name, _)| resources::is_huge_pages(name))
        .collect();
    let all_limited = |name: &str| {
        let limited = |c: &Value| c["resources"]["limits"].get(name).is_some();
        spec.list("containers").iter().all(limited) && spec.list("initContainers").iter().all(limited)
    };
    let common_limits: Vec<_> = resources::aggregate(spec, "limits")
        .into_iter()
        .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory") && all_limited(name))
        .collect();
    let own = spec.message("resources");
    let insert = |own: &mut Value, list: &'static str, name: &str, amount: Value| {
        if own[list].get(name).is_none() {
            own.message(list).make(&[]).insert(Key::from(name), amount);
        }
    };
    if !own.pairs("requests").is_empty() || !own.pairs("limits").is_empty() {
        for (name, amount) in huge_limits {
            insert(own, "limits", &name, amount.to_string().into());
        }
    }
    let had_requests = !own.pairs("requests").is_empty();
    let limits: Vec<(Key, Value)> = own.pairs("limits").to_vec();
    if !limits.is_empty() {
        for (name, amount) in requests {
            if resources::is_pod_level(&name) && resources::is_overcommit_allowed(&name) {
                insert(own, "requests", &name, amount.to_string().into());
            }
        }
        for (name, amount) in limits {
            if resources::is_pod_level(&name) {
                insert(own, "requests", &name, amount);
            }
        }
    }
    if had_requests {
        for (name, amount) in common_limits {
            insert(own, "limits", &name, amount.to_string().into());
        }
    }
}

/// A new pod is pending; its class follows from its resources, and gates show as a condition.
pub fn prepare_create(pod: &mut Value, now: &str) {
    let class = qos::class(&pod["spec"]);
    let mut status = Value::object();
    status.put("phase", "Pending");
    if !pod["spec"].list("schedulingGates").is_empty() {
        let condition = crate::value!({
            "type": "PodScheduled",
            "status": "False",
            "lastTransitionTime": now,
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        });
        status.put("conditions", vec![condition]);
    }
    status.put("qosClass", class);
    pod.put("status", status);
    pod.make(&["metadata"]).set("generation", 1);
    apply_label_keys(pod);
}

/// `matchLabelKeys` and `mismatchLabelKeys` become expressions over the pod's own labels.
fn apply_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let spec = pod.message("spec");
    let add = |holder: &mut Value, field: &str, operator: &str| {
        let keys: Vec<Value> = holder.list(field).to_vec();
        if !holder.has("labelSelector") {
            return;
        }
        for key in keys {
            let Some(value) = labels.opt_text(key.str_or_empty()) else { continue };
            let expression =
                crate::value!({"key": key.str_or_empty(), "operator": operator, "values": [value]});
            let selector = holder.message("labelSelector");
            let mut list = selector.list("matchExpressions").to_vec();
            list.push(expression);
            selector.put("matchExpressions", Value::Array(list));
        }
    };
    spec.within("affinity", |affinity| {
        for kind in ["podAffinity", "podAntiAffinity"] {
            affinity.within(kind, |a| {
                a.each("requiredDuringSchedulingIgnoredDuringExecution", |term| {
                    add(term, "matchLabelKeys", "In");
                    add(term, "mismatchLabelKeys", "NotIn");
                });
                a.each("preferredDuringSchedulingIgnoredDuringExecution", |weighted| {
                    weighted.within("podAffinityTerm", |term| {
                        add(term, "matchLabelKeys", "In");
                        add(term, "mismatchLabelKeys", "NotIn");
                    });
                });
            });
        }
    });
}

/// What create and update check alike.
pub fn validate_meta_and_spec(pod: &Value, errs: &mut ErrorList) {
    let (meta, spec) = (&pod["metadata"], &pod["spec"]);
    object_meta::validate(meta, Scope::Namespaced, NameRule::DnsSubdomain, errs);
    validate_pod_annotations(meta, spec, &Path::new("metadata").child("annotations"), errs);
    let path = Path::new("spec");
    pod_spec::validate(spec, Place::Pod(meta.text("name")), &path, errs);
    if spec.text("serviceAccountName").is_empty() {
        let volumes = path.child("volumes");
        for (i, v) in spec.list("volumes").iter().enumerate() {
            let at = volumes.index(i);
            let projected = at.child("projected");
            let sources = projected.child("sources");
            for (j, s) in v["projected"].list("sources").iter().enumerate() {
                if s.has("serviceAccountToken") {
                    errs.push(FieldError::forbidden(
                        &sources.index(j).child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    ));
                }
            }
        }
    }
    for field in ["containers", "initContainers"] {
        let at = path.child(field);
        for (i, c) in spec.list(field).iter().enumerate() {
            validate_in_pod(c, &at.index(i), errs);
        }
    }
}

pub fn validate_create(pod: &Value, errs: &mut ErrorList) {
    validate_meta_and_spec(pod, errs);
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    if !spec.list("ephemeralContainers").is_empty() {
        errs.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        errs.push(FieldError::forbidden(
            &path.child("nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        ));
    }
}

/// Annotations that mean something to a pod: mirror pods, deletion cost, old security profiles.
pub fn validate_pod_annotations(meta: &Value, spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let annotations = &meta["annotations"];
    if let Some(mirror) = annotations.opt_text(MIRROR)
        && spec.text("nodeName").is_empty()
    {
        errs.push(FieldError::invalid(
            &path.key(MIRROR),
            mirror,
            "must set spec.nodeName if mirror pod annotation is set",
        ));
    }
    if let Some(cost) = annotations.opt_text(DELETION_COST) {
        let canonical =
            cost.parse::<i32>().is_ok() && !cost.starts_with('+') && (cost == "0" || !cost.starts_with('0'));
        if !canonical {
            errs.push(FieldError::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
        }
    }
    for (key, value) in annotations.members() {
        let profile = value.str_or_empty();
        if &**key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            validate_seccomp_annotation(profile, &path.child(key), errs);
        }
        if let Some(container) = key.strip_prefix(APP_ARMOR_CONTAINER) {
            let mut found = false;
            pod_spec::each_container(spec, path, |c, _| found |= c.text("name") == container);
            if !found {
                errs.push(FieldError::invalid(&path.key(key), container, "container not found"));
            }
            let known =
                matches!(profile, "" | "runtime/default" | "unconfined") || profile.starts_with("localhost/");
            if !known {
                errs.push(FieldError::invalid(
                    &path.key(key),
                    profile,
                    format!("invalid AppArmor profile name: {profile:?}"),
                ));
            }
        }
    }
}

fn validate_seccomp_annotation(profile: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => super::volume::validate_descending_path(file, path, errs),
        None => errs.push(FieldError::invalid(path, profile, "must be a valid seccomp profile")),
    }
}
