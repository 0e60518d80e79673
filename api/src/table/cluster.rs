//! Nodes, namespaces, events, configuration, access.

use super::age::{Now, labels, number, quantity, text_or};
use super::workloads::name;
use crate::tree::Value;

/// The first condition of a type.
pub(super) fn condition<'a>(o: &'a Value, kind: &str) -> Option<&'a Value> {
    o["status"]["conditions"].items().iter().find(|c| c["type"] == *kind)
}

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = node["metadata"]["labels"]
        .members()
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if **key == *ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

pub(super) fn node(o: &Value, now: Now) -> Vec<Value> {
    let conditions = o["status"]["conditions"].items();
    let ready = conditions.iter().rev().find(|c| c["type"] == "Ready");
    let mut status = match ready {
        Some(c) if c["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if o["spec"]["unschedulable"] == Value::Bool(true) {
        status += ",SchedulingDisabled";
    }
    let address = |kind: &str| {
        let found = o["status"]["addresses"].items().iter().find(|a| a["type"] == *kind);
        found.map_or("<none>", |a| a["address"].str_or_empty()).into()
    };
    let info = &o["status"]["nodeInfo"];
    vec![
        name(o),
        status.into(),
        roles(o).into(),
        now.age(o),
        info["kubeletVersion"].str_or_empty().into(),
        address("InternalIP"),
        address("ExternalIP"),
        text_or(&info["osImage"], "<unknown>").into(),
        text_or(&info["kernelVersion"], "<unknown>").into(),
        text_or(&info["containerRuntimeVersion"], "<unknown>").into(),
    ]
}

pub(super) fn event(o: &Value, now: Now) -> Vec<Value> {
    let first = match &o["firstTimestamp"] {
        Value::Null => now.since(&o["eventTime"]),
        time => now.since(time),
    };
    let series = &o["series"];
    let (last, count) = if !series.is_null() {
        (now.since(&series["lastObservedTime"]), number(&series["count"]))
    } else {
        let last = match &o["lastTimestamp"] {
            Value::Null => first.clone(),
            time => now.since(time),
        };
        (last, number(&o["count"]).max(1))
    };
    let object = &o["involvedObject"];
    let kind = object["kind"].str_or_empty().to_lowercase();
    let target = match object["name"].str_or_empty() {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = text_or(&o["source"]["component"], o["reportingComponent"].str_or_empty());
    let source = match text_or(&o["source"]["host"], o["reportingInstance"].str_or_empty()) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    vec![
        last.into(),
        o["type"].str_or_empty().into(),
        o["reason"].str_or_empty().into(),
        target.into(),
        object["fieldPath"].str_or_empty().into(),
        source.into(),
        o["message"].str_or_empty().trim().into(),
        first.into(),
        count.into(),
        name(o),
    ]
}

pub(super) fn namespace(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), o["status"]["phase"].str_or_empty().into(), now.age(o)]
}

pub(super) fn secret(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), o["type"].str_or_empty().into(), o["data"].members().len().into(), now.age(o)]
}

pub(super) fn config_map(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), (o["data"].members().len() + o["binaryData"].members().len()).into(), now.age(o)]
}

pub(super) fn name_and_age(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), now.age(o)]
}

pub(super) fn component_status(o: &Value, _: Now) -> Vec<Value> {
    let healthy = o["conditions"].items().iter().find(|c| c["type"] == "Healthy");
    let (status, message, error) = match healthy {
        Some(c) => {
            let status = if c["status"] == "True" { "Healthy" } else { "Unhealthy" };
            (status, c["message"].str_or_empty(), c["error"].str_or_empty())
        }
        None => ("Unknown", "", ""),
    };
    vec![name(o), status.into(), message.into(), error.into()]
}

pub(super) fn resource_quota(o: &Value, now: Now) -> Vec<Value> {
    let status = &o["status"];
    let mut resources: Vec<&str> = status["hard"].members().iter().map(|(k, _)| &**k).collect();
    resources.sort_unstable();
    let (limits, requests): (Vec<&str>, Vec<&str>) =
        resources.into_iter().partition(|r| r.starts_with("limits."));
    let text = |list: Vec<&str>| {
        let used =
            |r: &str| format!("{r}: {}/{}", quantity(&status["used"][r]), quantity(&status["hard"][r]));
        list.into_iter().map(used).collect::<Vec<_>>().join(", ")
    };
    vec![name(o), text(requests).into(), text(limits).into(), now.age(o)]
}

pub(super) fn role_binding(o: &Value, now: Now) -> Vec<Value> {
    let role = &o["roleRef"];
    let subjects = |kind: &str| {
        let texts: Vec<String> = o["subjects"]
            .items()
            .iter()
            .filter(|s| s["kind"] == *kind)
            .map(|s| match s["namespace"].str_or_empty() {
                namespace if kind == "ServiceAccount" && !namespace.is_empty() => {
                    format!("{namespace}/{}", s["name"].str_or_empty())
                }
                _ => s["name"].str_or_empty().to_owned(),
            })
            .collect();
        texts.join(", ").into()
    };
    vec![
        name(o),
        format!("{}/{}", role["kind"].str_or_empty(), role["name"].str_or_empty()).into(),
        now.age(o),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn lease(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), o["spec"]["holderIdentity"].str_or_empty().into(), now.age(o)]
}

pub(super) fn lease_candidate(o: &Value, now: Now) -> Vec<Value> {
    let text = |field: &str| o["spec"][field].str_or_empty().into();
    vec![name(o), text("leaseName"), text("binaryVersion"), text("emulationVersion"), now.age(o)]
}

pub(super) fn priority_class(o: &Value, now: Now) -> Vec<Value> {
    vec![
        name(o),
        number(&o["value"]).into(),
        (o["globalDefault"] == Value::Bool(true)).into(),
        now.age(o),
        o["preemptionPolicy"].str_or_empty().into(),
    ]
}

pub(super) fn runtime_class(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), o["handler"].str_or_empty().into(), now.age(o)]
}

pub(super) fn status(o: &Value, _: Now) -> Vec<Value> {
    ["status", "reason", "message"].map(|field| o[field].str_or_empty().into()).to_vec()
}

pub(super) fn certificate_signing_request(o: &Value, now: Now) -> Vec<Value> {
    let has = |kind: &str| condition(o, kind).is_some();
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state += ",Failed";
    }
    if !o["status"]["certificate"].str_or_empty().is_empty() {
        state += ",Issued";
    }
    let spec = &o["spec"];
    let duration =
        spec["expirationSeconds"].as_i64().map_or_else(|| "<none>".to_owned(), super::age::human_duration);
    vec![
        name(o),
        now.age(o),
        text_or(&spec["signerName"], "<none>").into(),
        spec["username"].str_or_empty().into(),
        duration.into(),
        state.into(),
    ]
}

pub(super) fn cluster_trust_bundle(o: &Value, _: Now) -> Vec<Value> {
    vec![name(o), text_or(&o["spec"]["signerName"], "<none>").into()]
}

pub(super) fn pod_certificate_request(o: &Value, _: Now) -> Vec<Value> {
    let text = |field: &str| o["spec"][field].str_or_empty().into();
    let state = ["Issued", "Denied", "Failed"].into_iter().find(|kind| condition(o, kind).is_some());
    vec![
        name(o),
        text("podName"),
        text("serviceAccountName"),
        text("nodeName"),
        text("signerName"),
        state.unwrap_or("Pending").into(),
        labels(&o["spec"]["unverifiedUserAnnotations"]).into(),
    ]
}

pub(super) fn api_service(o: &Value, now: Now) -> Vec<Value> {
    let service = &o["spec"]["service"];
    let host = match service {
        Value::Null => "Local".to_owned(),
        _ => format!("{}/{}", service["namespace"].str_or_empty(), service["name"].str_or_empty()),
    };
    let available = match condition(o, "Available") {
        None => "Unknown".to_owned(),
        Some(c) => match (c["status"].str_or_empty(), c["reason"].str_or_empty()) {
            ("True", _) => "True".to_owned(),
            (status, "") => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    };
    vec![name(o), host.into(), available.into(), now.age(o)]
}
