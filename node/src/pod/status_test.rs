use std::net::IpAddr;

use jiff::Timestamp;
use trireme_api::{Object, Value, value};

use super::status::{Observed, of, qos_class};
use crate::runtime::{Container, Sandbox, State};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}
fn running(name: &str) -> Container {
    made(name, 0, State::Running { since: at(0) })
}
fn ended(name: &str, attempt: u32, code: i32) -> Container {
    made(name, attempt, State::Exited { since: at(0), finished: at(5), code })
}
fn made(name: &str, attempt: u32, state: State) -> Container {
    Container {
        id: format!("hollow://{name}{attempt}"),
        name: name.into(),
        attempt,
        image_id: "hollow://i".into(),
        state,
    }
}
fn pod(policy: &str) -> Object {
    Object(value!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "generation": 1},
        "spec": {
            "restartPolicy": policy,
            "initContainers": [{"name": "i", "image": "i"}],
            "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}],
        },
    }))
}

/// Phase, the conditions that hold, and each container: `name:state` with `+` for ready.
fn show(pod: &Object, containers: &[Container], ending: bool) -> String {
    let sandbox = Sandbox { id: "s".into(), address: IpAddr::from([10, 0, 0, 2]) };
    let o =
        Observed { pod, containers, sandbox: Some(&sandbox), host_ip: "172.16.0.1", failed: None, ending };
    let s = of(&o, at(6));
    let mut out = vec![s["phase"].str_or_empty().to_owned()];
    let short = |c: &Value| match c["type"].str_or_empty() {
        "Initialized" => "I",
        "Ready" => "R",
        "ContainersReady" => "C",
        "PodScheduled" => "S",
        _ => "N",
    };
    out.push(s["conditions"].items().iter().filter(|c| c["status"] == "True").map(short).collect());
    for c in s["initContainerStatuses"].items().iter().chain(s["containerStatuses"].items()) {
        let state = c["state"].members().first().map_or("-", |(k, _)| k);
        let reason = c["state"]["waiting"]["reason"].str_or_empty();
        let ready = if c["ready"] == Value::Bool(true) { "+" } else { "" };
        out.push(format!("{}:{}{reason}{ready}", c["name"].str_or_empty(), &state[..1]));
    }
    out.join(" ")
}

#[test]
fn phases_and_conditions() {
    let always = pod("Always");
    let done = ended("i", 0, 0);
    assert_eq!(
        show(&always, &[], false),
        "Pending NS i:wPodInitializing a:wPodInitializing b:wPodInitializing"
    );
    assert_eq!(show(&always, &[running("i")], false), "Pending NS i:r a:wPodInitializing b:wPodInitializing");
    assert_eq!(
        show(&always, &[done.clone(), running("a")], false),
        "Pending NIS i:t+ a:r+ b:wContainerCreating"
    );
    assert_eq!(
        show(&always, &[done.clone(), running("a"), running("b")], false),
        "Running NIRCS i:t+ a:r+ b:r+"
    );
    assert_eq!(
        show(&always, &[done.clone(), ended("a", 1, 1), running("b")], false),
        "Running NIS i:t+ a:wCrashLoopBackOff b:r+"
    );
    let never = pod("Never");
    assert_eq!(
        show(&never, &[ended("i", 0, 1)], false),
        "Failed NS i:t a:wPodInitializing b:wPodInitializing"
    );
    assert_eq!(
        show(&never, &[done.clone(), ended("a", 0, 0), running("b")], false),
        "Running NIS i:t+ a:t b:r+"
    );
    assert_eq!(
        show(&never, &[done.clone(), ended("a", 0, 0), ended("b", 0, 0)], false),
        "Succeeded NIS i:t+ a:t b:t"
    );
    assert_eq!(
        show(&never, &[done.clone(), ended("a", 0, 3), ended("b", 0, 0)], false),
        "Failed NIS i:t+ a:t b:t"
    );
    assert_eq!(show(&always, &[done, ended("a", 0, 0), ended("b", 0, 0)], true), "Succeeded IS i:t+ a:t b:t");
}

#[test]
fn readiness_gates_hold_the_pod_back() {
    let mut p = pod("Always");
    p.make(&["spec"]).set("readinessGates", value!([{"conditionType": "x/y"}]));
    let all = [ended("i", 0, 0), running("a"), running("b")];
    assert_eq!(show(&p, &all, false), "Running NICS i:t+ a:r+ b:r+");
    p.make(&["status"]).set("conditions", value!([{"type": "x/y", "status": "True"}]));
    assert_eq!(show(&p, &all, false), "Running NIRCS i:t+ a:r+ b:r+");
}

#[test]
fn quality_of_service() {
    let check = |resources: Value, want: &str| {
        assert_eq!(qos_class(&value!({"containers": [{"name": "c", "resources": resources}]})), want);
    };
    check(value!({}), "BestEffort");
    check(value!({"requests": {"cpu": "100m"}}), "Burstable");
    check(value!({"limits": {"cpu": "100m", "memory": "1Gi"}}), "Guaranteed");
    check(
        value!({"limits": {"cpu": "100m", "memory": "1Gi"}, "requests": {"cpu": "0.1", "memory": "1024Mi"}}),
        "Guaranteed",
    );
    check(value!({"limits": {"cpu": "100m", "memory": "1Gi"}, "requests": {"cpu": "50m"}}), "Burstable");
}
