//! What a Deployment says about itself.

use jiff::Timestamp;
use trireme_api::{Object, Value, value};

use super::sets::{Set, count, limits, replicas, sum};
use crate::pods::condition;
use crate::runtime::{parse_time, rfc3339};

pub(super) const AVAILABLE_NEW_SET: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const PAUSED: &str = "DeploymentPaused";
pub(super) const RESUMED: &str = "DeploymentResumed";

/// The counts, and the Available condition.
pub(super) fn counted(d: &Object, new: Option<&Set>, all: &[Set], now: Timestamp) -> Value {
    let total = sum(all, |s| count(s, "replicas"));
    let available = sum(all, |s| count(s, "availableReplicas"));
    let mut status = Value::object();
    let map = status.make(&[]);
    for (name, n) in [
        ("observedGeneration", d.generation()),
        ("replicas", total),
        ("updatedReplicas", new.map_or(0, |s| count(s, "replicas"))),
        ("readyReplicas", sum(all, |s| count(s, "readyReplicas"))),
        ("availableReplicas", available),
        ("unavailableReplicas", (total - available).max(0)),
    ] {
        if n != 0 {
            map.set(name, n);
        }
    }
    for kept in ["terminatingReplicas", "collisionCount"] {
        if let Some(v) = d.status().get(kept) {
            map.set(kept, v.clone());
        }
    }
    map.set("conditions", d.status()["conditions"].items().to_vec());
    let enough = available >= replicas(d) - limits(d).1;
    let (state, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status, "Available", state, reason, message, now);
    status
}

/// The counts and how the rollout goes, with the seconds until its deadline must be looked at.
pub(super) fn of_rollout(d: &Object, new: Option<&Set>, all: &[Set], now: Timestamp) -> (Value, Option<u64>) {
    let mut status = counted(d, new, all, now);
    let deadline = deadline(d);
    let current = condition(d, "Progressing").cloned();
    let settled = status["replicas"].as_i64().unwrap_or(0) == status["updatedReplicas"].as_i64().unwrap_or(0)
        && current.as_ref().is_some_and(|c| c["reason"] == AVAILABLE_NEW_SET);
    if deadline.is_none() {
        remove_condition(&mut status, "Progressing");
    } else if !settled {
        let what = match new {
            Some(set) => format!("ReplicaSet {:?}", set.name()),
            None => format!("Deployment {:?}", d.name()),
        };
        if is_complete(d, &status) {
            let message = format!("{what} has successfully progressed.");
            set_condition(&mut status, "Progressing", "True", AVAILABLE_NEW_SET, &message, now);
        } else if is_progressing(d, &status) {
            let message = format!("{what} is progressing.");
            // Every step of progress starts the deadline again.
            let since =
                current.as_ref().filter(|c| c["status"] == "True").map(|c| c["lastTransitionTime"].clone());
            remove_condition(&mut status, "Progressing");
            set_condition(&mut status, "Progressing", "True", "ReplicaSetUpdated", &message, now);
            if let (Some(since), Some(Value::Array(conditions))) = (since, status.get_mut("conditions"))
                && let Some(last) = conditions.last_mut()
            {
                last.make(&[]).set("lastTransitionTime", since);
            }
        } else if has_timed_out(d, &status, now) {
            let message = format!("{what} has timed out progressing.");
            set_condition(&mut status, "Progressing", "False", TIMED_OUT, &message, now);
        }
    }
    let failing = new.into_iter().chain(all).find_map(|s| condition(s, "ReplicaFailure").cloned());
    match failing {
        Some(c) => {
            let text = |f: &str| c[f].str_or_empty().to_owned();
            set_condition(
                &mut status,
                "ReplicaFailure",
                &text("status"),
                &text("reason"),
                &text("message"),
                now,
            );
        }
        None => remove_condition(&mut status, "ReplicaFailure"),
    }
    let next = time_left(d, &status, now);
    (status, next)
}

/// `progressDeadlineSeconds`, unless it is the value that stands for none.
pub(super) fn deadline(d: &Object) -> Option<i64> {
    d.spec()["progressDeadlineSeconds"].as_i64().filter(|s| *s != i64::from(i32::MAX))
}

/// All pods are of the new template, and available.
pub(super) fn is_complete(d: &Object, status: &Value) -> bool {
    let n = |f: &str| status[f].as_i64().unwrap_or(0);
    let wanted = replicas(d);
    n("updatedReplicas") == wanted
        && n("replicas") == wanted
        && n("availableReplicas") == wanted
        && n("observedGeneration") >= d.generation()
}

fn is_progressing(d: &Object, status: &Value) -> bool {
    let (n, was) = (|f: &str| status[f].as_i64().unwrap_or(0), |f: &str| count(d, f));
    n("updatedReplicas") > was("updatedReplicas")
        || n("replicas") - n("updatedReplicas") < was("replicas") - was("updatedReplicas")
        || n("readyReplicas") > was("readyReplicas")
        || n("availableReplicas") > was("availableReplicas")
}

fn has_timed_out(d: &Object, status: &Value, now: Timestamp) -> bool {
    let Some(c) = status["conditions"].items().iter().find(|c| c["type"] == "Progressing") else {
        return false;
    };
    match c["reason"].str_or_empty() {
        AVAILABLE_NEW_SET => false,
        TIMED_OUT => true,
        _ => match (parse_time(c["lastUpdateTime"].str_or_empty()), deadline(d)) {
            (Some(from), Some(seconds)) => from.as_second() + seconds < now.as_second(),
            _ => false,
        },
    }
}

fn time_left(d: &Object, status: &Value, now: Timestamp) -> Option<u64> {
    let seconds = deadline(d)?;
    let c = status["conditions"].items().iter().find(|c| c["type"] == "Progressing")?;
    if is_complete(d, status) || matches!(c["reason"].str_or_empty(), AVAILABLE_NEW_SET | TIMED_OUT) {
        return None;
    }
    let from = parse_time(c["lastUpdateTime"].str_or_empty())?;
    Some(u64::try_from(from.as_second() + seconds - now.as_second()).unwrap_or(0) + 1)
}

/// Sets a condition; one with the same status and reason stays as it is.
pub(super) fn set_condition(
    status: &mut Value,
    kind: &str,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let time = rfc3339(now);
    let conditions = status.make(&[]).entry_or("conditions", || Value::Array(Vec::new()));
    if !conditions.is_array() {
        *conditions = Value::Array(Vec::new());
    }
    let conditions = conditions.as_array_mut().expect("made an array above");
    let known = conditions.iter().position(|c| c["type"] == *kind);
    let mut since = Value::from(time.as_str());
    if let Some(at) = known {
        if conditions[at]["status"] == *state && conditions[at]["reason"] == *reason {
            return;
        }
        if conditions[at]["status"] == *state {
            since = conditions[at]["lastTransitionTime"].clone();
        }
        conditions.remove(at);
    }
    conditions.push(value!({
        "type": kind, "status": state, "lastUpdateTime": time, "lastTransitionTime": since,
        "reason": reason, "message": message,
    }));
}

pub(super) fn remove_condition(status: &mut Value, kind: &str) {
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        conditions.retain(|c| c["type"] != *kind);
    }
}
