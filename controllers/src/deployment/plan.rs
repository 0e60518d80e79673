//! One step of a Deployment. Every step is derived from what is there, so it does not matter
//! which step was the last one, or who took it.

use std::sync::Arc;

use jiff::Timestamp;
use trireme_api::{Object, Value};

use super::rolling::{self, Resize};
use super::sets::{self, REVISION, ROLLBACK_TO, Set, count, is_active, replicas, revision};
use super::status::{self, PAUSED, RESUMED, set_condition};
use crate::pods;

pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Object,
    /// The sets it controls.
    pub(super) sets: &'a [Set],
    /// The pods of those sets.
    pub(super) pods: &'a [Arc<Object>],
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    CreateSet(Box<Object>),
    /// Metadata of a set; its size stays.
    UpdateSet(Box<Object>),
    /// The set with its new size, and the size before.
    Resize {
        set: Box<Object>,
        from: i64,
    },
    DeleteSet(Set),
    /// Metadata or template of the Deployment itself.
    UpdateDeployment(Box<Object>),
    /// The annotation with the current revision. It goes with the status, as a write to the object
    /// itself would count as a new generation.
    Revision(String),
    Status(Value),
    AfterSeconds(u64),
    Event {
        warning: bool,
        reason: &'static str,
        message: String,
    },
}

pub(super) fn plan(o: &Observed<'_>, now: Timestamp) -> Vec<Action> {
    let d = o.deployment;
    let (new, old) = sets::split(d, o.sets);
    if d.deletion_timestamp().is_some() {
        return status_if_changed(d, status::counted(d, new.as_ref(), o.sets, now));
    }
    if let Some(actions) = pause_condition(d, now) {
        return actions;
    }
    let paused = d.spec()["paused"] == Value::Bool(true);
    if !paused && let Some(target) = d.annotation(ROLLBACK_TO) {
        return rollback(d, o.sets, target);
    }
    if paused || rolling::is_scaling(d, o.sets) {
        return keep_size(o, new, &old, paused, now);
    }
    if d.spec()["strategy"]["type"] == "Recreate" {
        recreate(o, new, &old, now)
    } else {
        roll(o, new, &old, now)
    }
}

/// Paused, or scaled in the middle of a rollout: sizes follow, the rollout does not go on.
fn keep_size(o: &Observed<'_>, new: Option<Set>, old: &[Set], paused: bool, now: Timestamp) -> Vec<Action> {
    let d = o.deployment;
    let mut actions = match &new {
        Some(set) => up_to_date(d, set, old),
        None => Vec::new(),
    };
    let resizes = rolling::scale(d, new.as_ref(), old);
    let idle = resizes.is_empty();
    actions.extend(resizes.into_iter().filter_map(|r| resize(d, r)));
    // A size that needs no change must be noted all the same, or this step would repeat.
    for set in o.sets.iter().filter(|s| idle && is_active(s) && !sets::size_noted(s, d)) {
        let mut noted = (**set).clone();
        sets::note_size(&mut noted, d);
        actions.push(Action::UpdateSet(Box::new(noted)));
    }
    if paused {
        actions.extend(outlived(d, old));
    }
    actions.extend(status_if_changed(d, status::counted(d, new.as_ref(), o.sets, now)));
    actions
}

fn roll(o: &Observed<'_>, new: Option<Set>, old: &[Set], now: Timestamp) -> Vec<Action> {
    let d = o.deployment;
    let Some(new) = new else {
        return create(d, old, rolling::new_set_size(d, old, 0), now);
    };
    let mut actions = up_to_date(d, &new, old);
    if !actions.is_empty() {
        // What follows would write the same set again.
        return actions;
    }
    match rolling::grow(d, &new, old) {
        Some(r) => actions.extend(resize(d, r)),
        None => {
            actions.extend(rolling::shrink(d, &new, old).into_iter().filter_map(|r| resize(d, r)));
        }
    }
    finish(o, &new, old, actions, now)
}

fn recreate(o: &Observed<'_>, new: Option<Set>, old: &[Set], now: Timestamp) -> Vec<Action> {
    let d = o.deployment;
    let shrinking: Vec<Action> = old
        .iter()
        .filter(|s| is_active(s))
        .filter_map(|s| resize(d, Resize { set: s.clone(), to: 0 }))
        .collect();
    let old_pods = old.iter().any(|s| count(s, "replicas") > 0)
        || o.pods.iter().any(|p| {
            let owner = p.controller_ref().map_or("", |r| r["uid"].str_or_empty());
            !pods::is_terminal(p) && new.as_ref().is_none_or(|n| n.uid() != owner)
        });
    if !shrinking.is_empty() || old_pods {
        let mut actions = shrinking;
        actions.extend(rollout_status(o, new.as_ref(), now));
        return actions;
    }
    let Some(new) = new else {
        return create(d, old, replicas(d), now);
    };
    let mut actions = up_to_date(d, &new, old);
    if actions.is_empty() && replicas(&new) != replicas(d) {
        actions.extend(resize(d, Resize { set: new.clone(), to: replicas(d) }));
    }
    finish(o, &new, old, actions, now)
}

fn finish(o: &Observed<'_>, new: &Set, old: &[Set], mut actions: Vec<Action>, now: Timestamp) -> Vec<Action> {
    let d = o.deployment;
    if actions.is_empty() && status::is_complete(d, &status::counted(d, Some(new), o.sets, now)) {
        actions.extend(outlived(d, old));
    }
    actions.extend(rollout_status(o, Some(new), now));
    actions
}

fn next_revision(old: &[Set]) -> i64 {
    old.iter().map(|s| revision(s)).max().unwrap_or(0) + 1
}

fn create(d: &Object, old: &[Set], size: i64, now: Timestamp) -> Vec<Action> {
    let revision = next_revision(old);
    let set = sets::new_set(d, size, revision);
    let mut status = d.status().clone();
    let message = format!("Created new replica set {:?}", set.name());
    let mut actions = vec![Action::CreateSet(Box::new(set))];
    actions.extend(revised(d, revision));
    if status::deadline(d).is_some() {
        status::remove_condition(&mut status, "Progressing");
        set_condition(&mut status, "Progressing", "True", "NewReplicaSetCreated", &message, now);
        actions.push(Action::Status(status));
    }
    actions
}

/// The new set's annotations, and the Deployment's revision.
fn up_to_date(d: &Object, new: &Set, old: &[Set]) -> Vec<Action> {
    let wanted = next_revision(old);
    let mut actions = Vec::new();
    if let Some(set) = sets::brought_up_to_date(new, d, wanted) {
        actions.push(Action::UpdateSet(Box::new(set)));
    }
    actions.extend(revised(d, wanted.max(revision(new))));
    actions
}

fn revised(d: &Object, revision: i64) -> Option<Action> {
    let revision = revision.to_string();
    if d.annotation(REVISION) == Some(revision.as_str()) {
        return None;
    }
    Some(Action::Revision(revision))
}

fn resize(d: &Object, r: Resize) -> Option<Action> {
    let from = replicas(&r.set);
    if from == r.to && sets::size_noted(&r.set, d) {
        return None;
    }
    let mut set = (*r.set).clone();
    set.make(&["spec"]).set("replicas", r.to);
    sets::note_size(&mut set, d);
    Some(Action::Resize { set: Box::new(set), from })
}

/// Old sets beyond the history's limit that hold nothing any more, oldest revision first.
fn outlived(d: &Object, old: &[Set]) -> Vec<Action> {
    let Some(limit) = d.spec()["revisionHistoryLimit"].as_i64().filter(|l| *l != i64::from(i32::MAX)) else {
        return Vec::new();
    };
    let mut cleanable: Vec<Set> = old.iter().filter(|s| s.deletion_timestamp().is_none()).cloned().collect();
    let beyond = cleanable.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    cleanable.sort_by_key(|s| revision(s));
    cleanable
        .into_iter()
        .take(beyond)
        .filter(|s| {
            count(s, "replicas") == 0 && replicas(s) == 0 && s.generation() <= count(s, "observedGeneration")
        })
        .map(Action::DeleteSet)
        .collect()
}

/// Says once that a rollout was paused or resumed, so that its deadline does not run on.
fn pause_condition(d: &Object, now: Timestamp) -> Option<Vec<Action>> {
    status::deadline(d)?;
    let current = pods::condition(d, "Progressing");
    let reason = current.map_or("", |c| c["reason"].str_or_empty());
    if reason == status::AVAILABLE_NEW_SET && d.spec()["paused"] != Value::Bool(true) {
        return None;
    }
    let paused = d.spec()["paused"] == Value::Bool(true);
    let (reason, message) = match (paused, reason == PAUSED) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => (RESUMED, "Deployment is resumed"),
        _ => return None,
    };
    let mut status = d.status().clone();
    set_condition(&mut status, "Progressing", "Unknown", reason, message, now);
    Some(vec![Action::Status(status)])
}

/// The template of an earlier revision, asked for by an annotation (0: the one before).
fn rollback(d: &Object, sets: &[Set], target: &str) -> Vec<Action> {
    let mut changed = d.clone();
    changed.make(&["metadata", "annotations"]).remove(ROLLBACK_TO);
    let wanted = match target.parse::<i64>() {
        Ok(0) | Err(_) => {
            let mut revisions: Vec<i64> = sets.iter().map(|s| revision(s)).collect();
            revisions.sort_unstable();
            revisions.iter().rev().nth(1).copied().unwrap_or(0)
        }
        Ok(n) => n,
    };
    let found = sets.iter().find(|s| wanted != 0 && revision(s) == wanted);
    let event = match found {
        None => Action::Event {
            warning: true,
            reason: "DeploymentRollbackRevisionNotFound",
            message: "Unable to find the revision to rollback to.".into(),
        },
        Some(set) => {
            let mut template = set.spec()["template"].clone();
            if let Some(Value::Object(labels)) = template.at_mut(&["metadata", "labels"]) {
                labels.remove(sets::HASH_LABEL);
            }
            changed.make(&["spec"]).set("template", template);
            Action::Event {
                warning: false,
                reason: "DeploymentRollback",
                message: format!("Rolled back deployment {:?} to revision {wanted}", d.name()),
            }
        }
    };
    vec![Action::UpdateDeployment(Box::new(changed)), event]
}

fn rollout_status(o: &Observed<'_>, new: Option<&Set>, now: Timestamp) -> Vec<Action> {
    let (status, next) = status::of_rollout(o.deployment, new, o.sets, now);
    let mut actions = status_if_changed(o.deployment, status);
    actions.extend(next.map(Action::AfterSeconds));
    actions
}

fn status_if_changed(d: &Object, status: Value) -> Vec<Action> {
    if status == *d.status() { Vec::new() } else { vec![Action::Status(status)] }
}
