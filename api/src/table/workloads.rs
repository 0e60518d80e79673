//! Controllers of pods, and what scales and protects them.

use super::age::{Now, human_duration, labels, number, quantity, seconds, some_of, text_or};
use crate::selector::LabelSelector;
use crate::tree::Value;

pub(super) fn name(object: &Value) -> Value {
    object["metadata"]["name"].str_or_empty().into()
}

/// Names and images of containers.
fn containers(list: &Value) -> [Value; 2] {
    let join = |field: &str| {
        let texts: Vec<&str> = list.items().iter().map(|c| c[field].str_or_empty()).collect();
        texts.join(",").into()
    };
    [join("name"), join("image")]
}

/// A label selector object as text; `<none>` for an empty one.
pub(super) fn selector(object: &Value) -> String {
    match LabelSelector::from_object(object) {
        Ok(selector) if selector.requirements.is_empty() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

fn with_template(mut cells: Vec<Value>, template: &Value, selector: Option<String>) -> Vec<Value> {
    cells.extend(containers(&template["spec"]["containers"]));
    cells.extend(selector.map(Value::from));
    cells
}

pub(super) fn pod_template(o: &Value, _: Now) -> Vec<Value> {
    let [names, images] = containers(&o["template"]["spec"]["containers"]);
    vec![name(o), names, images, labels(&o["template"]["metadata"]["labels"]).into()]
}

fn replicas(o: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    vec![
        name(o),
        number(&spec["replicas"]).into(),
        number(&status["replicas"]).into(),
        number(&status["readyReplicas"]).into(),
        now.age(o),
    ]
}

pub(super) fn replication_controller(o: &Value, now: Now) -> Vec<Value> {
    with_template(replicas(o, now), &o["spec"]["template"], Some(labels(&o["spec"]["selector"])))
}

pub(super) fn replica_set(o: &Value, now: Now) -> Vec<Value> {
    with_template(replicas(o, now), &o["spec"]["template"], Some(selector(&o["spec"]["selector"])))
}

fn ready_of_wanted(o: &Value) -> Value {
    format!("{}/{}", number(&o["status"]["readyReplicas"]), number(&o["spec"]["replicas"])).into()
}

pub(super) fn deployment(o: &Value, now: Now) -> Vec<Value> {
    let status = &o["status"];
    let cells = vec![
        name(o),
        ready_of_wanted(o),
        number(&status["updatedReplicas"]).into(),
        number(&status["availableReplicas"]).into(),
        now.age(o),
    ];
    let selector = LabelSelector::from_object(&o["spec"]["selector"])
        .map_or_else(|_| "<invalid>".to_owned(), |s| s.to_string());
    with_template(cells, &o["spec"]["template"], Some(selector))
}

pub(super) fn stateful_set(o: &Value, now: Now) -> Vec<Value> {
    with_template(vec![name(o), ready_of_wanted(o), now.age(o)], &o["spec"]["template"], None)
}

pub(super) fn daemon_set(o: &Value, now: Now) -> Vec<Value> {
    let count = |field: &str| number(&o["status"][field]).into();
    let template = &o["spec"]["template"];
    let cells = vec![
        name(o),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        labels(&template["spec"]["nodeSelector"]).into(),
        now.age(o),
    ];
    with_template(cells, template, Some(selector(&o["spec"]["selector"])))
}

pub(super) fn job(o: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = match (seconds(&status["startTime"]), seconds(&status["completionTime"])) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now.0) - start),
    };
    let has = |kind: &str| {
        let condition = status["conditions"].items().iter().find(|c| c["type"] == *kind);
        condition.is_some_and(|c| c["status"] == "True")
    };
    let state = if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if !o["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else {
        "Running"
    };
    let cells = vec![name(o), state.into(), completions.into(), duration.into(), now.age(o)];
    with_template(cells, &spec["template"], Some(selector(&spec["selector"])))
}

pub(super) fn cron_job(o: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let last = &status["lastScheduleTime"];
    let cells = vec![
        name(o),
        spec["schedule"].str_or_empty().into(),
        spec["timeZone"].as_str().unwrap_or("<none>").into(),
        match spec["suspend"].as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        }
        .into(),
        status["active"].items().len().into(),
        if last.is_null() { "<none>".to_owned() } else { now.since(last) }.into(),
        now.age(o),
    ];
    let job = &spec["jobTemplate"]["spec"];
    with_template(cells, &job["template"], Some(selector(&job["selector"])))
}

pub(super) fn controller_revision(o: &Value, now: Now) -> Vec<Value> {
    let owner =
        o["metadata"]["ownerReferences"].items().iter().find(|r| r["controller"] == Value::Bool(true));
    let controller = owner.map_or_else(
        || "<none>".to_owned(),
        |r| {
            let group = r["apiVersion"].str_or_empty().split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            let kind = format!("{}{dot}{group}", r["kind"].str_or_empty()).to_lowercase();
            format!("{kind}/{}", r["name"].str_or_empty())
        },
    );
    vec![name(o), controller.into(), number(&o["revision"]).into(), now.age(o)]
}

pub(super) fn pod_disruption_budget(o: &Value, now: Now) -> Vec<Value> {
    let limit = |field: &str| match &o["spec"][field] {
        Value::Null => "N/A".to_owned(),
        Value::String(s) => s.to_string(),
        other => other.to_string(),
    };
    vec![
        name(o),
        limit("minAvailable").into(),
        limit("maxUnavailable").into(),
        number(&o["status"]["disruptionsAllowed"]).into(),
        now.age(o),
    ]
}

pub(super) fn scale(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), number(&o["spec"]["replicas"]).into(), number(&o["status"]["replicas"]).into(), now.age(o)]
}

pub(super) fn pod_group(o: &Value, now: Now) -> Vec<Value> {
    let policy = o["spec"]["schedulingPolicy"].members().first().map_or("<none>", |(k, _)| &**k);
    let workload = text_or(&o["spec"]["podGroupTemplateRef"]["workload"]["workloadName"], "<none>");
    let condition = o["status"]["conditions"].items().first();
    let status = match condition {
        Some(c) if c["status"] == "True" => c["type"].str_or_empty(),
        Some(c) => text_or(&c["reason"], "Pending"),
        None => "Pending",
    };
    vec![name(o), policy.into(), workload.into(), status.into(), now.age(o)]
}

/// Metrics past which the cell only counts.
const METRICS_SHOWN: usize = 2;

/// `cpu: 12%/80%`, `3/5 (avg)`: the value and what it should be.
fn metric(spec: &Value, status: &Value) -> String {
    let known = |value: &Value| if value.is_null() { "<unknown>".to_owned() } else { quantity(value) };
    let (source, averaged) = match spec["type"].str_or_empty() {
        "External" => ("external", true),
        "Object" => ("object", true),
        "Pods" => ("pods", false),
        "Resource" => ("resource", false),
        "ContainerResource" => ("containerResource", false),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[source]["target"], &status[source]["current"]);
    let average = known(&current["averageValue"]);
    if averaged {
        return match &target["averageValue"] {
            Value::Null => format!("{}/{}", known(&current["value"]), quantity(&target["value"])),
            wanted => format!("{average}/{} (avg)", quantity(wanted)),
        };
    }
    let prefix = match source {
        "pods" => String::new(),
        _ => format!("{}: ", spec[source]["name"].str_or_empty()),
    };
    match &target["averageValue"] {
        Value::Null if source != "pods" => {
            let percent =
                |v: &Value, absent: &str| v.as_i64().map_or_else(|| absent.to_owned(), |p| format!("{p}%"));
            let current = percent(&current["averageUtilization"], "<unknown>");
            format!("{prefix}{current}/{}", percent(&target["averageUtilization"], "<auto>"))
        }
        wanted => format!("{prefix}{average}/{}", quantity(wanted)),
    }
}

/// The hub is autoscaling/v2.
pub(super) fn horizontal_pod_autoscaler(o: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let target = &spec["scaleTargetRef"];
    let metrics: Vec<String> = spec["metrics"]
        .items()
        .iter()
        .enumerate()
        .map(|(i, spec)| metric(spec, &status["currentMetrics"][i]))
        .collect();
    vec![
        name(o),
        format!("{}/{}", target["kind"].str_or_empty(), target["name"].str_or_empty()).into(),
        if metrics.is_empty() { "<none>".to_owned() } else { some_of(&metrics, METRICS_SHOWN, ", ") }.into(),
        spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
        number(&spec["maxReplicas"]).into(),
        number(&status["currentReplicas"]).into(),
        now.age(o),
    ]
}
