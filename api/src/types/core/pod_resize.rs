//! What may change in a pod through `resize`: cpu and memory of containers and sidecars.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::pod::{MIRROR, validate_meta_and_spec};
use crate::types::core::pod_update::copy_field;
use crate::types::core::{qos, resources};
use crate::types::fields::{Fields, Fill, same};
use crate::types::meta::object_meta;

const ONLY_CPU_AND_MEMORY: &str = "only cpu and memory resources are mutable";

/// Takes resources and resize policies of containers from `new`, all else from `old`. Where the
/// containers are not the same, nothing is put back and validation says so.
pub fn prepare_resize(new: &mut Value, old: &Value) {
    let same_names = |field: &str| {
        let (n, o) = (new["spec"].list(field), old["spec"].list(field));
        n.len() == o.len() && n.iter().zip(o).all(|(n, o)| n.text("name") == o.text("name"))
    };
    if !same_names("containers") || !same_names("initContainers") {
        return;
    }
    let given = new["spec"].clone();
    let metadata = new["metadata"].clone();
    *new = old.clone();
    new.put("metadata", metadata);
    for field in ["containers", "initContainers"] {
        let mut from = given.list(field).iter();
        new.message("spec").each(field, |c| {
            if let Some(given) = from.next() {
                copy_field(c, given, "resources");
                copy_field(c, given, "resizePolicy");
            }
        });
    }
    copy_field(new.message("spec"), &given, "resources");
}

/// An update through `resize`: cpu and memory of containers and sidecars.
pub fn validate_resize(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_meta_and_spec(new, errs);
    let refuse = |errs: &mut ErrorList, message: &str| {
        errs.clear();
        errs.push(FieldError::forbidden(&Path::new("[]"), message));
    };
    if old["metadata"]["annotations"].has(MIRROR) {
        return refuse(errs, "static pods cannot be resized");
    }
    if old["spec"]["os"].text("name") == "windows" {
        return refuse(errs, "windows pods cannot be resized");
    }
    let path = Path::new("spec");
    let old_class = match old["status"].text("qosClass") {
        "" => qos::class(&old["spec"]),
        class => class,
    };
    if old_class != qos::class(&new["spec"]) {
        errs.push(FieldError::invalid(
            &path,
            new["status"].text("qosClass"),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    let unsupported = old["status"]
        .list("containerStatuses")
        .iter()
        .find(|c| c["state"].has("running"))
        .is_some_and(|c| !c.has("resources"));
    if unsupported {
        errs.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    let is_sidecar = |c: &Value| c["restartPolicy"] == "Always";
    let mut put_back = new["spec"].clone();
    for field in ["initContainers", "containers"] {
        let at = path.child(field);
        let regular = field == "containers";
        for (i, (now, before)) in new["spec"].list(field).iter().zip(old["spec"].list(field)).enumerate() {
            if regular || is_sidecar(before) {
                validate_container_resize(now, before, &at.index(i).child("resources"), errs);
            }
        }
    }
    for field in ["containers", "initContainers"] {
        let regular = field == "containers";
        let Some(list) = put_back.get_mut(field) else { continue };
        for (c, before) in list.items_mut().iter_mut().zip(old["spec"].list(field)) {
            if regular || is_sidecar(before) {
                restore_cpu_and_memory(c, before);
            }
            if !same(c, before) {
                errs.push(FieldError::forbidden(
                    &path,
                    match (regular, is_sidecar(before)) {
                        (true, _) => ONLY_CPU_AND_MEMORY,
                        (_, true) => "only cpu and memory resources for sidecar containers are mutable",
                        _ => "resources for non-sidecar init containers are immutable",
                    },
                ));
            }
        }
    }
    if errs.is_empty() && !same(&put_back, &old["spec"]) {
        errs.push(FieldError::forbidden(&path, ONLY_CPU_AND_MEMORY));
    }
}

fn restore_cpu_and_memory(c: &mut Value, before: &Value) {
    for list in ["limits", "requests"] {
        let old_list = &before["resources"][list];
        let own = c.message("resources").message(list);
        for name in ["cpu", "memory"] {
            copy_field(own, old_list, name);
        }
    }
}

fn validate_container_resize(now: &Value, before: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let (new, old) = (&now["resources"], &before["resources"]);
    for (list, message) in
        [("requests", "resource requests cannot be removed"), ("limits", "resource limits cannot be removed")]
    {
        if old.pairs(list).iter().any(|(name, _)| new[list].get(name).is_none()) {
            errs.push(FieldError::forbidden(&path.child(list), message));
        }
    }
    let policy = now
        .list("resizePolicy")
        .iter()
        .find(|p| p["resourceName"] == "memory")
        .map_or("", |p| p.text("restartPolicy"));
    if matches!(policy, "" | "NotRequired") {
        let limit = |r: &Value| r["limits"].get("memory").map(resources::quantity);
        let limits = path.child("limits");
        if let (Some(_), None) = (limit(new), limit(old)) {
            errs.push(FieldError::forbidden(
                &limits.key("memory"),
                "memory limits cannot be added unless resizePolicy is RestartContainer",
            ));
        }
    }
}
