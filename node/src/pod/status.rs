//! What a pod's status says, from what its containers do.

use jiff::Timestamp;
use trireme_api::quantity::Quantity;
use trireme_api::{Object, Value, value};

use super::plan::{latest, restart_at, restart_wait_seconds, restarts};
use crate::runtime::{Container, Sandbox, State};
use trireme_client::clock::rfc3339;

pub(super) struct Observed<'a> {
    pub(super) pod: &'a Object,
    pub(super) containers: &'a [Container],
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) host_ip: &'a str,
    /// The pod as a whole has failed: reason and message.
    pub(super) failed: Option<(&'a str, &'a str)>,
    /// It is being ended: nothing is started any more.
    pub(super) ending: bool,
}

/// The fields the agent owns; conditions are those it owns, too.
pub(super) fn of(o: &Observed<'_>, now: Timestamp) -> Value {
    let (pod, old) = (o.pod, o.pod.status());
    let init_specs = pod.spec()["initContainers"].items();
    let specs = pod.spec()["containers"].items();
    let initialized = is_initialized(o, init_specs, specs);
    let phase = phase(o, init_specs, specs, initialized);
    let init: Vec<Value> =
        init_specs.iter().map(|s| container_status(o, s, true, initialized, now)).collect();
    let main: Vec<Value> = specs.iter().map(|s| container_status(o, s, false, initialized, now)).collect();

    let mut out = Value::object();
    let map = out.make(&[]);
    if pod.generation() > 0 {
        map.set("observedGeneration", pod.generation());
    }
    map.set("phase", phase);
    if let Some((reason, message)) = o.failed {
        map.set("reason", reason);
        map.set("message", message);
    }
    map.set("conditions", conditions(o, phase, initialized, &init, &main, now));
    map.set("hostIP", o.host_ip);
    map.set("hostIPs", value!([{"ip": o.host_ip}]));
    if let Some(sandbox) = o.sandbox {
        let ip = sandbox.address.to_string();
        map.set("podIPs", value!([{"ip": ip}]));
        map.set("podIP", ip);
    }
    match old.get("startTime") {
        Some(t) => map.set("startTime", t.clone()),
        None => map.set("startTime", rfc3339(now)),
    }
    if !init.is_empty() {
        map.set("initContainerStatuses", init);
    }
    map.set("containerStatuses", main);
    match old["qosClass"].as_str() {
        Some(class) => map.set("qosClass", class),
        None => map.set("qosClass", qos_class(pod.spec())),
    }
    out
}

fn is_sidecar(spec: &Value) -> bool {
    spec["restartPolicy"] == "Always"
}

fn is_initialized(o: &Observed<'_>, init: &[Value], main: &[Value]) -> bool {
    let known = |s: &Value| latest(o.containers, s["name"].str_or_empty());
    main.iter().any(|s| known(s).is_some())
        || init.iter().all(|s| match known(s).map(|c| c.state) {
            Some(State::Exited { code, .. }) => code == 0 || is_sidecar(s),
            Some(_) => is_sidecar(s),
            None => false,
        })
}

fn phase(o: &Observed<'_>, init: &[Value], main: &[Value], initialized: bool) -> &'static str {
    match o.pod.status()["phase"].str_or_empty() {
        "Succeeded" => return "Succeeded",
        "Failed" => return "Failed",
        _ => {}
    }
    if o.failed.is_some() {
        return "Failed";
    }
    let policy = o.pod.spec()["restartPolicy"].str_or_empty();
    let known = |s: &Value| latest(o.containers, s["name"].str_or_empty()).map(|c| c.state);
    if !initialized {
        let failed = init.iter().any(|s| {
            !is_sidecar(s)
                && matches!(known(s), Some(State::Exited { code, .. }) if code != 0 && policy == "Never")
        });
        return if failed || (o.ending && !o.containers.is_empty()) { "Failed" } else { "Pending" };
    }
    let (mut running, mut waiting, mut failed) = (0, 0, 0);
    for spec in main {
        match known(spec) {
            None => waiting += 1,
            Some(State::Exited { code, .. }) if o.ending || !restarts(policy, code) => {
                failed += i32::from(code != 0)
            }
            Some(_) => running += 1,
        }
    }
    match (waiting, running, failed) {
        (1.., ..) if o.ending => "Failed",
        (1.., ..) => "Pending",
        (_, 1.., _) => "Running",
        (_, _, 1..) => "Failed",
        _ => "Succeeded",
    }
}

fn terminated(c: &Container) -> Option<Value> {
    let State::Exited { since, finished, code } = c.state else { return None };
    Some(value!({"terminated": {
        "exitCode": code,
        "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": rfc3339(since),
        "finishedAt": rfc3339(finished),
        "containerID": c.id.as_str(),
    }}))
}

fn container_status(o: &Observed<'_>, spec: &Value, init: bool, initialized: bool, now: Timestamp) -> Value {
    let name = spec["name"].str_or_empty();
    let known = latest(o.containers, name);
    let before = known.and_then(|c| {
        o.containers.iter().filter(|b| b.name == name && b.attempt < c.attempt).max_by_key(|b| b.attempt)
    });
    let sidecar = init && is_sidecar(spec);
    let policy = match (init, sidecar) {
        (_, true) => "Always",
        (true, false) if o.pod.spec()["restartPolicy"] == "Never" => "Never",
        (true, false) => "OnFailure",
        (false, _) => o.pod.spec()["restartPolicy"].str_or_empty(),
    };
    let mut last = before.and_then(terminated);
    let mut state = Value::object();
    let (mut ready, mut started) = (false, false);
    match known {
        None => {
            let waits_for_init = !initialized && !o.pod.spec()["initContainers"].items().is_empty();
            let reason = if waits_for_init { "PodInitializing" } else { "ContainerCreating" };
            state = value!({"waiting": {"reason": reason}});
        }
        Some(Container { state: State::Created, .. }) => {
            state = value!({"waiting": {"reason": "ContainerCreating"}})
        }
        Some(Container { state: State::Running { since }, .. }) => {
            state.make(&["running"]).set("startedAt", rfc3339(*since));
            started = true;
            let delay = spec["readinessProbe"]["initialDelaySeconds"].as_i64().unwrap_or(0);
            ready = (!init || sidecar) && since.as_second() + delay <= now.as_second();
        }
        Some(c @ Container { state: State::Exited { code, .. }, .. }) => {
            let held_back = !o.ending
                && o.failed.is_none()
                && restarts(policy, *code)
                && restart_at(c).is_some_and(|at| at > now);
            if held_back {
                let pod = o.pod;
                let message = format!(
                    "back-off {}s restarting failed container={name} pod={}_{}({})",
                    restart_wait_seconds(c),
                    pod.name(),
                    pod.namespace(),
                    pod.uid(),
                );
                state = value!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
                last = terminated(c);
            } else {
                state = terminated(c).unwrap_or_default();
            }
            ready = init && !sidecar && *code == 0;
        }
    }
    let mut out = value!({"name": name});
    let map = out.make(&[]);
    map.set("state", state);
    map.set("lastState", last.unwrap_or_else(Value::object));
    map.set("ready", ready);
    map.set("restartCount", known.map_or(0, |c| c.attempt));
    map.set("image", spec["image"].clone());
    map.set("imageID", known.map_or("", |c| c.image_id.as_str()));
    if let Some(c) = known {
        map.set("containerID", c.id.as_str());
    }
    map.set("started", started);
    out
}

fn conditions(
    o: &Observed<'_>,
    phase: &str,
    initialized: bool,
    init: &[Value],
    main: &[Value],
    now: Timestamp,
) -> Vec<Value> {
    let names = |list: &mut dyn Iterator<Item = &Value>| {
        format!("[{}]", list.map(|c| c["name"].str_or_empty()).collect::<Vec<_>>().join(" "))
    };
    let completed = phase == "Succeeded";
    let not_ready = |c: &&Value| c["ready"] != Value::Bool(true);
    let sidecars = || {
        init.iter().zip(o.pod.spec()["initContainers"].items()).filter(|(_, s)| is_sidecar(s)).map(|(c, _)| c)
    };
    let unready = main.iter().chain(sidecars()).any(|c| not_ready(&c));
    let (containers_reason, containers_message) = if completed {
        ("PodCompleted", String::new())
    } else if phase == "Failed" {
        ("PodFailed", String::new())
    } else {
        let list = names(&mut main.iter().chain(sidecars()).filter(not_ready));
        ("ContainersNotReady", format!("containers with unready status: {list}"))
    };
    let containers_ready = !unready && !completed && phase != "Failed";
    let gate = readiness_gate(o.pod);
    let init_message = names(&mut init.iter().filter(not_ready));
    let mut out = Vec::new();
    let mut push = |kind: &str, good: bool, reason: &str, message: &str| {
        out.push(condition(o.pod, kind, good, reason, message, now));
    };
    push("PodReadyToStartContainers", o.sandbox.is_some() && !o.ending, "", "");
    if initialized {
        push("Initialized", true, if completed { "PodCompleted" } else { "" }, "");
    } else {
        push(
            "Initialized",
            false,
            "ContainersNotInitialized",
            &format!("containers with incomplete status: {init_message}"),
        );
    }
    match (containers_ready, &gate) {
        (true, None) => push("Ready", true, "", ""),
        (true, Some(message)) => push("Ready", false, "ReadinessGatesNotReady", message),
        (false, _) => push("Ready", false, containers_reason, &containers_message),
    }
    if containers_ready {
        push("ContainersReady", true, "", "");
    } else {
        push("ContainersReady", false, containers_reason, &containers_message);
    }
    push("PodScheduled", true, "", "");
    out
}

/// The first readiness gate that is not open.
fn readiness_gate(pod: &Object) -> Option<String> {
    pod.spec()["readinessGates"].items().iter().find_map(|gate| {
        let kind = gate["conditionType"].str_or_empty();
        match pod.status()["conditions"].items().iter().find(|c| c["type"] == *kind) {
            None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c["status"] != "True" => {
                let status = c["status"].str_or_empty();
                Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {status}"))
            }
            Some(_) => None,
        }
    })
}

fn condition(pod: &Object, kind: &str, good: bool, reason: &str, message: &str, now: Timestamp) -> Value {
    let status = if good { "True" } else { "False" };
    let old =
        pod.status()["conditions"].items().iter().find(|c| c["type"] == *kind && c["status"] == *status);
    let since = old.map_or_else(|| rfc3339(now), |c| c["lastTransitionTime"].str_or_empty().to_owned());
    let mut out = value!({"type": kind, "status": status, "lastTransitionTime": since});
    let map = out.make(&[]);
    if pod.generation() > 0 {
        map.set("observedGeneration", pod.generation());
    }
    // Null takes out what a former condition said.
    for (field, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            map.set(field, text);
        } else if old.is_some_and(|c| !c[field].is_null()) {
            map.set(field, Value::Null);
        }
    }
    out
}

/// Guaranteed, Burstable or BestEffort.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    let amount = |c: &Value, side: &str, name: &str| {
        c["resources"][side][name].as_str().and_then(|t| t.parse::<Quantity>().ok()).filter(|q| !q.is_zero())
    };
    let (mut any, mut guaranteed) = (false, true);
    for c in spec["containers"].items().iter().chain(spec["initContainers"].items()) {
        for name in ["cpu", "memory"] {
            let (limit, request) = (amount(c, "limits", name), amount(c, "requests", name));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
