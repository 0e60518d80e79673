//! Volumes, their classes and drivers, devices.

use super::age::{Now, number, quantity, text_or};
use super::workloads::name;
use crate::tree::Value;

/// `RWO,ROX,RWX,RWOP`: each mode once, in this order.
fn access_modes(list: &Value) -> String {
    let has = |mode: &str| list.items().iter().any(|m| *m == *mode);
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| has(mode))
    .map(|(_, short)| short)
    .collect::<Vec<_>>()
    .join(",")
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn class(o: &Value) -> Value {
    let annotation = &o["metadata"]["annotations"][CLASS_ANNOTATION];
    annotation.as_str().unwrap_or(o["spec"]["storageClassName"].str_or_empty()).into()
}

fn phase(o: &Value) -> Value {
    match &o["metadata"]["deletionTimestamp"] {
        Value::Null => o["status"]["phase"].str_or_empty().into(),
        _ => "Terminating".into(),
    }
}

fn or_unset(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").into()
}

pub(super) fn persistent_volume(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    let claim = match &spec["claimRef"] {
        Value::Null => String::new(),
        c => format!("{}/{}", c["namespace"].str_or_empty(), c["name"].str_or_empty()),
    };
    vec![
        name(o),
        quantity(&spec["capacity"]["storage"]).into(),
        access_modes(&spec["accessModes"]).into(),
        spec["persistentVolumeReclaimPolicy"].str_or_empty().into(),
        phase(o),
        claim.into(),
        class(o),
        or_unset(&spec["volumeAttributesClassName"]),
        o["status"]["reason"].str_or_empty().into(),
        now.age(o),
        or_unset(&spec["volumeMode"]),
    ]
}

pub(super) fn persistent_volume_claim(o: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let volume = spec["volumeName"].str_or_empty();
    let (capacity, modes) = match volume {
        "" => (String::new(), String::new()),
        _ => (quantity(&status["capacity"]["storage"]), access_modes(&status["accessModes"])),
    };
    vec![
        name(o),
        phase(o),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(o),
        or_unset(&spec["volumeAttributesClassName"]),
        now.age(o),
        or_unset(&spec["volumeMode"]),
    ]
}

/// The name, marked where an annotation makes the class the default.
fn default_name(o: &Value, annotations: &[&str]) -> Value {
    let name = o["metadata"]["name"].str_or_empty();
    let marked = annotations.iter().any(|a| o["metadata"]["annotations"][*a] == "true");
    if marked { format!("{name} (default)") } else { name.to_owned() }.into()
}

pub(super) fn storage_class(o: &Value, now: Now) -> Vec<Value> {
    const DEFAULT: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    vec![
        default_name(o, &DEFAULT),
        o["provisioner"].str_or_empty().into(),
        o["reclaimPolicy"].as_str().unwrap_or("Delete").into(),
        o["volumeBindingMode"].as_str().unwrap_or("Immediate").into(),
        (o["allowVolumeExpansion"] == Value::Bool(true)).into(),
        now.age(o),
    ]
}

pub(super) fn volume_attributes_class(o: &Value, now: Now) -> Vec<Value> {
    const DEFAULT: [&str; 1] = ["storage.alpha.kubernetes.io/is-default-class"];
    vec![default_name(o, &DEFAULT), o["driverName"].str_or_empty().into(), now.age(o)]
}

pub(super) fn volume_attachment(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    vec![
        name(o),
        spec["attacher"].str_or_empty().into(),
        spec["source"]["persistentVolumeName"].str_or_empty().into(),
        spec["nodeName"].str_or_empty().into(),
        (o["status"]["attached"] == Value::Bool(true)).into(),
        now.age(o),
    ]
}

pub(super) fn csi_node(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), o["spec"]["drivers"].items().len().into(), now.age(o)]
}

pub(super) fn csi_driver(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    let flag = |field: &str, default: bool| spec[field].as_bool().unwrap_or(default).into();
    let join =
        |list: &Value, text: fn(&Value) -> &str| list.items().iter().map(text).collect::<Vec<_>>().join(",");
    let tokens = match &spec["tokenRequests"] {
        Value::Null => "<unset>".to_owned(),
        list => join(list, |t| t["audience"].str_or_empty()),
    };
    let modes = join(&spec["volumeLifecycleModes"], Value::str_or_empty);
    vec![
        name(o),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        tokens.into(),
        flag("requiresRepublish", false),
        if modes.is_empty() { "<none>".to_owned() } else { modes }.into(),
        now.age(o),
    ]
}

pub(super) fn csi_storage_capacity(o: &Value, _: Now) -> Vec<Value> {
    let capacity = match &o["capacity"] {
        Value::Null => "<unset>".to_owned(),
        value => quantity(value),
    };
    vec![name(o), o["storageClassName"].str_or_empty().into(), capacity.into()]
}

pub(super) fn resource_claim(o: &Value, now: Now) -> Vec<Value> {
    let deleted = !o["metadata"]["deletionTimestamp"].is_null();
    let allocated = !o["status"]["allocation"].is_null();
    let reserved = allocated && !o["status"]["reservedFor"].items().is_empty();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (reserved, "reserved"),
    ];
    let text: Vec<&str> = states.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
    vec![name(o), text.join(",").into(), now.age(o)]
}

pub(super) fn resource_slice(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    vec![
        name(o),
        spec["nodeName"].str_or_empty().into(),
        spec["driver"].str_or_empty().into(),
        spec["pool"]["name"].str_or_empty().into(),
        now.age(o),
    ]
}

pub(super) fn device_taint_rule(o: &Value, now: Now) -> Vec<Value> {
    let taint = &o["spec"]["taint"];
    let text = |field: &str| taint[field].str_or_empty().into();
    vec![
        name(o),
        text("key"),
        text("value"),
        text("effect"),
        now.since(&taint["timeAdded"]).into(),
        now.age(o),
    ]
}

pub(super) fn resource_pool_status_request(o: &Value, now: Now) -> Vec<Value> {
    let pools = o["status"]["pools"].items();
    let sum = |field: &str| match pools {
        [] => "-".to_owned(),
        _ => pools.iter().map(|p| number(&p[field])).sum::<i64>().to_string(),
    };
    let complete = o["status"]["conditions"].items().iter().find(|c| c["status"] == "True");
    vec![
        name(o),
        o["spec"]["driver"].str_or_empty().into(),
        sum("totalDevices").into(),
        sum("availableDevices").into(),
        sum("allocatedDevices").into(),
        sum("unavailableDevices").into(),
        pools.iter().filter(|p| !p["error"].is_null()).count().to_string().into(),
        pools.len().into(),
        complete.map_or("Pending", |c| text_or(&c["type"], "Complete")).into(),
        complete.map_or_else(|| "-".to_owned(), |c| now.since(&c["lastTransitionTime"])).into(),
    ]
}
