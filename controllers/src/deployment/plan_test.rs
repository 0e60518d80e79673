use std::sync::Arc;

use jiff::Timestamp;
use trireme_api::{Object, Value, value};

use super::plan::{Action, Observed, plan};
use super::sets::{self, Set};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn deployment(replicas: i64, image: &str, strategy: Value) -> Object {
    Object(value!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas, "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
        "status": {},
    }))
}
fn rolling() -> Value {
    value!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
}

/// A little world: actions are carried out, ReplicaSets reach their size at once.
struct World {
    deployment: Object,
    sets: Vec<Set>,
    clock: i64,
    said: Vec<String>,
}

impl World {
    fn new(deployment: Object) -> World {
        World { deployment, sets: Vec::new(), clock: 0, said: Vec::new() }
    }

    fn set_mut(&mut self, name: &str) -> &mut Object {
        Arc::make_mut(self.sets.iter_mut().find(|s| s.name() == name).expect("the set exists"))
    }

    /// One plan, carried out. Gives what was done to sets.
    fn step(&mut self) -> String {
        let observed = Observed { deployment: &self.deployment, sets: &self.sets, pods: &[] };
        let actions = plan(&observed, at(self.clock));
        let mut done = Vec::new();
        for action in actions {
            match action {
                Action::CreateSet(mut set) => {
                    let n = self.sets.len();
                    set.make(&["metadata"]).set("uid", format!("s{n}"));
                    set.make(&["metadata"])
                        .set("creationTimestamp", super::super::runtime::rfc3339(at(n as i64)));
                    set.make(&["metadata"]).set("generation", 1);
                    done.push(format!("+{}", sets::replicas(&set)));
                    self.sets.push(Arc::new(*set));
                }
                Action::Resize { set, from } => {
                    done.push(format!("{from}>{}", sets::replicas(&set)));
                    let name = set.name().to_owned();
                    *self.set_mut(&name) = *set;
                }
                Action::UpdateSet(set) => {
                    let name = set.name().to_owned();
                    *self.set_mut(&name) = *set;
                }
                Action::DeleteSet(set) => {
                    done.push("-".into());
                    self.sets.retain(|s| s.uid() != set.uid());
                }
                Action::UpdateDeployment(d) => {
                    let status = self.deployment.status().clone();
                    self.deployment = *d;
                    self.deployment.make(&[]).set("status", status);
                }
                Action::Revision(revision) => self.deployment.set_annotation(sets::REVISION, &revision),
                Action::Status(status) => {
                    self.deployment.make(&[]).set("status", status);
                }
                Action::Event { reason, .. } => self.said.push(reason.to_owned()),
                Action::AfterSeconds(_) => {}
            }
        }
        done.join(" ")
    }

    fn settle_sets(&mut self) {
        for set in &mut self.sets {
            let n = sets::replicas(set);
            Arc::make_mut(set).make(&[]).set(
                "status",
                value!({"replicas": n, "readyReplicas": n, "availableReplicas": n, "observedGeneration": 1}),
            );
        }
    }

    /// Until nothing changes any more; the steps that did something to sets.
    fn run(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        for _ in 0..50 {
            let before = (self.deployment.clone(), self.sets.clone());
            let done = self.step();
            self.settle_sets();
            self.clock += 1;
            if !done.is_empty() {
                steps.push(done);
            }
            if before == (self.deployment.clone(), self.sets.clone()) {
                return steps;
            }
        }
        panic!("does not come to rest: {steps:?}");
    }

    fn set_image(&mut self, image: &str) {
        self.deployment
            .make(&["spec", "template", "spec"])
            .set("containers", value!([{"name": "c", "image": image}]));
    }

    fn progressing(&self) -> String {
        let c = crate::pods::condition(&self.deployment, "Progressing").cloned().unwrap_or_default();
        format!("{} {}", c["status"].str_or_empty(), c["reason"].str_or_empty())
    }
}

#[test]
fn rolls_one_by_one_and_keeps_history() {
    let mut w = World::new(deployment(3, "a", rolling()));
    assert_eq!(w.run(), ["+3"]);
    assert_eq!(w.progressing(), "True NewReplicaSetAvailable");
    assert_eq!(w.deployment.annotation(sets::REVISION), Some("1"));
    w.set_image("b");
    assert_eq!(w.run(), ["+1", "3>2", "1>2", "2>1", "2>3", "1>0"]);
    assert_eq!(w.deployment.annotation(sets::REVISION), Some("2"));
    w.set_image("c");
    w.run();
    assert_eq!(w.sets.len(), 2, "one of history, one in use");
    assert_eq!(w.deployment.status()["availableReplicas"], value!(3));
    // Back to what is still there: the same set, under a new revision.
    w.set_image("b");
    w.run();
    assert_eq!((w.sets.len(), w.deployment.annotation(sets::REVISION)), (2, Some("4")));
    let current = w.sets.iter().find(|s| sets::replicas(s) == 3).unwrap();
    assert_eq!(current.annotation(sets::REVISION_HISTORY), Some("2"));
}

#[test]
fn recreate_stops_all_before_it_starts_any() {
    let mut w = World::new(deployment(2, "a", value!({"type": "Recreate"})));
    assert_eq!(w.run(), ["+2"]);
    w.set_image("b");
    assert_eq!(w.run(), ["2>0", "+2"]);
    w.set_image("c");
    // The old set still has pods: nothing new is made.
    let first = w.step();
    let second = w.step();
    assert_eq!((first.as_str(), second.as_str()), ("2>0", ""));
}

#[test]
fn scaling_and_pausing_in_the_middle_of_a_rollout() {
    let mut w = World::new(deployment(4, "a", rolling()));
    w.run();
    w.set_image("b");
    assert_eq!(w.step(), "+1");
    w.settle_sets();
    w.deployment.make(&["spec"]).set("paused", true);
    assert_eq!(w.run(), Vec::<String>::new());
    assert_eq!(w.progressing(), "Unknown DeploymentPaused");
    w.deployment.make(&["spec"]).set("replicas", 8);
    w.run();
    let total: i64 = w.sets.iter().map(|s| sets::replicas(s)).sum();
    assert_eq!((total, w.sets.iter().filter(|s| sets::is_active(s)).count()), (9, 2));
    w.deployment.make(&["spec"]).set("paused", false);
    w.run();
    assert_eq!(w.progressing(), "True NewReplicaSetAvailable");
    assert_eq!(w.sets.iter().map(|s| sets::replicas(s)).collect::<Vec<_>>(), [0, 8]);
}

#[test]
fn a_rollout_that_does_not_move_times_out_and_recovers() {
    let mut w = World::new(deployment(2, "a", rolling()));
    w.step();
    w.clock = 10;
    w.step();
    assert!(w.progressing().starts_with("True"), "{}", w.progressing());
    w.clock = 700;
    w.step();
    assert_eq!(w.progressing(), "False ProgressDeadlineExceeded");
    w.settle_sets();
    w.run();
    assert_eq!(w.progressing(), "True NewReplicaSetAvailable");
}

#[test]
fn rollback_by_annotation() {
    let mut w = World::new(deployment(1, "a", rolling()));
    w.run();
    w.set_image("b");
    w.run();
    w.deployment.set_annotation(sets::ROLLBACK_TO, "0");
    w.run();
    assert_eq!(w.deployment.spec()["template"]["spec"]["containers"][0]["image"], "a");
    assert_eq!(
        (w.deployment.annotation(sets::ROLLBACK_TO), w.said.as_slice()),
        (None, &["DeploymentRollback".to_owned()][..])
    );
    w.deployment.set_annotation(sets::ROLLBACK_TO, "77");
    w.run();
    assert_eq!(w.said.last().map(String::as_str), Some("DeploymentRollbackRevisionNotFound"));
}
