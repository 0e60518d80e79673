//! Pods: what their containers say together.

use super::age::{Now, number, text_or};
use super::cluster::condition;
use crate::tree::Value;

/// Restarts, and when the last container that was restarted had ended.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn count(&mut self, status: &Value) {
        self.count += number(&status["restartCount"]);
        self.last = self.last.max(super::age::seconds(&status["lastState"]["terminated"]["finishedAt"]));
    }
    fn text(self, now: Now) -> String {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, super::age::human_duration(now.0 - last))
            }
            _ => self.count.to_string(),
        }
    }
}

struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

/// `Completed`, `OOMKilled`, `Signal:9`, `ExitCode:1`
fn end_of(terminated: &Value) -> String {
    match (terminated["reason"].str_or_empty(), number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_true(condition: Option<&Value>) -> bool {
    condition.is_some_and(|c| c["status"] == "True")
}

fn summarize(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecars: Vec<&str> = spec["initContainers"]
        .items()
        .iter()
        .filter(|c| c["restartPolicy"] == "Always")
        .map(|c| c["name"].str_or_empty())
        .collect();
    let mut out = Summary {
        reason: text_or(&status["reason"], status["phase"].str_or_empty()).to_owned(),
        ready: 0,
        total: spec["containers"].items().len() + sidecars.len(),
        restarts: Restarts::default(),
    };
    let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if status["conditions"].items().iter().any(gated) {
        out.reason = "SchedulingGated".to_owned();
    }

    let mut sidecar_restarts = Restarts::default();
    let initializing = summarize_init(pod, &sidecars, &mut out, &mut sidecar_restarts);
    if !initializing || is_true(condition(pod, "Initialized")) {
        out.restarts = sidecar_restarts;
        summarize_containers(pod, &mut out);
    }

    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            out.reason = "Unknown".to_owned();
        } else if status["phase"] != "Failed" && status["phase"] != "Succeeded" {
            out.reason = "Terminating".to_owned();
        }
    }
    out
}

/// Whether an init container is still in the way, which then gives the reason.
fn summarize_init(
    pod: &Value,
    sidecars: &[&str],
    out: &mut Summary,
    sidecar_restarts: &mut Restarts,
) -> bool {
    let total = pod["spec"]["initContainers"].items().len();
    for (i, container) in pod["status"]["initContainerStatuses"].items().iter().enumerate() {
        out.restarts.count(container);
        let sidecar = sidecars.contains(&container["name"].str_or_empty());
        if sidecar {
            sidecar_restarts.count(container);
        }
        let state = &container["state"];
        let terminated = &state["terminated"];
        if !terminated.is_null() && number(&terminated["exitCode"]) == 0 {
            continue;
        }
        if sidecar && container["started"] == Value::Bool(true) {
            out.ready += usize::from(container["ready"] == Value::Bool(true));
            continue;
        }
        let waiting = state["waiting"]["reason"].str_or_empty();
        out.reason = if !terminated.is_null() {
            format!("Init:{}", end_of(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{total}")
        };
        return true;
    }
    false
}

fn summarize_containers(pod: &Value, out: &mut Summary) {
    let mut running = false;
    for container in pod["status"]["containerStatuses"].items().iter().rev() {
        out.restarts.count(container);
        let state = &container["state"];
        let waiting = state["waiting"]["reason"].str_or_empty();
        if !waiting.is_empty() {
            out.reason = waiting.to_owned();
        } else if !state["terminated"].is_null() {
            out.reason = end_of(&state["terminated"]);
        } else if container["ready"] == Value::Bool(true) && !state["running"].is_null() {
            running = true;
            out.ready += 1;
        }
    }
    // One container may be done while another still serves.
    if running && out.reason == "Completed" {
        let ready = is_true(condition(pod, "Ready"));
        out.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod["spec"]["readinessGates"].items();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|g| is_true(condition(pod, g["conditionType"].str_or_empty()))).count();
    format!("{open}/{}", gates.len())
}

pub(super) fn cells(pod: &Value, now: Now) -> Vec<Value> {
    let summary = summarize(pod);
    let (spec, status) = (&pod["spec"], &pod["status"]);
    vec![
        pod["metadata"]["name"].clone(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.text(now).into(),
        now.age(pod),
        text_or(&status["podIPs"][0]["ip"], "<none>").into(),
        text_or(&spec["nodeName"], "<none>").into(),
        text_or(&status["nominatedNodeName"], "<none>").into(),
        readiness_gates(pod).into(),
    ]
}

/// The row's condition: pods that have run to their end.
pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod["status"]["phase"].str_or_empty() {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(crate::value!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn row(pod: Value) -> String {
        let cells = cells(&pod, Now(1_000_000_000));
        cells[1..4].iter().map(Value::str_or_empty).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pods_say_what_their_containers_do() {
        let containers = value!([{"name": "a"}, {"name": "b"}]);
        let pod = |status: Value| {
            let mut pod = value!({"metadata": {"name": "p"}, "spec": {}});
            pod.make(&["spec"]).set("containers", containers.clone());
            pod.make(&[]).set("status", status);
            pod
        };
        let running = value!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
        for (status, expected) in [
            (value!({"phase": "Pending"}), "0/2 Pending 0"),
            (
                value!({"phase": "Running", "containerStatuses": [
                    {"name": "a", "ready": true, "state": {"running": {}}, "restartCount": 0},
                    {"name": "b", "ready": true, "state": {"running": {}}, "restartCount": 0},
                ]}),
                "2/2 Running 0",
            ),
            (
                value!({"phase": "Running", "containerStatuses": [
                    {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                     "lastState": {"terminated": {"finishedAt": "2001-09-09T01:45:00Z"}}},
                ]}),
                "0/2 CrashLoopBackOff 3 (100s ago)",
            ),
            (
                value!({"phase": "Running", "containerStatuses": [
                    {"name": "a", "ready": true, "state": {"running": {}}},
                    {"name": "b", "state": {"terminated": {"reason": "Completed"}}},
                ]}),
                "1/2 NotReady 0",
            ),
            (
                value!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
                "0/2 ExitCode:3 0",
            ),
            (
                value!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"signal": 9}}}]}),
                "0/2 Signal:9 0",
            ),
            (value!({"phase": "Failed", "reason": "Evicted"}), "0/2 Evicted 0"),
            (
                value!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                "0/2 SchedulingGated 0",
            ),
        ] {
            assert_eq!(row(pod(status.clone())), expected, "{status}");
        }
        let mut ending = pod(value!({"phase": "Running"}));
        ending.at_mut(&["status"]).unwrap().make(&[]).set("containerStatuses", Value::Array(vec![running]));
        ending.make(&["metadata"]).set("deletionTimestamp", "2001-09-09T01:45:00Z");
        assert_eq!(row(ending), "1/2 Terminating 0");
    }

    #[test]
    fn init_containers_come_first() {
        let pod = |init: Value, states: Value| {
            let mut pod = value!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}, "status": {"phase": "Pending"}});
            pod.make(&["spec"]).set("initContainers", init);
            pod.make(&["status"]).set("initContainerStatuses", states);
            pod
        };
        let two = value!([{"name": "i"}, {"name": "j"}]);
        for (states, expected) in [
            (value!([{"name": "i", "state": {"running": {}}}]), "0/1 Init:0/2 0"),
            (
                value!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]),
                "0/1 Init:1/2 0",
            ),
            (
                value!([{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]),
                "0/1 Init:ErrImagePull 0",
            ),
            (
                value!([{"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 1}}}]),
                "0/1 Init:ExitCode:1 2",
            ),
            (
                value!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]),
                "0/1 Init:Error 0",
            ),
        ] {
            assert_eq!(row(pod(two.clone(), states.clone())), expected, "{states}");
        }
        let sidecar = value!([{"name": "s", "restartPolicy": "Always"}]);
        let started = value!([{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]);
        assert_eq!(row(pod(sidecar, started)), "1/2 Pending 1");
    }

    #[test]
    fn wide_cells() {
        let pod = value!({
            "metadata": {"name": "p", "creationTimestamp": "2001-09-09T01:45:40Z"},
            "spec": {"nodeName": "n", "readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]},
            "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "y", "status": "True"}]},
        });
        assert_eq!(
            Value::Array(cells(&pod, Now(1_000_000_000))[4..].to_vec()),
            value!(["60s", "10.0.0.1", "n", "<none>", "1/2"])
        );
    }
}
