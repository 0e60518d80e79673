//! Admission and flow control configuration, storage migration.

use super::age::{Now, number, some_of};
use super::workloads::name;
use crate::patch::go_print;
use crate::tree::Value;

pub(super) fn webhooks(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), o["webhooks"].items().len().into(), now.age(o)]
}

fn policy(o: &Value, rules: &str, now: Now) -> Vec<Value> {
    let kind = match &o["spec"]["paramKind"] {
        Value::Null => "<unset>".to_owned(),
        kind => format!("{}/{}", kind["apiVersion"].str_or_empty(), kind["kind"].str_or_empty()),
    };
    vec![name(o), o["spec"][rules].items().len().into(), kind.into(), now.age(o)]
}

pub(super) fn validating_policy(o: &Value, now: Now) -> Vec<Value> {
    policy(o, "validations", now)
}

pub(super) fn mutating_policy(o: &Value, now: Now) -> Vec<Value> {
    policy(o, "mutations", now)
}

pub(super) fn policy_binding(o: &Value, now: Now) -> Vec<Value> {
    let reference = &o["spec"]["paramRef"];
    let parameters = match (reference["name"].str_or_empty(), reference["namespace"].str_or_empty()) {
        ("", _) if reference["selector"].is_null() => "<unset>".to_owned(),
        ("", _) => go_print(&reference["selector"]),
        // Whether the parameters are of one namespace only their kind could tell.
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    };
    vec![name(o), o["spec"]["policyName"].str_or_empty().into(), parameters.into(), now.age(o)]
}

pub(super) fn flow_schema(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    let dangling = o["status"]["conditions"].items().iter().find(|c| c["type"] == "Dangling");
    vec![
        name(o),
        spec["priorityLevelConfiguration"]["name"].str_or_empty().into(),
        number(&spec["matchingPrecedence"]).into(),
        spec["distinguisherMethod"]["type"].as_str().unwrap_or("<none>").into(),
        now.age(o),
        dangling.map_or("?", |c| c["status"].str_or_empty()).into(),
    ]
}

pub(super) fn priority_level(o: &Value, now: Now) -> Vec<Value> {
    let limited = &o["spec"]["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let count = |of: &Value, field: &str| match of {
        Value::Null => "<none>".into(),
        of => Value::Int(number(&of[field])),
    };
    vec![
        name(o),
        o["spec"]["type"].str_or_empty().into(),
        count(limited, "nominalConcurrencyShares"),
        count(queuing, "queues"),
        count(queuing, "handSize"),
        count(queuing, "queueLengthLimit"),
        now.age(o),
    ]
}

/// Servers past which the cell only counts.
const SERVERS_SHOWN: usize = 3;

pub(super) fn storage_version(o: &Value, now: Now) -> Vec<Value> {
    let status = &o["status"];
    let versions: Vec<String> = status["storageVersions"]
        .items()
        .iter()
        .map(|v| format!("{}={}", v["apiServerID"].str_or_empty(), v["encodingVersion"].str_or_empty()))
        .collect();
    let versions =
        if versions.is_empty() { "<unset>".to_owned() } else { some_of(&versions, SERVERS_SHOWN, ",") };
    let common = status["commonEncodingVersion"].as_str().unwrap_or("<unset>");
    vec![name(o), common.into(), versions.into(), now.age(o)]
}

pub(super) fn storage_version_migration(o: &Value, _: Now) -> Vec<Value> {
    let resource = &o["spec"]["resource"];
    let parts = ["resource", "version", "group"].map(|field| resource[field].str_or_empty());
    let resource: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    let conditions = o["status"]["conditions"].items();
    let state =
        conditions.iter().find(|c| c["status"] == "True").map_or("Pending", |c| c["type"].str_or_empty());
    vec![name(o), resource.join(".").into(), state.into()]
}
