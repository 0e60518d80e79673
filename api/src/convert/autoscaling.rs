//! HorizontalPodAutoscaler: v1 knows one CPU target; everything else of v2 travels in annotations
//! that hold JSON, under upstream's names.

use super::{set_annotation, take_annotation};
use crate::tree::{Map, Value};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn is_cpu_utilization(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && !metric["resource"]["target"]["averageUtilization"].is_null()
}

fn resource_utilization(name: &str, utilization: Value) -> Value {
    crate::value!({
        "type": "Resource",
        "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": utilization.as_i64().unwrap_or(0)}},
    })
}

/// The JSON of an annotation, taken away with it; `Null` where it is absent or not JSON.
fn taken(object: &mut Value, key: &str) -> Value {
    take_annotation(object, key).and_then(|v| serde_json::from_str(v.as_str()?).ok()).unwrap_or_default()
}

/// v1 → v2.
pub fn to_v2(object: &mut Value) {
    let (metrics, behavior) = (taken(object, METRICS), taken(object, BEHAVIOR));
    let (current, conditions) = (taken(object, CURRENT_METRICS), taken(object, CONDITIONS));
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let mut list: Vec<Value> = metrics.items().iter().map(metric_to_v2).collect();
        if let Some(target) = spec.remove("targetCPUUtilizationPercentage").filter(|t| !t.is_null()) {
            list.insert(0, resource_utilization("cpu", target));
        }
        if !list.is_empty() {
            spec.set("metrics", list);
        }
        if behavior.is_object() {
            spec.set("behavior", behavior);
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let mut list: Vec<Value> = current.items().iter().map(status_to_v2).collect();
        if let Some(value) = status.remove("currentCPUUtilizationPercentage").filter(|t| !t.is_null()) {
            list.insert(
                0,
                crate::value!({
                    "type": "Resource",
                    "resource": {"name": "cpu", "current": {"averageUtilization": value.as_i64().unwrap_or(0)}},
                }),
            );
        }
        if !list.is_empty() {
            status.set("currentMetrics", list);
        }
        if conditions.is_array() {
            status.set("conditions", conditions);
        }
    }
}

/// v2 → v1.
pub fn from_v2(object: &mut Value) {
    let mut notes: Vec<(&'static str, Value)> = Vec::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let mut others = Vec::new();
        let mut cpu = None;
        for metric in spec.remove("metrics").unwrap_or_default().items() {
            if cpu.is_none() && is_cpu_utilization(metric) {
                cpu = Some(metric["resource"]["target"]["averageUtilization"].clone());
            } else {
                others.push(metric_to_v1(metric));
            }
        }
        if let Some(cpu) = cpu {
            spec.set("targetCPUUtilizationPercentage", cpu);
        }
        if !others.is_empty() {
            notes.push((METRICS, Value::Array(others)));
        }
        if let Some(behavior) = spec.remove("behavior").filter(|b| !b.is_null()) {
            notes.push((BEHAVIOR, behavior));
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let metrics = status.remove("currentMetrics").unwrap_or_default();
        let mut list = Vec::new();
        for metric in metrics.items() {
            let utilization = &metric["resource"]["current"]["averageUtilization"];
            if metric["type"] == "Resource" && metric["resource"]["name"] == "cpu" && !utilization.is_null() {
                status.set("currentCPUUtilizationPercentage", utilization.clone());
            }
            list.push(status_to_v1(metric));
        }
        if !list.is_empty() {
            notes.push((CURRENT_METRICS, Value::Array(list)));
        }
        if let Some(conditions) = status.remove("conditions").filter(|c| !c.items().is_empty()) {
            notes.push((CONDITIONS, conditions));
        }
    }
    for (key, value) in notes {
        set_annotation(object, key, value.to_string());
    }
}

/// The annotation's form of a metric names its target's fields flat.
const FLAT: &[(&str, &str, &str, &str)] = &[
    // metric type, member, flat name, target field
    ("Resource", "resource", "targetAverageUtilization", "averageUtilization"),
    ("Resource", "resource", "targetAverageValue", "averageValue"),
    ("ContainerResource", "containerResource", "targetAverageUtilization", "averageUtilization"),
    ("ContainerResource", "containerResource", "targetAverageValue", "averageValue"),
    ("Pods", "pods", "targetAverageValue", "averageValue"),
    ("External", "external", "targetValue", "value"),
    ("External", "external", "targetAverageValue", "averageValue"),
    ("Object", "object", "targetValue", "value"),
    ("Object", "object", "averageValue", "averageValue"),
];

fn member(metric: &Value) -> &'static str {
    let kind = metric["type"].str_or_empty();
    FLAT.iter().find(|(t, ..)| *t == kind).map_or("", |(_, member, ..)| member)
}

fn metric_to_v2(metric: &Value) -> Value {
    let mut out = metric.clone();
    let Some(source) = out.get_mut(member(metric)).and_then(Value::as_object_mut) else { return out };
    described(source, metric, true);
    let mut target = Map::new();
    for (_, _, flat, field) in FLAT.iter().filter(|(t, ..)| metric["type"] == *t) {
        if let Some(value) = source.remove(flat).filter(|v| !v.is_null()) {
            target.set(field, value);
        }
    }
    let kind = if target.contains_key("averageUtilization") {
        "Utilization"
    } else if target.contains_key("averageValue") {
        "AverageValue"
    } else {
        "Value"
    };
    target.set("type", kind);
    source.set("target", target);
    names(source, true);
    out
}

fn metric_to_v1(metric: &Value) -> Value {
    let mut out = metric.clone();
    let Some(source) = out.get_mut(member(metric)).and_then(Value::as_object_mut) else { return out };
    let target = source.remove("target").unwrap_or_default();
    described(source, metric, false);
    names(source, false);
    for (_, _, flat, field) in FLAT.iter().filter(|(t, ..)| metric["type"] == *t) {
        if !target[*field].is_null() {
            source.set(flat, target[*field].clone());
        }
    }
    out
}

fn status_to_v2(metric: &Value) -> Value {
    let mut out = metric.clone();
    let Some(source) = out.get_mut(member(metric)).and_then(Value::as_object_mut) else { return out };
    described(source, metric, true);
    let mut current = Map::new();
    for (flat, field) in [
        ("currentAverageUtilization", "averageUtilization"),
        ("currentAverageValue", "averageValue"),
        ("currentValue", "value"),
    ] {
        if let Some(value) = source.remove(flat).filter(|v| !v.is_null()) {
            current.set(field, value);
        }
    }
    source.set("current", current);
    names(source, true);
    out
}

fn status_to_v1(metric: &Value) -> Value {
    let mut out = metric.clone();
    let Some(source) = out.get_mut(member(metric)).and_then(Value::as_object_mut) else { return out };
    let current = source.remove("current").unwrap_or_default();
    described(source, metric, false);
    names(source, false);
    for (flat, field) in [
        ("currentAverageUtilization", "averageUtilization"),
        ("currentAverageValue", "averageValue"),
        ("currentValue", "value"),
    ] {
        if !current[field].is_null() {
            source.set(flat, current[field].clone());
        }
    }
    out
}

/// A metric's name and selector: flat in the annotation, a `metric` object in v2.
fn names(source: &mut Map, to_v2: bool) {
    if to_v2 {
        if let Some(name) = source.remove("metricName") {
            let mut metric = Map::new();
            metric.set("name", name);
            let selector = source.remove("selector").or_else(|| source.remove("metricSelector"));
            if let Some(selector) = selector.filter(|s| !s.is_null()) {
                metric.set("selector", selector);
            }
            source.set("metric", metric);
        }
    } else if let Some(metric) = source.remove("metric") {
        source.set("metricName", metric["name"].clone());
        if !metric["selector"].is_null() {
            source.set("selector", metric["selector"].clone());
        }
    }
}

/// The object that a metric describes is its `target` in the annotation.
fn described(source: &mut Map, metric: &Value, to_v2: bool) {
    if metric["type"] == "Object" {
        let (from, to) = if to_v2 { ("target", "describedObject") } else { ("describedObject", "target") };
        super::rename(source, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn a_cpu_target_is_a_metric() {
        let v1 = value!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}});
        let mut v = v1.clone();
        to_v2(&mut v);
        assert_eq!(
            v["spec"]["metrics"][0]["resource"]["target"],
            value!({"type": "Utilization", "averageUtilization": 80})
        );
        from_v2(&mut v);
        assert_eq!(v, v1);
    }

    #[test]
    fn what_v1_lacks_comes_back() {
        let v2 = value!({"metadata": {}, "spec": {
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "m", "selector": {}}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "7"}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 3}}},
            ],
            "behavior": {"scaleUp": {"selectPolicy": "Max"}},
        }});
        let mut v = v2.clone();
        from_v2(&mut v);
        assert!(v["spec"]["metrics"].is_null());
        to_v2(&mut v);
        assert_eq!(v, v2);
    }
}
