//! What to start next in a pod, and when to look again.

use std::time::Duration;

use jiff::Timestamp;
use trireme_api::{Object, Value};

use crate::runtime::{Container, State};
use trireme_client::clock::parse_time;

/// The wait before a second restart; each further one doubles it.
const RESTART_FIRST_SECONDS: i64 = 10;
const RESTART_MAX_SECONDS: i64 = 300;
/// A container that ran so long starts anew with the shortest wait.
const RAN_WELL_SECONDS: i64 = 2 * RESTART_MAX_SECONDS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Start { name: String, attempt: u32 },
    Stop { id: String },
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) wake: Option<Duration>,
    /// The pod as a whole has failed, and why.
    pub(super) failed: Option<(&'static str, &'static str)>,
}

/// The latest attempt of a container.
pub(super) fn latest<'a>(containers: &'a [Container], name: &str) -> Option<&'a Container> {
    containers.iter().filter(|c| c.name == name).max_by_key(|c| c.attempt)
}

fn is_sidecar(spec: &Value) -> bool {
    spec["restartPolicy"] == "Always"
}

/// Whether a container that ended like this is started again.
pub(super) fn restarts(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// When the next attempt may start.
pub(super) fn restart_at(c: &Container) -> Option<Timestamp> {
    let State::Exited { since, finished, .. } = c.state else { return None };
    let seconds = match c.attempt {
        0 => 0,
        _ if finished.as_second() - since.as_second() >= RAN_WELL_SECONDS => 0,
        n => RESTART_FIRST_SECONDS.saturating_mul(1 << (n - 1).min(10)).min(RESTART_MAX_SECONDS),
    };
    Timestamp::from_nanosecond(finished.as_nanosecond() + i128::from(seconds) * 1_000_000_000).ok()
}

/// The seconds a container that ended is held back in all.
pub(super) fn restart_wait_seconds(c: &Container) -> i64 {
    let State::Exited { finished, .. } = c.state else { return 0 };
    restart_at(c).map_or(0, |at| at.as_second() - finished.as_second())
}

pub(super) fn plan(pod: &Object, containers: &[Container], now: Timestamp) -> Plan {
    let mut out = Plan::default();
    if matches!(pod.status()["phase"].str_or_empty(), "Succeeded" | "Failed") {
        stop_all(&mut out, containers, |_| true);
        return out;
    }
    if let Some(left) = deadline_left(pod, now) {
        if left <= 0 {
            out.failed =
                Some(("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"));
            stop_all(&mut out, containers, |_| true);
            return out;
        }
        out.wake_in(Duration::from_secs(left.unsigned_abs()));
    }
    let policy = pod.spec()["restartPolicy"].str_or_empty();
    let regular = pod.spec()["containers"].items();
    let begun = regular.iter().any(|c| latest(containers, c["name"].str_or_empty()).is_some());
    let mut all_ended = begun;
    for spec in regular {
        if let Some(c) = latest(containers, spec["name"].str_or_empty()) {
            let ended = matches!(c.state, State::Exited { code, .. } if !restarts(policy, code));
            all_ended &= ended;
        } else {
            all_ended = false;
        }
    }
    if all_ended {
        // What served the others has nobody left to serve.
        stop_all(&mut out, containers, |c| regular.iter().all(|r| r["name"] != *c.name));
        return out;
    }
    for spec in pod.spec()["initContainers"].items() {
        let name = spec["name"].str_or_empty();
        let known = latest(containers, name);
        if is_sidecar(spec) {
            out.start_if_due(name, known, "Always", now);
            continue;
        }
        if begun {
            continue;
        }
        match known.map(|c| c.state) {
            Some(State::Exited { code: 0, .. }) => {}
            Some(State::Exited { .. }) if policy == "Never" => return out,
            Some(State::Exited { .. }) | None => {
                out.start_if_due(name, known, "OnFailure", now);
                return out;
            }
            Some(_) => return out,
        }
    }
    for spec in regular {
        let name = spec["name"].str_or_empty();
        let known = latest(containers, name);
        out.start_if_due(name, known, policy, now);
        if let Some(Container { state: State::Running { since }, .. }) = known {
            let ready_at =
                since.as_second() + spec["readinessProbe"]["initialDelaySeconds"].as_i64().unwrap_or(0);
            if ready_at > now.as_second() {
                out.wake_in(Duration::from_secs((ready_at - now.as_second()).unsigned_abs()));
            }
        }
    }
    out
}

impl Plan {
    fn wake_in(&mut self, d: Duration) {
        self.wake = Some(self.wake.map_or(d, |w| w.min(d)));
    }

    fn start_if_due(&mut self, name: &str, known: Option<&Container>, policy: &str, now: Timestamp) {
        let attempt = match known {
            None => 0,
            Some(c) => match (c.state, restart_at(c)) {
                (State::Exited { code, .. }, Some(at)) if restarts(policy, code) => {
                    if at > now {
                        let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                        return self.wake_in(left + Duration::from_millis(1));
                    }
                    c.attempt + 1
                }
                _ => return,
            },
        };
        self.actions.push(Action::Start { name: name.to_owned(), attempt });
    }
}

fn stop_all(plan: &mut Plan, containers: &[Container], which: impl Fn(&Container) -> bool) {
    for c in containers.iter().filter(|c| matches!(c.state, State::Running { .. }) && which(c)) {
        plan.actions.push(Action::Stop { id: c.id.clone() });
    }
}

fn deadline_left(pod: &Object, now: Timestamp) -> Option<i64> {
    let seconds = pod.spec()["activeDeadlineSeconds"].as_i64()?;
    let start = parse_time(pod.status()["startTime"].str_or_empty())?;
    Some(start.as_second().saturating_add(seconds) - now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }
    fn running(name: &str, attempt: u32) -> Container {
        made(name, attempt, State::Running { since: at(0) })
    }
    fn ended(name: &str, attempt: u32, code: i32, finished: i64) -> Container {
        made(name, attempt, State::Exited { since: at(0), finished: at(finished), code })
    }
    fn made(name: &str, attempt: u32, state: State) -> Container {
        Container {
            id: format!("{name}{attempt}"),
            name: name.into(),
            attempt,
            image_id: String::new(),
            state,
        }
    }
    fn pod(policy: &str) -> Object {
        Object(value!({"spec": {
            "restartPolicy": policy,
            "initContainers": [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
        }}))
    }
    fn show(pod: &Object, containers: &[Container], now: i64) -> String {
        let plan = plan(pod, containers, at(now));
        let mut out: Vec<String> = plan
            .actions
            .iter()
            .map(|a| match a {
                Action::Start { name, attempt } => format!("{name}{attempt}"),
                Action::Stop { id } => format!("-{id}"),
            })
            .collect();
        out.extend(plan.wake.map(|w| format!("@{}", w.as_secs())));
        out.extend(plan.failed.map(|(reason, _)| reason.to_owned()));
        out.join(" ")
    }

    #[test]
    fn init_containers_one_after_the_other_then_the_rest_together() {
        let p = pod("Always");
        assert_eq!(show(&p, &[], 0), "i0");
        assert_eq!(show(&p, &[running("i", 0)], 1), "");
        assert_eq!(show(&p, &[ended("i", 0, 1, 1)], 1), "i1");
        assert_eq!(show(&p, &[ended("i", 1, 1, 1)], 2), "@9");
        assert_eq!(show(&p, &[ended("i", 0, 0, 1)], 1), "side0 a0 b0");
        assert_eq!(show(&pod("Never"), &[ended("i", 0, 1, 1)], 1), "");
    }

    #[test]
    fn restarts_follow_the_policy_with_growing_waits() {
        let rest = |c: Container| vec![ended("i", 0, 0, 1), running("side", 0), running("b", 0), c];
        assert_eq!(show(&pod("Always"), &rest(ended("a", 0, 0, 5)), 5), "a1");
        assert_eq!(show(&pod("Always"), &rest(ended("a", 1, 1, 5)), 5), "@10");
        assert_eq!(show(&pod("Always"), &rest(ended("a", 3, 1, 5)), 6), "@39");
        assert_eq!(show(&pod("Always"), &rest(ended("a", 3, 1, 5)), 46), "a4");
        assert_eq!(show(&pod("Always"), &rest(ended("a", 30, 1, 5)), 5), "@300");
        assert_eq!(show(&pod("Always"), &rest(ended("a", 30, 1, 700)), 700), "a31", "it ran well");
        assert_eq!(show(&pod("OnFailure"), &rest(ended("a", 0, 0, 5)), 5), "");
        assert_eq!(show(&pod("OnFailure"), &rest(ended("a", 0, 2, 5)), 5), "a1");
        assert_eq!(show(&pod("Never"), &rest(ended("a", 0, 2, 5)), 5), "");
    }

    #[test]
    fn sidecars_end_with_the_pod_and_everything_at_its_deadline() {
        let mut p = pod("Never");
        let done = [ended("i", 0, 0, 1), running("side", 0), ended("a", 0, 0, 5), ended("b", 0, 1, 5)];
        assert_eq!(show(&p, &done, 5), "-side0");
        p.make(&["spec"]).set("activeDeadlineSeconds", 30);
        p.make(&["status"]).set("startTime", trireme_client::clock::rfc3339(at(0)));
        let going = [ended("i", 0, 0, 1), running("side", 0), running("a", 0), running("b", 0)];
        assert_eq!(show(&p, &going, 10), "@20");
        assert_eq!(show(&p, &going, 30), "-side0 -a0 -b0 DeadlineExceeded");
    }
}
